/** One measurement of a pair: how soon traffic flows, how soon directly, and what that cost. */
import type { GridPair } from './grid-pair.ts';
import { RateMeter } from './grid-rate.ts';
import { canBeGuessed, type NatKind, natKind } from './nat-kinds.ts';
import { nowNs } from './stream.ts';

/** At first, and after a second: what takes longer is not told so exactly. */
const pollMs = [25, 100] as const;
/** What has not come by then does not come. */
const firstBoundMs = 20_000;
const nsPerMs = 1_000_000;

export interface GridResult {
  readonly scenario: 'meet';
  readonly a: NatKind;
  readonly b: NatKind;
  readonly run: number;
  readonly delayMs: number;
  /** Until both have had a packet of the other, since both were online; absent when that never came. */
  readonly firstMs?: number;
  /** Until both say that the path is direct. */
  readonly directMs?: number;
  readonly kinds: readonly [string, string];
  readonly reason?: string;
  /** What each side says that it tried, where the path did not become direct. */
  readonly hardNat?: readonly [string, string];
  /** Of each side, until the path was direct or the time was over. */
  readonly probes: readonly [number, number];
  /** Most that were open beyond those of before. */
  readonly sockets: readonly [number, number];
  /** Most probes in a second, as far as samples tell. Absent in older results. */
  readonly perSecond?: readonly [number, number];
}

export async function measureMeeting(
  pair: GridPair,
  about: Pick<GridResult, 'a' | 'b' | 'run' | 'delayMs'>,
  boundMs: number,
): Promise<GridResult> {
  await pair.part();
  const label = `m${about.run}-${Date.now()}`;
  const before = await Promise.all(pair.members.map((member) => member.counted()));
  const openBefore = pair.members.map((member) => member.sockets());
  pair.stream(label);
  const since = await pair.meet();
  const sockets: [number, number] = [0, 0];
  const elapsedMs = () => (nowNs() - since) / nsPerMs;
  // Every sample starts a program, which the other pairs would feel: only where many are sent.
  const isGuessed = canBeGuessed(natKind(about.a), natKind(about.b));
  const rates = (isGuessed ? pair.members : []).map(
    (member) => new RateMeter(async () => (await member.counted()).probes, elapsedMs),
  );
  const over = new AbortController();
  const sampled = Promise.all(rates.map((rate) => rate.run(over.signal)));
  let directMs: number | undefined;
  let first: number | undefined;
  let paths = await pair.paths();
  for (;;) {
    for (const index of [0, 1] as const) {
      const opened = pair.members[index].sockets() - openBefore[index]!;
      sockets[index] = Math.max(sockets[index], opened);
    }
    if (directMs === undefined && paths.every(({ kind }) => kind === 'direct')) {
      directMs = elapsedMs();
    }
    first ??= await pair.heard(label, 'first');
    const bound = first === undefined ? Math.max(firstBoundMs, boundMs) : boundMs;
    if ((directMs !== undefined && first !== undefined) || elapsedMs() > bound) break;
    // Nothing will come of it: no relay, and no path.
    if (paths.every(({ kind }) => kind === 'unreachable') && elapsedMs() > boundMs) break;
    await new Promise((resolve) => setTimeout(resolve, pollMs[elapsedMs() < 1000 ? 0 : 1]));
    paths = await pair.paths();
  }
  over.abort();
  await sampled;
  const after = await Promise.all(pair.members.map((member) => member.counted()));
  const probes = after.map(({ probes: count }, i) => count - (before[i]?.probes ?? 0));
  const reason = paths.find((path) => path.kind !== 'direct')?.reason;
  const tried = [paths[0].hardNat ?? '', paths[1].hardNat ?? ''] as const;
  return {
    scenario: 'meet',
    ...about,
    ...(first === undefined ? {} : { firstMs: rounded((first - since) / nsPerMs) }),
    ...(directMs === undefined ? {} : { directMs: rounded(directMs) }),
    kinds: [paths[0].kind, paths[1].kind],
    ...(reason === undefined ? {} : { reason }),
    ...(directMs === undefined && isGuessed ? { hardNat: tried } : {}),
    probes: [probes[0] ?? 0, probes[1] ?? 0],
    sockets,
    ...(isGuessed ? { perSecond: [rates[0]?.peak ?? 0, rates[1]?.peak ?? 0] as const } : {}),
  };
}

const rounded = (ms: number) => Math.round(Math.max(0, ms));
