/**
 * Two members, one behind a bad line: what goes through the tunnel arrives as it was sent, once, or not at all, and every packet
 * that is missing was counted by somebody.
 *
 *     a ══ bad line ══ Internet ── b
 */
import assert from 'node:assert/strict';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { type FlowEnd, type FlowReport, tcpStream, udpFlow } from '../../lab/flow.ts';
import {
  type ImpairmentCounters,
  ImpairmentRouter,
  type Impairments,
} from '../../lab/impairment-router.ts';
import { Internet } from '../../lab/internet.ts';
import type { Lab } from '../../lab/lab.ts';
import { waitFor } from '../../lab/wait.ts';

const network = 'flow';
const streamPort = 7100;

/** Together they leave a window of WireGuard's size far behind the newest packet alone. */
const faultsOfDatagrams: Impairments = {
  ...{ lossRate: 0.01, burstRate: 0.0005, burstPackets: 8, corruptRate: 0.01 },
  ...{ duplicateRate: 0.01, reorderRate: 0.02, reorderMs: 10, delayMs: 2, jitterMs: 2 },
};
/** Few enough for TCP to go on at some tens of megabits. */
const faultsOfStream: Impairments = {
  ...{ lossRate: 0.001, corruptRate: 0.0005, duplicateRate: 0.005 },
  ...{ reorderRate: 0.005, reorderMs: 0.5, delayMs: 0.5, jitterMs: 0.5 },
};

/** Ways to move packets, by arguments of a daemon. */
export const engines: Readonly<Record<string, readonly string[]>> = {
  'one thread': [],
  'two threads': ['--engine-threads', '2'],
  'Ethernet mode': ['--mode', 'tap'],
};

export interface Member extends FlowEnd {
  readonly daemon: BuriDaemon;
}

/** What happened to the packets of one direction, and who says so. */
export interface WayReport {
  readonly sent: number;
  readonly received: number;
  readonly receivedBytes: number;
  readonly seconds: number;
  readonly overtaken: number;
  /** By the line. */
  readonly dropped: number;
  readonly corrupted: number;
  readonly duplicated: number;
  /** For want of room, at either end. */
  readonly dropsOfEnds: number;
  /** By the engine of the receiver. */
  readonly forged: number;
  readonly replayed: number;
  /** Sent, not received, and counted by nobody; negative where the line dropped packets of others. */
  readonly unexplained: number;
}

export class BadTunnel {
  readonly a: Member;
  readonly b: Member;
  readonly line: ImpairmentRouter;

  private constructor(a: Member, b: Member, line: ImpairmentRouter) {
    this.a = a;
    this.b = b;
    this.line = line;
  }

  /** @param args more arguments of both daemons */
  static async create(lab: Lab, seed: number, args: readonly string[] = []): Promise<BadTunnel> {
    const internet = await Internet.create(lab);
    const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    const url = await server.url();
    const hosts = [await internet.host('a'), await internet.host('b')] as const;
    const line = await ImpairmentRouter.splice(hosts[0], { seed });
    const members: Member[] = [];
    for (const host of hosts) {
      const daemon = await BuriDaemon.start(host, { args });
      const { ipv4 } = await daemon.verb('login', ['--nick', host.name, '--wait', '30', url]);
      members.push({ host, daemon, ipv4 });
    }
    const [a, b] = members as [Member, Member];
    await a.daemon.verb('create', [network, '-'], 'through a bad line\n');
    await b.daemon.verb('join', [network, '-', '--wait', '30'], 'through a bad line\n');
    for (const [one, other] of [[a, b] as const, [b, a] as const]) {
      await waitFor('a direct tunnel', async () => {
        const { networks } = await one.daemon.verb('list');
        const entry = networks[0]?.members.find(({ ipv4 }) => ipv4 === other.ipv4);
        return entry?.path.kind === 'direct' && (await one.host.ping(other.ipv4)).received === 1;
      });
    }
    return new BadTunnel(a, b, line);
  }

  /** Numbered datagrams both ways at once. Returns a → b and b → a. */
  async datagrams(
    bytes: number,
    { seconds, mbitPerSecond }: { readonly seconds: number; readonly mbitPerSecond: number },
  ): Promise<readonly [WayReport, WayReport]> {
    await this.line.set(faultsOfDatagrams);
    const before = await this.#look();
    const [atA, atB] = await udpFlow(this.a, this.b, { bytes, seconds, mbitPerSecond });
    await this.line.set({});
    for (const { sentBytes } of [atA, atB]) {
      assert.ok(sentBytes >= bytes, `only ${sentBytes} bytes were sent in ${seconds} s`);
    }
    await waitFor('the line to be empty', async () => {
      const { in: inward, out } = await this.line.counters();
      return inward.held + out.held === 0;
    });
    const after = await this.#look();
    return [
      wayReport({ from: atA, to: atB, sender: 'a', receiver: 'b', way: 'out', before, after }),
      wayReport({ from: atB, to: atA, sender: 'b', receiver: 'a', way: 'in', before, after }),
    ];
  }

  /** One TCP connection each way, one after the other. Returns the seconds that each took. */
  async streams(bytes: number, timeoutMs: number): Promise<readonly number[]> {
    await this.line.set(faultsOfStream);
    const seconds: number[] = [];
    for (const [index, [from, to]] of [
      [this.a, this.b] as const,
      [this.b, this.a] as const,
    ].entries()) {
      const report = await tcpStream(from, to, { bytes, timeoutMs, port: streamPort + index });
      assert.equal(report.bytes, bytes);
      assert.equal(report.receivedSha256, report.sentSha256, 'the stream is not what was sent');
      seconds.push(report.seconds);
    }
    await this.line.set({});
    return seconds;
  }

  async #look(): Promise<Look> {
    const [line, a, b] = await Promise.all([this.line.counters(), look(this.a), look(this.b)]);
    return { line, a, b };
  }
}

interface Look {
  readonly line: Readonly<Record<'in' | 'out', ImpairmentCounters>>;
  readonly a: EndCounters;
  readonly b: EndCounters;
}
interface EndCounters {
  readonly engine: Readonly<Record<string, number>>;
  readonly deviceDropped: number;
}

async function look({ host, daemon }: Member): Promise<EndCounters> {
  const { counters, device } = await daemon.verb('status');
  const text = await host.check('ip', ['-j', '-s', 'link', 'show', 'dev', device ?? '']);
  return { engine: counters, deviceDropped: JSON.parse(text)[0].stats64.tx.dropped };
}

function wayReport(flow: {
  readonly from: FlowReport;
  readonly to: FlowReport;
  readonly sender: 'a' | 'b';
  readonly receiver: 'a' | 'b';
  readonly way: 'in' | 'out';
  readonly before: Look;
  readonly after: Look;
}): WayReport {
  const { from, to, sender, receiver, way, before, after } = flow;
  assert.ok(from.complete && to.complete, `the flow did not end: ${JSON.stringify({ from, to })}`);
  const line = (...names: (keyof ImpairmentCounters)[]) =>
    sum(names.map((name) => after.line[way][name] - before.line[way][name]));
  const engine = (end: 'a' | 'b', ...names: string[]) =>
    sum(names.map((name) => (after[end].engine[name] ?? 0) - (before[end].engine[name] ?? 0)));
  const dropped = line(
    'lost',
    'lostInBursts',
    'queueDropped',
    'poolDropped',
    'missed',
    'sendFailed',
  );
  const corrupted = line('corrupted');
  const dropsOfEnds =
    after[sender].deviceDropped -
    before[sender].deviceDropped +
    engine(sender, 'out-socket-full', 'out-send-error', 'out-staged-dropped') +
    engine(receiver, 'in-overflow', 'in-device-error') +
    to.socketDropped;
  const report: WayReport = {
    ...{ sent: from.sent, received: to.received, receivedBytes: to.receivedBytes },
    ...{ seconds: to.seconds, overtaken: to.overtaken },
    ...{ dropped, corrupted, duplicated: line('duplicated'), dropsOfEnds },
    // What a bit breaks is the tag mostly, but it may be the kind or the receiver's index.
    forged: engine(receiver, 'in-forged', 'in-unknown-index', 'in-unknown-kind', 'in-malformed'),
    replayed: engine(receiver, 'in-replayed'),
    unexplained: from.sent - to.received - dropped - corrupted - dropsOfEnds,
  };
  const said = JSON.stringify(report);
  assert.equal(to.corrupted, 0, `a datagram came that was not sent: ${said}`);
  assert.equal(to.duplicates, 0, `a datagram came twice: ${said}`);
  assert.ok(to.highest <= from.sent, said);
  return report;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}

/**
 * The counters say what the line did. Not to the packet: it treats messages of the control connection, probes and handshakes alike,
 * and a bit of a packet's own counter makes it look like an old one.
 */
export function assertAccounts(report: WayReport): void {
  const said = JSON.stringify(report);
  const near = (seen: number, expected: number, share: number, name: string) =>
    assert.ok(Math.abs(seen - expected) <= 30 + expected * share, `${name}: ${said}`);
  assert.ok(report.dropped > 0 && report.corrupted > 0 && report.duplicated > 0, said);
  assert.ok(report.overtaken > 0, said);
  near(report.forged, report.corrupted, 0.03, 'forged');
  near(report.replayed, report.duplicated, 0.03, 'replayed');
  const made = report.corrupted + report.duplicated;
  near(report.forged + report.replayed, made, 0.001, 'forged and replayed');
  assert.ok(report.unexplained <= 0, `lost and counted by nobody: ${said}`);
  assert.ok(-report.unexplained <= 30 + report.dropped * 0.01, `lost more than was sent: ${said}`);
}
