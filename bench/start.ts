/**
 * How long a person waits: from the start of `buri daemon` to `ready`, and for a verb from the shell to its answer, once and
 * with nothing else to do. Needs root. Prints a table on standard error and JSON on standard output.
 *
 *     node bench/start.ts [ROUNDS]
 */
import { join } from 'node:path';
import { exec, repositoryRoot } from '../lab/exec.ts';
import { Lab } from '../lab/lab.ts';

const program = join(repositoryRoot, 'bin', 'buri');
const rounds = Number(process.argv[2] ?? 15);
const verbs = [['--version'], ['status'], ['list'], ['list', '--json']];

const starts: number[] = [];
const latencies = new Map<string, number[]>();

await using lab = await Lab.create();
const namespace = await lab.namespace('start');
const directory = lab.temporaryDirectory('start');
const socket = join(directory, 'buri.sock');

for (let round = 0; round < rounds; round++) {
  const startedAt = performance.now();
  const readyAt = Promise.withResolvers<number>();
  const daemon = lab.spawn(
    namespace,
    program,
    ['daemon', '--state', join(directory, 'state'), '--socket', socket],
    { onLine: (line) => /\bready\b/.test(line) && readyAt.resolve(performance.now()) },
  );
  void daemon.ended.then((code) =>
    readyAt.reject(new Error(`the daemon ended (${code})\n${daemon.tail}`)),
  );
  starts.push((await readyAt.promise) - startedAt);
  for (const words of verbs) {
    const askedAt = performance.now();
    const { code, stderr } = await exec(program, words, { env: { BURI_SOCKET: socket } });
    if (code !== 0) throw new Error(`buri ${words.join(' ')}: ${stderr}`);
    const name = `buri ${words.join(' ')}`;
    latencies.set(name, [...(latencies.get(name) ?? []), performance.now() - askedAt]);
  }
  await daemon.stop();
}

const results = [
  { what: 'buri daemon, to ready', ...figures(starts) },
  ...[...latencies].map(([what, values]) => ({ what, ...figures(values) })),
];
for (const { what, medianMs, slowestMs } of results) {
  console.error(`${what.padEnd(24)} median ${medianMs} ms, slowest ${slowestMs} ms`);
}
console.log(JSON.stringify({ rounds, results }));

function figures(values: readonly number[]) {
  const sorted = [...values].sort((a, b) => a - b);
  const medianMs = Math.round(sorted[Math.floor(sorted.length / 2)]!);
  return { medianMs, slowestMs: Math.round(sorted.at(-1)!) };
}
