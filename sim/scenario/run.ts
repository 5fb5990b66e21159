/**
 * Random scenarios of finding and keeping paths: clients behind NATs of all kinds, relays with the real switchboard, a server that may be
 * away, and things that go wrong one after the other. A scenario is a function of its seed.
 */
import assert from 'node:assert/strict';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { directPath, natKinds } from '../../lab/nat-kinds.ts';
import { type PathClient, PathWorld } from '../path-world.ts';
import { quickCrypto } from '../quick-crypto.ts';
import { Random } from '../random.ts';
import { type Fault, goWrong } from './faults.ts';
import { changesSince, checkBudgets } from './invariants.ts';
import { Stream } from './traffic.ts';

/** Without loss everybody talks so soon after they met: a relay answers within 400 ms or by WebSocket soon after. */
export const firstBoundMs = 1000;
/** With loss requests to relays are repeated: five of them at most in 1.5 s, then the way rests for a second. */
export const firstLossyBoundMs = 8000;
/**
 * After a fault. Nearly all take less than two seconds (`run-paths.ts` holds 95 of 100 to that). A way to a relay that failed again and
 * again rests for 30 s, which matters when it is the only one that there is; repeated requests, and signals to agree come on top.
 */
export const recoveryBoundMs = 45_000;
/** What the way swallowed may have been under way for so long. */
const flightMs = 1500;
const settleMs = 10_000;
/** A direct path that failed eight times rests for 320 s; signals come once a minute. */
export const directBoundMs = 420_000;
const quietMs = 120_000;
const crypto = quickCrypto(nodeCrypto);
const quietEveryMs = 1000;
/** Data around what goes wrong, and while it lasts. */
const closeEveryMs = 50;
const farEveryMs = 1000;
const closeMs = 4000;

export interface ScenarioOptions {
  readonly seed: number;
  /** Sees what happens. */
  readonly onLine?: (line: string) => void;
}

export interface Recovery {
  readonly fault: string;
  readonly tookMs: number;
}

export interface ScenarioResult {
  readonly firstMs: number;
  readonly isLossy: boolean;
  readonly recoveries: readonly Recovery[];
  readonly virtualMs: number;
}

export class ScenarioFailure extends Error {
  constructor(seed: number, lines: readonly string[], cause: unknown) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    super(
      `${reason}\n  the same again: node sim/run-paths.ts --seed ${seed} --verbose\n` +
        lines.map((line) => `  ${line}`).join('\n'),
      { cause },
    );
    this.name = 'ScenarioFailure';
  }
}

/** Throws a ScenarioFailure. */
export function runScenario(options: ScenarioOptions): ScenarioResult {
  const scenario = new Scenario(options.seed, options.onLine);
  try {
    return scenario.run();
  } catch (error) {
    throw new ScenarioFailure(options.seed, scenario.lines, error);
  }
}

class Scenario {
  readonly lines: string[] = [];
  readonly #random: Random;
  readonly #world: PathWorld;
  readonly #streams: Stream[] = [];
  readonly #isLossy: boolean;
  readonly #recoveries: Recovery[] = [];
  readonly #onLine: ((line: string) => void) | undefined;
  readonly #startedAt: number;
  #everyMs = closeEveryMs;
  #toldEvents = new Map<PathClient, number>();

  constructor(seed: number, onLine: ((line: string) => void) | undefined) {
    this.#onLine = onLine;
    const random = new Random(`paths ${seed}`);
    this.#random = random;
    this.#isLossy = random.chance(0.3);
    const link = {
      jitterMs: random.between(0, 10),
      ...(this.#isLossy ? { loss: random.float() * 0.05, duplication: random.float() * 0.02 } : {}),
    };
    const hasHardNat = random.chance(0.3);
    this.#world = new PathWorld(`paths ${seed} world`, link, hasHardNat, crypto);
    this.#startedAt = this.#world.clock.monotonic;
    this.#world.addRelays(
      0,
      ...Array.from({ length: random.between(1, 2) }, () => random.below(25)),
    );
    const clients = random.pick([2, 2, 3]);
    for (let i = 0; i < clients; i++) {
      const { name } = random.pick(natKinds);
      this.#world.clientBehind(name);
      this.#say(`client ${i} is behind ${name}`);
    }
    this.#say(
      `${this.#world.relays.size} relays, link ${JSON.stringify(link)}, hard ${hasHardNat}`,
    );
  }

  run(): ScenarioResult {
    const { clients } = this.#world;
    for (const client of clients) client.connected(true);
    this.#world.introduceAll();
    for (const a of clients) {
      for (const b of clients) {
        if (a !== b) this.#streams.push(new Stream(this.#world, a, b, () => this.#everyMs));
      }
    }
    const firstMs = this.#talk(this.#isLossy ? firstLossyBoundMs : firstBoundMs, 'the beginning');
    this.#run(settleMs);
    this.#nothingLost(this.#startedAt, 'from the beginning');
    const steps = this.#random.between(2, 5);
    for (let step = 1; step <= steps; step++) {
      this.#everyMs = closeEveryMs;
      this.#goThrough(goWrong(this.#world, this.#random, step));
    }
    this.#rest();
    const virtualMs = this.#world.clock.monotonic - this.#startedAt;
    return { firstMs, isLossy: this.#isLossy, recoveries: this.#recoveries, virtualMs };
  }

  #goThrough(fault: Fault): void {
    const since = this.#world.clock.monotonic;
    this.#say(`── ${fault.text}`);
    if (fault.isAvoidable) this.#recover(fault.name);
    if (fault.lastsMs !== undefined) {
      this.#wait(since + fault.lastsMs);
      this.#say(`── over: ${fault.name}`);
      fault.heal?.();
      this.#recover(`${fault.name}, over`);
    }
    this.#run(this.#random.between(500, 8000));
    if (fault.isLossless) this.#nothingLost(since, `${fault.name}`);
    this.#checkAlways();
    const { monotonic } = this.#world.clock;
    for (const stream of this.#streams) stream.forget(monotonic - flightMs);
  }

  /** What lasts is waited for with less traffic, but for its beginning and its end. */
  #wait(until: number): void {
    const left = () => Math.max(0, until - this.#world.clock.monotonic);
    this.#run(Math.min(left(), closeMs));
    this.#everyMs = farEveryMs;
    this.#run(Math.max(0, left() - closeMs));
    this.#everyMs = closeEveryMs;
    this.#run(left());
  }

  /** All is well: direct wherever that is certain, and then nothing changes and nothing is lost. */
  #rest(): void {
    this.#everyMs = quietEveryMs;
    this.#say('── rest');
    const since = this.#world.clock.monotonic;
    const tookMs = this.#world.runUntil(() => this.#notDirect().length === 0, directBoundMs);
    assert(tookMs !== undefined, `not direct after ${directBoundMs} ms: ${this.#notDirect()}`);
    this.#say(`direct where that is certain after ${(tookMs / 1000).toFixed(1)} s`);
    this.#run(20_000);
    const quietSince = this.#world.clock.monotonic;
    this.#run(quietMs);
    for (const client of this.#world.clients) {
      for (const [peer, changes] of changesSince(client, quietSince)) {
        const most = this.#isLossy ? 4 : 2;
        assert(changes <= most, `${client.index} changed its path to ${peer} ${changes} times`);
      }
    }
    this.#nothingLost(since, 'at rest');
    this.#checkAlways();
  }

  #recover(fault: string): void {
    const tookMs = this.#talk(recoveryBoundMs, fault);
    this.#recoveries.push({ fault, tookMs });
  }

  /** Everybody hears what everybody says from now on; how long that took. */
  #talk(boundMs: number, what: string): number {
    const since = this.#world.clock.monotonic;
    let silent: readonly Stream[] = this.#streams;
    const haveAllPassed = () => {
      silent = silent.filter((stream) => !stream.hasPassedSince(since));
      return silent.length === 0;
    };
    const tookMs = this.#world.runUntil(haveAllPassed, boundMs);
    this.#tell();
    const missing = silent.map(({ from, to }) => {
      const { kind, reason } = from.viewOf(to);
      return `${from.index} to ${to.index} (${kind}: ${reason})`;
    });
    assert(tookMs !== undefined, `${what}: after ${boundMs} ms nothing passes from ${missing}`);
    this.#say(`all talk after ${tookMs.toFixed(0)} ms`);
    return tookMs;
  }

  /** Nothing on the way drops packets: neither do changes of the path. */
  #nothingLost(sinceMs: number, what: string): void {
    if (this.#isLossy) return;
    const until = this.#world.clock.monotonic;
    this.#run(flightMs);
    for (const stream of this.#streams) {
      const lost = stream.lost(sinceMs, until);
      const [first] = lost;
      const { from, to } = stream;
      assert(
        first === undefined,
        `${what}: ${lost.length} packets from ${from.index} to ${to.index} are lost, ` +
          `the first of ${this.#at(first?.atMs ?? 0)}`,
      );
    }
  }

  #notDirect(): string[] {
    const { clients } = this.#world;
    return clients.flatMap((a) =>
      clients.flatMap((b) => {
        if (a === b || directPath(a.home!.row, b.home!.row) !== 'certain') return [];
        const path = a.pathTo(b);
        return path === undefined || path.prefix !== undefined ? [`${a.index} to ${b.index}`] : [];
      }),
    );
  }

  #checkAlways(): void {
    for (const client of this.#world.clients) checkBudgets(client, this.#world.hardNat);
  }

  #run(durationMs: number): void {
    this.#world.run(durationMs);
    this.#tell();
  }

  /** What the path machines said since the last time. */
  #tell(): void {
    const news = this.#world.clients.flatMap((client) => {
      const told = this.#toldEvents.get(client) ?? 0;
      this.#toldEvents.set(client, client.events.length);
      return client.events.slice(told).flatMap(({ atMs, output }) => {
        if (!('peer' in output) || isNoise(output.type)) return [];
        const path = output.type === 'path' ? output.path : undefined;
        const way =
          path === undefined ? '' : `${path.prefix ? 'relay ' : ''}${path.remote.address}`;
        return [{ atMs, text: `${client.index} to ${output.peer}: ${output.type} ${way}` }];
      });
    });
    for (const { atMs, text } of news.toSorted((a, b) => a.atMs - b.atMs)) this.#say(text, atMs);
  }

  #at(atMs: number): string {
    return `${((atMs - this.#startedAt) / 1000).toFixed(3)} s`;
  }

  #say(text: string, atMs: number = this.#world.clock.monotonic): void {
    const line = `${this.#at(atMs)} ${text}`;
    this.lines.push(line);
    if (this.lines.length > 80) this.lines.shift();
    this.#onLine?.(line);
  }
}

const isNoise = (type: string) => type === 'path-mtu' || type === 'signal-wanted';
