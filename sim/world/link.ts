import { ControlError } from '#client/control-error.ts';
import { reconnectDelayMs } from '#client/control-link.ts';
import {
  connectTimeoutMs,
  maxRequestsInFlight,
  networkProbeMs,
  reconnectFirstMs,
  reconnectSettledMs,
  requestTimeoutMs,
  silenceMs,
} from '#client/limits.ts';
import {
  type ClientMessage,
  decodeServerMessage,
  encodeMessage,
  type Operation,
  type OperationResult,
  type ServerMessage,
  type ServerMessageOf,
} from '#wire/control.ts';
import type { Scheduled, VirtualClock } from '../clock.ts';
import type { Random } from '../random.ts';
import type { ControlWire, WireEnd } from './control-wire.ts';
import { Violation } from './trace.ts';

export interface LinkOptions {
  readonly clock: VirtualClock;
  readonly random: Random;
  /** A connection through the network as it is now; undefined when nobody answers. */
  readonly connect: (end: WireEnd) => ControlWire | undefined;
  readonly login: () => Extract<ClientMessage, { t: 'login' }>;
  readonly onConnected: (welcome: ServerMessageOf<'welcome'>) => void;
  /** @param sentAt when the server sent it. */
  readonly onMessage: (message: ServerMessage, sentAt: number) => void;
  readonly onLost: (error: ControlError, wasConnected: boolean) => void;
  /** What leaves, for the invariants. */
  readonly onSend: (bytes: Uint8Array) => void;
}

/** Undefined: no answer will come, whether it was done or not. */
export type Answer = OperationResult | undefined;

type State =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'waiting'; readonly timer: Scheduled }
  | { readonly kind: 'connecting'; readonly wire: ControlWire | undefined }
  | { readonly kind: 'connected'; readonly wire: ControlWire; readonly since: number };

/** Noise and WebSocket take this many round trips before the login message leaves. */
const handshakeMs = 90;

/** The control link of a daemon (`src/client/control-link.ts`, `control-connection.ts`) under virtual time. */
export class SimLink {
  readonly #options: LinkOptions;
  #state: State = { kind: 'stopped' };
  #failures = 0;
  #shortLives = 0;
  #nextId = 1;
  #lastHeard = 0;
  #watch: Scheduled | undefined;
  readonly #inFlight = new Map<number, (answer: Answer) => void>();

  constructor(options: LinkOptions) {
    this.#options = options;
  }

  get isConnected(): boolean {
    return this.#state.kind === 'connected';
  }

  /** The connection below, for whoever cuts it. */
  get wire(): ControlWire | undefined {
    const state = this.#state;
    return state.kind === 'connected' || state.kind === 'connecting' ? state.wire : undefined;
  }

  start(): void {
    if (this.#state.kind === 'stopped') this.#attempt();
  }

  /** Ends the connection with a goodbye, or the attempts. */
  stop(): void {
    const state = this.#state;
    this.#halt();
    if (state.kind === 'connected') {
      this.#put(state.wire, { t: 'logout' });
      state.wire.close('client', 1000);
    } else if (state.kind === 'connecting') state.wire?.close('client', undefined);
  }

  /** The process dies: the operating system resets its connection, or nothing does. */
  die(isPowerLoss: boolean): void {
    const { wire } = this;
    this.#halt();
    if (isPowerLoss) wire?.vanish();
    else wire?.close('client', undefined);
  }

  send(message: ClientMessage): boolean {
    if (this.#state.kind !== 'connected') return false;
    this.#put(this.#state.wire, message);
    return true;
  }

  request(operation: Operation, done: (answer: Answer) => void): void {
    if (this.#state.kind !== 'connected' || this.#inFlight.size >= maxRequestsInFlight) {
      done(undefined);
      return;
    }
    const id = this.#nextId++;
    const settle = (answer: Answer) => {
      timer.cancel();
      this.#inFlight.delete(id);
      done(answer);
    };
    const timer = this.#options.clock.in(requestTimeoutMs, () => settle(undefined));
    this.#inFlight.set(id, settle);
    this.#put(this.#state.wire, { t: 'request', id, operation });
  }

  /** Finds out soon whether the connection still lives; a pause is cut short. */
  check(): void {
    const { clock } = this.#options;
    const state = this.#state;
    if (state.kind === 'connected') {
      const before = this.#lastHeard;
      state.wire.ping('client');
      clock.in(networkProbeMs, () => {
        if (this.#state === state && this.#lastHeard === before) {
          this.renew();
        }
      });
    } else if (state.kind === 'waiting') {
      if (state.timer.at - clock.monotonic < reconnectFirstMs) return;
      state.timer.cancel();
      this.#failures = 1;
      this.#wait(lost('the network has changed'));
    }
  }

  /** The connection is taken for dead, and a pause ends now. */
  renew(): void {
    const state = this.#state;
    if (state.kind === 'connected') {
      this.#lose(lost('the network has changed'));
    }
    if (this.#state.kind !== 'waiting') return;
    this.#state.timer.cancel();
    if (state.kind === 'waiting') this.#failures = 0;
    this.#attempt();
  }

  /** The machine sleeps: its timers stand still, and nobody hears of it. */
  sleep(): void {
    this.wire?.vanish();
    this.#watch?.cancel();
    if (this.#state.kind === 'waiting') this.#state.timer.cancel();
  }

  #halt(): void {
    if (this.#state.kind === 'waiting') this.#state.timer.cancel();
    this.#watch?.cancel();
    this.#state = { kind: 'stopped' };
    this.#failRequests();
  }

  #attempt(): void {
    const { clock, connect, login } = this.#options;
    const end: WireEnd = {
      onMessage: (bytes, sentAt) => this.#receive(wire, bytes, sentAt),
      onClosed: (code) => this.#closed(wire, code),
      onPong: () => {
        if (wire !== undefined && this.wire === wire) this.#lastHeard = clock.monotonic;
      },
    };
    const wire = connect(end);
    const state: State = { kind: 'connecting', wire };
    this.#state = state;
    clock.in(handshakeMs, () => {
      if (this.#state === state && wire !== undefined) this.#put(wire, login());
    });
    clock.in(wire === undefined ? handshakeMs : connectTimeoutMs, () => {
      if (this.#state === state) this.#lose(lost('no welcome in time'));
    });
  }

  #receive(wire: ControlWire | undefined, bytes: Uint8Array, sentAt: number): void {
    const state = this.#state;
    if (wire === undefined || this.wire !== wire) return;
    const { clock, onConnected, onMessage } = this.#options;
    const message = decodeServerMessage(bytes);
    if (typeof message === 'string') throw new Violation(`a client refuses: ${message}`);
    this.#lastHeard = clock.monotonic;
    if (message.t === 'refused') {
      const { error, retryAfterMs } = message;
      this.#lose(new ControlError(error.code, error.message, retryAfterMs));
      return;
    }
    if (state.kind === 'connecting') {
      if (message.t !== 'welcome') throw new Violation(`${message.t} before the welcome`);
      this.#state = { kind: 'connected', wire, since: clock.monotonic };
      this.#failures = 0;
      this.#watchSilence(wire);
      onConnected(message);
      return;
    }
    if (message.t === 'ping') this.#put(wire, { t: 'pong', id: message.id });
    if (message.t === 'response') this.#inFlight.get(message.id)?.(message.result);
    else onMessage(message, sentAt);
  }

  #watchSilence(wire: ControlWire): void {
    this.#watch?.cancel();
    this.#watch = this.#options.clock.at(this.#lastHeard + silenceMs, () => {
      if (this.wire !== wire) return;
      if (this.#options.clock.monotonic < this.#lastHeard + silenceMs) this.#watchSilence(wire);
      else this.#lose(lost('the server has fallen silent'));
    });
  }

  #closed(wire: ControlWire | undefined, code: number | undefined): void {
    if (wire !== undefined && this.wire === wire) this.#lose(lost(`closed (${code ?? 'reset'})`));
  }

  #lose(error: ControlError): void {
    const state = this.#state;
    const wasConnected = state.kind === 'connected';
    this.wire?.close('client', undefined);
    this.#watch?.cancel();
    if (wasConnected) {
      const lasted = this.#options.clock.monotonic - state.since > reconnectSettledMs;
      this.#shortLives = lasted ? 0 : this.#shortLives + 1;
      this.#failures = Math.max(1, this.#shortLives);
    } else this.#failures += 1;
    this.#wait(error);
    this.#failRequests();
    this.#options.onLost(error, wasConnected);
  }

  #wait(error: ControlError): void {
    const { clock, random } = this.#options;
    const delayMs = reconnectDelayMs(this.#failures, error, random.float());
    this.#state = { kind: 'waiting', timer: clock.in(delayMs, () => this.#attempt()) };
  }

  #failRequests(): void {
    for (const settle of [...this.#inFlight.values()]) settle(undefined);
  }

  #put(wire: ControlWire, message: ClientMessage): void {
    const bytes = encodeMessage(message);
    this.#options.onSend(bytes);
    wire.send('client', bytes);
  }
}

const lost = (why: string) => new ControlError('connection-lost', why);
