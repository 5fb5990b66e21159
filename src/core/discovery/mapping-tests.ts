import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs } from '#core/time.ts';
import { type Endpoint, sameEndpoint } from '#wire/endpoint.ts';
import type { PortAllocation } from '#wire/signal.ts';
import { decodeStun, stunTransactionIdBytes } from '#wire/stun.ts';
import { encodeBindingRequest } from '#wire/stun-encode.ts';
import { classifyAllocation, type PortSample } from './allocation.ts';
import type { MappingQuestion, Question } from './question.ts';
import type { StunClient, StunResult } from './stun-client.ts';

/** Server endpoints that each sample socket asks: as many fresh mappings where the NAT maps by endpoint. */
const maxTargets = 4;
const maxSampleSockets = 4;
/** Between two samples: short, so that hardly anybody else's mapping comes between, and the order is kept on the way. */
const sampleSpacingMs = 20;
/** When both sockets send to each other's mapping, after both are known. */
const hairpinOffsetsMs: readonly number[] = [0, 250, 700];
const hairpinWaitMs = 1500;

export interface TestSocket {
  readonly socket: number;
  readonly localPort: number;
}

export interface MappingTestsOptions {
  readonly crypto: Crypto;
  readonly stun: StunClient<Question>;
  readonly send: (socket: number, remote: Endpoint, bytes: Uint8Array) => void;
  readonly main: TestSocket;
  readonly test: TestSocket;
  /** Sockets whose mappings matter to nobody. */
  readonly samples: readonly TestSocket[];
  readonly servers: readonly Endpoint[];
}

/** What a run of discovery found for the main socket: its mappings, in the order in which they were made. */
export interface Found {
  readonly server: Endpoint;
  readonly seen: readonly Endpoint[];
  readonly rttMs: number | undefined;
}

/**
 * How a NAT allocates ports, and whether it hairpins, once for each network. In packets of ours: at most 16 samples and one
 * mapping of the test socket (answered by as many; each is sent again up to four times when it is lost), and 6 for the hairpin.
 *
 * ```
 *  start ──► samples, 20 ms apart ──► all answered or given up: allocation
 *        └─► mapping of the test socket ──► main and test socket send to each other's mapping
 *                                            ├─ a request of ours comes back: hairpin
 *                                            └─ 1.5 s of silence: none
 * ```
 */
export class MappingTests {
  readonly #options: MappingTestsOptions;
  #run = 0;
  #found: Found | undefined;
  #targets: readonly { readonly socket: TestSocket; readonly server: Endpoint }[] = [];
  #samples: (PortSample | undefined)[] = [];
  #next = 0;
  #unanswered = 0;
  #sampleAt: MonotonicMs | undefined;
  #allocation: PortAllocation | undefined;
  #testSeen: Endpoint | undefined;
  /** Identifiers of the requests that are to come back, in hexadecimal, with the socket that they should arrive at. */
  readonly #hairpins = new Map<string, number>();
  #hairpinStep = 0;
  #hairpinAt: MonotonicMs | undefined;
  #hairpin: boolean | undefined;

  constructor(options: MappingTestsOptions) {
    this.#options = options;
  }

  get allocation(): PortAllocation | undefined {
    return this.#allocation;
  }

  get hairpin(): boolean | undefined {
    return this.#hairpin;
  }

  /** Nothing is in flight or to be sent. */
  get isDone(): boolean {
    return this.#sampleAt === undefined && this.#unanswered === 0 && this.#hairpinAt === undefined;
  }

  /** The mapping is another one. What was found of its NAT holds until it is found again: a NAT that has restarted is the same. */
  start(found: Found, now: MonotonicMs): void {
    const [allocation, hairpin] = [this.#allocation, this.#hairpin];
    this.forget();
    [this.#allocation, this.#hairpin] = [allocation, hairpin];
    this.#found = found;
    const { samples, servers } = this.#options;
    const targets = [...servers].sort((a, b) => nearness(b, found) - nearness(a, found));
    this.#targets = samples
      .slice(0, maxSampleSockets)
      .flatMap((socket) => targets.slice(0, maxTargets).map((server) => ({ socket, server })));
    this.#unanswered = 1 + this.#targets.length;
    this.#ask('test', this.#options.test, found.server, now);
    this.#sampleAt = now;
    this.wake(now);
  }

  /** Another network: what was found is of the past. */
  forget(): void {
    this.#run += 1;
    this.#options.stun.cancel((question) => question.part === 'mapping');
    this.#targets = [];
    this.#samples = [];
    this.#next = 0;
    this.#unanswered = 0;
    this.#sampleAt = undefined;
    this.#allocation = undefined;
    this.#testSeen = undefined;
    this.#endHairpin(undefined);
  }

  result({ run, sample }: MappingQuestion, result: StunResult, now: MonotonicMs): void {
    if (run !== this.#run) return;
    this.#unanswered -= 1;
    if (sample === 'test') {
      if (result.type === 'answered') this.#beginHairpin(result.mapped, now);
    } else if (result.type === 'answered') {
      this.#samples[sample] = sampleOf(this.#targets[sample]!.socket, result.mapped);
    }
    if (this.#unanswered === 0) this.#classify();
  }

  /** A STUN request that arrived: perhaps ours, come back by the NAT. */
  receive(bytes: Uint8Array, socket: number): void {
    if (this.#hairpins.size === 0) return;
    const message = decodeStun(bytes);
    if (message?.class !== 'request') return;
    if (this.#hairpins.get(key(message.transactionId)) === socket) this.#endHairpin(true);
  }

  wake(now: MonotonicMs): void {
    while (this.#sampleAt !== undefined && this.#sampleAt <= now) {
      const target = this.#targets[this.#next];
      this.#sampleAt =
        this.#next + 1 < this.#targets.length ? after(now, sampleSpacingMs) : undefined;
      if (target !== undefined) this.#ask(this.#next, target.socket, target.server, now);
      this.#next += 1;
    }
    if (this.#hairpinAt !== undefined && this.#hairpinAt <= now) this.#hairpinDue(now);
  }

  deadline(): MonotonicMs | undefined {
    const times = [this.#sampleAt, this.#hairpinAt].filter((at) => at !== undefined);
    return times.length === 0 ? undefined : (Math.min(...times) as MonotonicMs);
  }

  #ask(
    sample: MappingQuestion['sample'],
    { socket }: TestSocket,
    server: Endpoint,
    now: MonotonicMs,
  ): void {
    const { stun } = this.#options;
    const question = { part: 'mapping', run: this.#run, sample } as const;
    stun.ask(question, { socket, server }, now, this.#found?.rttMs);
  }

  #classify(): void {
    const { main, test } = this.#options;
    const first = (this.#found?.seen ?? []).map((seen) => sampleOf(main, seen));
    const second = this.#testSeen === undefined ? [] : [sampleOf(test, this.#testSeen)];
    const rest = this.#samples.filter((sample) => sample !== undefined);
    this.#allocation = classifyAllocation([...first, ...second, ...rest]) ?? this.#allocation;
  }

  #beginHairpin(testSeen: Endpoint, now: MonotonicMs): void {
    this.#testSeen = testSeen;
    this.#hairpinStep = 0;
    this.#hairpinDue(now);
  }

  /** Both sockets send to each other, as two hosts behind one NAT do: each opens the filter for the other. */
  #hairpinDue(now: MonotonicMs): void {
    const { main, test } = this.#options;
    const mainSeen = this.#found?.seen[0];
    if (this.#hairpinStep === hairpinOffsetsMs.length || mainSeen === undefined) {
      this.#endHairpin(false);
      return;
    }
    this.#sendHairpin(main.socket, this.#testSeen!, test.socket);
    this.#sendHairpin(test.socket, mainSeen, main.socket);
    const past = hairpinOffsetsMs[this.#hairpinStep]!;
    this.#hairpinStep += 1;
    this.#hairpinAt = after(now, (hairpinOffsetsMs[this.#hairpinStep] ?? hairpinWaitMs) - past);
  }

  #sendHairpin(from: number, remote: Endpoint, to: number): void {
    const { crypto, send } = this.#options;
    const transactionId = crypto.random(stunTransactionIdBytes);
    this.#hairpins.set(key(transactionId), to);
    send(from, remote, encodeBindingRequest({ transactionId }));
  }

  #endHairpin(hairpin: boolean | undefined): void {
    this.#hairpin = hairpin;
    this.#hairpinAt = undefined;
    this.#hairpins.clear();
  }
}

/** Endpoints of the server that answers come first. */
const nearness = (server: Endpoint, { server: asked }: Found): number =>
  sameEndpoint(server, asked) ? 2 : server.address === asked.address ? 1 : 0;

const sampleOf = ({ localPort }: TestSocket, { address, port }: Endpoint): PortSample => ({
  ...{ local: localPort, address, port },
});

const key = (id: Uint8Array) => String.fromCharCode(...id);
