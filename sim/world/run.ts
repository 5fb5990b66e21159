import type { Random } from '../random.ts';
import { World } from '../world.ts';
import { disagreements, talkToAll } from './agreement.ts';
import { goWrong, heal } from './faults.ts';
import { checkHoldings, checkLog } from './holdings.ts';
import { People } from './people.ts';
import { Violation } from './trace.ts';

export interface RunOptions {
  readonly seed: number | string;
  /** Faults and requests, one after the other. */
  readonly steps: number;
  readonly members: number;
  /** Sees every line of the trace. */
  readonly onLine?: (line: string) => void;
  /** Called before the first step: tests of the world itself break something here. */
  readonly meddle?: (world: World) => void;
}

export interface RunResult {
  /** Of everything that happened. */
  readonly digest: string;
  readonly events: number;
  readonly datagrams: number;
  readonly packets: number;
  readonly deliveries: number;
  readonly virtualMs: number;
  /** How long agreement took after each time of healing. */
  readonly healedMs: readonly number[];
  readonly answers: ReadonlyMap<string, number>;
}

/** Between two steps, at most. */
const longestPauseMs = 5000;
/** After so many steps everything is put right and looked at. */
const stepsPerRound = 40;
/** Once nothing goes wrong, everybody is connected within this: pauses between attempts grow to 60 s. */
export const connectBoundMs = 90_000;
/**
 * Once everybody is connected, all see the same and talk within this: an address that did not answer may have used up its
 * minute of probes, and pauses between offers grow to 30 s.
 */
export const agreementBoundMs = 60_000;
const lookEveryMs = 1000;
const chatEveryMs = 15;

/** A failure with what is needed to see it again: the seed and the last events. */
export class WorldFailure extends Error {
  constructor(options: RunOptions, step: number, recent: readonly string[], cause: unknown) {
    const { seed, steps, members } = options;
    const reason = cause instanceof Violation ? cause.message : ((cause as Error).stack ?? cause);
    super(
      `${reason}\n  at step ${step}; the same again: ` +
        `node sim/run.ts --seed ${seed} --steps ${steps} --members ${members}\n` +
        `last events:\n${recent.map((line) => `  ${line}`).join('\n')}`,
      { cause },
    );
    this.name = 'WorldFailure';
  }
}

/** One world from one seed: things go wrong, are put right, and must then be right. Throws a WorldFailure. */
export async function runWorld(options: RunOptions): Promise<RunResult> {
  await using world = await World.open(options);
  if (options.onLine !== undefined) world.trace.onLine = options.onLine;
  const startedAt = world.clock.monotonic;
  const people = new People(world);
  const healedMs: number[] = [];
  let step = 0;
  try {
    const random = world.random.fork('faults');
    const listening = world.random.fork('listening');
    chat(world, world.random.fork('chat'));
    await settleIn(world, people);
    healedMs.push(await agree(world, people));
    options.meddle?.(world);
    while (step < options.steps) {
      step += 1;
      const what = random.chance(0.4) ? people.act() : goWrong(world, random);
      if (what !== undefined) world.trace.note(`── ${what}`);
      if (listening.chance(0.2)) listen(world, listening);
      await world.advance(random.float() ** 2 * longestPauseMs);
      checkHoldings(world);
      if (step % stepsPerRound !== 0 && step !== options.steps) continue;
      heal(world);
      world.trace.note('── everything is put right');
      healedMs.push(await agree(world, people));
      await checkLog(world);
    }
  } catch (error) {
    throw new WorldFailure(options, step, world.trace.recent, error);
  }
  const { events, datagrams, ledger, trace, clock } = world;
  return {
    ...{ events, datagrams, healedMs, answers: people.answers },
    digest: trace.digest(),
    packets: ledger.packets,
    deliveries: ledger.deliveries,
    virtualMs: clock.monotonic - startedAt,
  };
}

/** Everybody starts and joins one network. */
async function settleIn(world: World, people: People): Promise<void> {
  for (const daemon of world.daemons) daemon.start();
  await world.advance(3000);
  people.gather();
  await world.advance(500);
  for (const daemon of world.daemons.slice(1)) {
    people.joinFirst(daemon);
    await world.advance(50);
  }
}

/** Somebody's applications join other multicast groups than before. */
function listen(world: World, random: Random): void {
  const groups = ['239.1.2.3', '239.255.1.1', 'ff15::cafe', '224.0.0.251', 'ff02::fb'];
  random.pick(world.daemons).listenTo(groups.filter(() => random.chance(0.4)));
}

/** Users send each other packets all the time, also to those with whom they share nothing. */
function chat(world: World, random: Random): void {
  const next = () => {
    const [from, to] = [random.pick(world.daemons), random.pick(world.daemons)];
    if (from !== to) world.say(from, to, { ipv6: random.chance(0.3) });
    world.clock.in(random.float() * 2 * chatEveryMs, next);
  };
  next();
}

/** Waits for agreement; how long that took. */
async function agree(world: World, people: People): Promise<number> {
  const since = world.clock.monotonic;
  let connectedAt: number | undefined;
  for (;;) {
    talkToAll(world, since);
    people.repair();
    await world.advance(lookEveryMs);
    const now = world.clock.monotonic;
    const left = await disagreements(world, since);
    if (left.length === 0) return now - since;
    const isConnected = world.daemons.every(({ member }) => member?.isSynchronised === true);
    if (isConnected) connectedAt ??= now;
    const end = connectedAt === undefined ? since + connectBoundMs : connectedAt + agreementBoundMs;
    if (now < end) continue;
    const first = left.slice(0, 20).map((line) => `\n  ${line}`);
    const waitedMs = now - (connectedAt ?? since);
    throw new Violation(`${left.length} things are wrong after ${waitedMs} ms:${first.join('')}`);
  }
}
