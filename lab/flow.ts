/**
 * A flow of numbered, hashed datagrams between two hosts, both ways at once (see
 * `native/udp-flow.c`), and a stream with checksums at both ends.
 */
import { randomInt } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import { pinnedNode } from './exec.ts';
import type { Host } from './host.ts';
import { nativeProgram } from './native.ts';
import type { LabProcess } from './process.ts';

const tcpTool = fileURLToPath(new URL('tcp-tool.ts', import.meta.url));
/** An IP packet of the tunnel's MTU, 1,400 bytes, without the headers of IPv4 and UDP. */
const longestBytes = 1372;
/** Fewer than wait in a device of the usual queue of 500. */
const windowDatagrams = 400;

/** Somebody who can be sent to: `ipv4` is the address to use, inside the tunnel or not. */
export interface FlowEnd {
  readonly host: Host;
  readonly ipv4: string;
}

/** What one end found. */
export interface FlowReport {
  /** Both ends have sent all, and heard so. */
  readonly complete: boolean;
  readonly seconds: number;
  readonly sent: number;
  readonly sentBytes: number;
  /** Each counted once. */
  readonly received: number;
  readonly receivedBytes: number;
  /** Highest number received, plus 1. */
  readonly highest: number;
  /** Came after one with a higher number. */
  readonly overtaken: number;
  /** Came again. */
  readonly duplicates: number;
  /** Not what was sent with that number, or never sent. */
  readonly corrupted: number;
  /** Came when there was no room in the socket. */
  readonly socketDropped: number;
}

export interface FlowOptions {
  /** Each way. */
  readonly bytes?: number;
  /** Stops sending after this time, whatever was sent. */
  readonly seconds: number;
  readonly mbitPerSecond: number;
  readonly port?: number;
  readonly signal?: AbortSignal;
}

/** Runs a flow to its end. Returns what `a` and `b` found. */
export async function udpFlow(
  a: FlowEnd,
  b: FlowEnd,
  { bytes = Number.MAX_SAFE_INTEGER, seconds, mbitPerSecond, port = 7000, signal }: FlowOptions,
): Promise<readonly [FlowReport, FlowReport]> {
  const program = await nativeProgram('udp-flow');
  // Datagrams of an earlier flow of these ends are none of this one.
  const key = `${randomInt(2 ** 47)}`;
  const limits = [bytes, seconds, mbitPerSecond, windowDatagrams, longestBytes].map(String);
  const start = (side: string, from: FlowEnd, to: FlowEnd) =>
    from.host.spawn(program, [from.ipv4, to.ipv4, `${port}`, key, side, ...limits], {
      name: `flow ${from.host.name} → ${to.host.name}`,
      stdin: true,
    });
  await using endA = start('a', a, b);
  await using endB = start('b', b, a);
  const ends = [endA, endB];
  for (const end of ends) await end.line(/^ready$/, options(20_000, signal));
  for (const end of ends) end.stdin?.write('\n');
  // At the end of its input it says what it has.
  const giveUp = setTimeout(() => hangUp(ends), seconds * 1000 + 60_000);
  try {
    const bound = options(seconds * 1000 + 90_000, signal);
    const [one, other] = await Promise.all(ends.map((end) => end.line(/^\{.*\}$/, bound)));
    return [JSON.parse(one as string), JSON.parse(other as string)];
  } finally {
    clearTimeout(giveUp);
  }
}

export interface StreamReport {
  readonly bytes: number;
  readonly seconds: number;
  readonly sentSha256: string;
  readonly receivedSha256: string;
}

/** Sends random bytes over one TCP connection, hashed at both ends. */
export async function tcpStream(
  from: FlowEnd,
  to: FlowEnd,
  { bytes, timeoutMs, port = 7001 }: { bytes: number; timeoutMs: number; port?: number },
): Promise<StreamReport> {
  const run = (end: FlowEnd, mode: string, ...more: string[]) =>
    end.host.spawn(pinnedNode, [tcpTool, mode, to.ipv4, `${port}`, ...more], {
      name: `stream ${from.host.name} → ${to.host.name}`,
    });
  await using sink = run(to, 'sink');
  await sink.line(/^listening$/, { timeoutMs: 20_000 });
  const started = performance.now();
  await using source = run(from, 'source', `${bytes}`);
  const hashed = /^\d+ [0-9a-f]{64}$/;
  const [sent, received] = await Promise.all(
    [source, sink].map((end) => end.line(hashed, { timeoutMs, intervalMs: 20 })),
  );
  const [sentBytes, sentSha256 = ''] = (sent as string).split(' ');
  const [receivedBytes, receivedSha256 = ''] = (received as string).split(' ');
  if (sentBytes !== receivedBytes) throw new Error(`sent ${sentBytes}, received ${receivedBytes}`);
  const seconds = (performance.now() - started) / 1000;
  return { bytes: Number(receivedBytes), seconds, sentSha256, receivedSha256 };
}

function hangUp(ends: readonly LabProcess[]): void {
  for (const end of ends) end.stdin?.end();
}

function options(timeoutMs: number, signal: AbortSignal | undefined) {
  return { timeoutMs, ...(signal === undefined ? {} : { signal }) };
}
