/**
 * How fast is a tunnel, and what does it cost? Two namespaces on this machine, iperf3 through the tunnel; contenders take
 * turns (A B C A B C …), because a machine is never the same twice. Medians, and ratios to wireguard-go within the run.
 *
 *   node bench/tunnel.ts [--rounds 5] [--seconds 5] [--only buri-aes,wireguard-go] [--segmenting] [--json FILE]
 *
 * Contenders: buri-aes, buri-chacha, buri-portable (not by default), wireguard-go, cable (not by default). Needs root,
 * iproute2, iperf3, ping, wireguard-tools. `--segmenting`: the cable takes no UDP super-packets.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { parseArgs } from 'node:util';
import { buri, type Contender, cable, wireguardGo } from './contenders.ts';
import { measure, type Row } from './measure.ts';
import { makePair, removePair } from './namespaces.ts';
import { findWireguardGo } from './wireguard-go.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '5' },
    only: { type: 'string', default: 'buri-aes,buri-chacha,wireguard-go' },
    segmenting: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});

const REFERENCE = 'wireguard-go';

async function main(): Promise<void> {
  const contenders = choose(values.only.split(','));
  const rows = new Map<string, Row[]>(contenders.map(([id]) => [id, []]));
  for (let round = 1; round <= Number(values.rounds); round++) {
    for (const [id, contender] of contenders) {
      const pair = makePair(`bench${process.pid}`, values.segmenting);
      try {
        const tunnel = await contender.start(pair);
        try {
          const row = await measure(pair, tunnel, Number(values.seconds));
          rows.get(id)!.push(row);
          console.error(
            `round ${round}  ${id.padEnd(14)} ${Math.round(row.tcpMbitPerSecond)} Mbit/s`,
          );
        } finally {
          await tunnel.stop();
        }
      } finally {
        removePair(pair);
      }
    }
  }
  report(contenders, rows);
}

function choose(ids: readonly string[]): [string, Contender][] {
  return ids.flatMap((id): [string, Contender][] => {
    switch (id) {
      case 'buri-aes':
        return [[id, buri('Buri, AES-256-GCM', ['--suite', 'aes256gcm'])]];
      case 'buri-chacha':
        return [[id, buri('Buri, ChaCha20-Poly1305', ['--suite', 'chacha20poly1305'])]];
      case 'buri-portable':
        return [[id, buri('Buri, portable engine', ['--portable'])]];
      case 'cable':
        return [[id, cable]];
      case 'wireguard-go': {
        const found = findWireguardGo();
        if (found === undefined) console.error('bench: no wireguard-go: measuring without it');
        return found === undefined ? [] : [[id, wireguardGo(found)]];
      }
      default:
        throw new Error(`unknown contender '${id}'`);
    }
  });
}

const FIELDS = [
  ['tcpMbitPerSecond', 'TCP Mbit/s', 0],
  ['tunnelCpuPerGb', 'tunnel CPU s/GB', 2],
  ['machineCpuPerGb', 'machine CPU s/GB', 2],
  ['rttMs', 'RTT ms', 3],
  ['udp100Kpps', '100-byte UDP k/s', 1],
] as const;

function report(
  contenders: readonly [string, Contender][],
  rows: ReadonlyMap<string, Row[]>,
): void {
  const medians = new Map(
    contenders.map(([id]) => [
      id,
      Object.fromEntries(
        FIELDS.map(([field]) => [field, median(rows.get(id)!.map((r) => r[field]))]),
      ),
    ]),
  );
  const reference = medians.get(REFERENCE);
  const header = ['', ...FIELDS.map(([, title]) => title), 'TCP ratio'];
  console.log(`| ${header.join(' | ')} |\n|${header.map(() => '---|').join('')}`);
  for (const [id, { name }] of contenders) {
    const figures = medians.get(id)!;
    const cells = FIELDS.map(([field, , digits]) => figures[field]!.toFixed(digits));
    const ratio = reference === undefined ? '' : ratioOf(id, rows);
    console.log(`| ${name} | ${cells.join(' | ')} | ${ratio} |`);
  }
  if (values.json === undefined) return;
  const result = {
    machine: machine(),
    rounds: Number(values.rounds),
    seconds: Number(values.seconds),
    segmentingCable: values.segmenting,
    contenders: contenders.map(([id, { name }]) => ({
      id,
      name,
      median: medians.get(id),
      rounds: rows.get(id),
    })),
  };
  writeFileSync(values.json, `${JSON.stringify(result, null, 2)}\n`);
}

/** Median over the rounds of the ratio within each round. */
function ratioOf(id: string, rows: ReadonlyMap<string, Row[]>): string {
  const reference = rows.get(REFERENCE)!;
  const ratios = rows
    .get(id)!
    .map((row, i) => row.tcpMbitPerSecond / reference[i]!.tcpMbitPerSecond);
  return median(ratios).toFixed(2);
}

function median(numbers: readonly number[]): number {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function machine(): { cpu: string; cores: number; kernel: string; load: string } {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: cpus().length,
    kernel: readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim(),
    load: readFileSync('/proc/loadavg', 'utf8').trim(),
  };
}

await main();
