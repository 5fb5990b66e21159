import { after, type MonotonicMs } from '#core/time.ts';
import { formatEndpoint } from '#wire/endpoint.ts';
import type { PortAllocation } from '#wire/signal.ts';
import type { FamilyDiscovery } from './family-discovery.ts';
import { LifetimeSearch } from './lifetime-search.ts';
import { MappingTests, type MappingTestsOptions } from './mapping-tests.ts';
import type { LifetimeQuestion, MappingQuestion } from './question.ts';
import type { StunResult } from './stun-client.ts';

/** However often the network changes. */
const leastPauseMs = 30_000;

/**
 * The tests that cost more than a question: allocation and hairpin, then the lifetime of mappings. They follow the discovery of
 * IPv4 and begin when a run of it has settled on a mapping that they do not know; IPv6 is hardly ever translated.
 */
export class NatTests {
  readonly #mapping: MappingTests;
  readonly #lifetime: LifetimeSearch;
  /** Run of the discovery that was last looked at, and the mapping that the results belong to. */
  #run: number | undefined;
  #tested: string | undefined;
  #startedAt: MonotonicMs | undefined;
  #dueAt: MonotonicMs | undefined;
  /** The pause is over; the tests begin once the discovery has settled. */
  #isDue = false;
  #isAsked = false;
  #searches = false;

  constructor(options: MappingTestsOptions) {
    this.#mapping = new MappingTests(options);
    const { stun, main, test } = options;
    this.#lifetime = new LifetimeSearch({
      ...{ stun, testSocket: test.socket, mainSocket: main.socket },
    });
  }

  get facts(): { allocation?: PortAllocation; hairpin?: boolean } {
    const { allocation, hairpin } = this.#mapping;
    return {
      ...(allocation === undefined ? {} : { allocation }),
      ...(hairpin === undefined ? {} : { hairpin }),
    };
  }

  get lifetimeMs(): number | undefined {
    return this.#lifetime.lifetimeMs;
  }

  /** All but the lifetime is known, which takes minutes. */
  get isDone(): boolean {
    return this.#mapping.isDone && this.#dueAt === undefined && !this.#isDue;
  }

  /** Another network: what was found is of the past. */
  networkChanged(): void {
    this.#tested = undefined;
    this.#forget();
  }

  /** Allocation and hairpin again, at once; how long mappings live does not change by being asked for. */
  check(): void {
    this.#isAsked = true;
    this.#mapping.forget();
  }

  /** To be called after every change of the discovery, once its questions about the mapping are answered. */
  follow(family: FamilyDiscovery, isTranslated: boolean, now: MonotonicMs): void {
    const { run, seen } = family;
    if (run === this.#run && !this.#isDue) return;
    this.#run = run;
    this.#isDue = false;
    this.#dueAt = undefined;
    if (seen === undefined) {
      this.networkChanged();
      return;
    }
    const mapping = formatEndpoint(seen);
    const isSame = mapping === this.#tested;
    if (isSame && !this.#isAsked) {
      this.#searches = true;
      return;
    }
    const last = this.#startedAt;
    if (!this.#isAsked && last !== undefined && now - last < leastPauseMs) {
      this.#dueAt = after(last, leastPauseMs);
      return;
    }
    if (!isSame) this.#lifetime.forget();
    this.#begin(family, isTranslated, now);
    this.#tested = mapping;
  }

  #begin(family: FamilyDiscovery, isTranslated: boolean, now: MonotonicMs): void {
    this.#isAsked = false;
    this.#startedAt = now;
    this.#searches = true;
    const { server, rttMs, observations } = family;
    const { seen, seenByOtherPort, seenByOtherAddress } = observations;
    const all = [seen, seenByOtherPort, seenByOtherAddress].filter((one) => one !== undefined);
    if (isTranslated) this.#mapping.start({ server, seen: all, rttMs }, now);
    else this.#mapping.forget();
  }

  result(question: MappingQuestion | LifetimeQuestion, result: StunResult, now: MonotonicMs): void {
    if (question.part === 'mapping') this.#mapping.result(question, result, now);
    else this.#lifetime.result(question, result, now);
  }

  receive(bytes: Uint8Array, socket: number): void {
    this.#mapping.receive(bytes, socket);
  }

  /** @param isAsking questions of the discovery are open: the mapping of the test socket is in use. */
  wake(family: FamilyDiscovery, isAsking: boolean, now: MonotonicMs): void {
    if (this.#dueAt !== undefined && this.#dueAt <= now) {
      this.#dueAt = undefined;
      this.#isDue = true;
    }
    this.#mapping.wake(now);
    // A new run tests filters by the test socket, whose mapping is idle no more.
    if (family.run !== this.#run) this.#lifetime.pause();
    this.#lifetime.wake(now);
    const isSettled = this.#mapping.isDone && !isAsking && family.run === this.#run;
    if (this.#searches && isSettled) {
      this.#searches = false;
      this.#lifetime.start(family.server, now);
    }
    family.mappingLives(this.lifetimeMs);
  }

  deadline(): MonotonicMs | undefined {
    const all = [this.#dueAt, this.#mapping.deadline(), this.#lifetime.deadline()];
    const known = all.filter((at) => at !== undefined);
    return known.length === 0 ? undefined : (Math.min(...known) as MonotonicMs);
  }

  #forget(): void {
    this.#searches = false;
    this.#mapping.forget();
    this.#lifetime.forget();
  }
}
