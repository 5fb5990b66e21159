import { BuriError } from '#core/errors.ts';
import type { ClientMessage, Operation, OperationResult, ServerMessage } from '#wire/control.ts';
import { type ConnectOptions, type ControlConnection, connect } from './control-connection.ts';
import { ControlError } from './control-error.ts';
import {
  maxQuickMoves,
  maxRequestsInFlight,
  movingMs,
  networkProbeMs,
  reconnectFirstMs,
  reconnectMostMs,
  reconnectSettledMs,
  requestTimeoutMs,
} from './limits.ts';

/**
 * The link's states:
 *
 *   stopped ──start──► connecting ──welcome──► connected
 *      ▲                  ▲   │ failed             │ lost
 *      │                  │   ▼                    │
 *      └──stop──────── waiting ◄───────────────────┘
 */
export type LinkState =
  | { readonly kind: 'stopped' }
  | { readonly kind: 'connecting'; readonly error?: ControlError }
  | { readonly kind: 'waiting'; readonly error: ControlError; readonly retryAt: number }
  | { readonly kind: 'connected'; readonly connection: ControlConnection };

export interface LinkHandlers {
  /** How to connect now: made afresh for every attempt. */
  readonly options: () => Omit<ConnectOptions, 'signal'>;
  /** Nodes of the server that may be asked: all of them before a pause grows. Default 1. */
  readonly servers?: () => number;
  /** Logged in: `connection.welcome` says as whom. Messages follow by `onMessage`. */
  readonly onConnected: (connection: ControlConnection) => void;
  readonly onMessage: (message: ServerMessage) => void;
  /** A connection was lost, or an attempt failed. `wasConnected` tells which. */
  readonly onLost: (error: ControlError, wasConnected: boolean) => void;
}

/** Keeps a control connection to the server, and puts requests and responses together. */
export class ControlLink {
  readonly #handlers: LinkHandlers;
  #state: LinkState = { kind: 'stopped' };
  #stop: AbortController | undefined;
  /** The server ends, and is left when it has answered what it was asked. */
  #leaving: NodeJS.Timeout | undefined;
  /** When there was a connection last. */
  #seenAt = Number.NEGATIVE_INFINITY;
  /** Requests that wait for the next connection. */
  readonly #comers = new Set<() => void>();
  /** The next attempt does not wait: what ended the connection was here, and is over. */
  #isUrgent = false;
  /** Attempts that failed since the last connection. */
  #failures = 0;
  /** Connections in a row that did not last: a server that lets everybody in and then falls over is not stormed either. */
  #shortLives = 0;
  #timer: NodeJS.Timeout | undefined;
  #nextId = 1;
  readonly #inFlight = new Map<number, (result: OperationResult | ControlError) => void>();

  constructor(handlers: LinkHandlers) {
    this.#handlers = handlers;
  }

  get state(): LinkState {
    return this.#state;
  }

  /** Connects, and goes on trying until `stop`. */
  start(): void {
    if (this.#state.kind !== 'stopped') return;
    this.#stop = new AbortController();
    this.#failures = 0;
    this.#shortLives = 0;
    this.#attempt(this.#stop.signal);
  }

  /** Ends the connection with a goodbye, or the attempts. */
  async stop(): Promise<void> {
    const state = this.#state;
    this.#state = { kind: 'stopped' };
    // Before the abort, which would break the connection off without a goodbye.
    const goodbye = state.kind === 'connected' ? sayGoodbye(state.connection) : undefined;
    this.#stop?.abort();
    this.#stop = undefined;
    clearTimeout(this.#timer);
    this.#stay();
    this.#wakeComers();
    this.#failRequests(new ControlError('not-connected', 'the daemon has logged out'));
    await goodbye;
  }

  /** False when there is no connection. */
  send(message: ClientMessage): boolean {
    return this.#state.kind === 'connected' && this.#state.connection.send(message);
  }

  /**
   * One request, its response. Between two connections, when one follows the other, it waits a moment for the next. BuriError:
   * not-connected, server-timeout, or the server's own code.
   */
  async request(operation: Operation): Promise<Extract<OperationResult, { ok: true }>> {
    if (this.#isBetween) await this.#nextConnection();
    if (this.#state.kind !== 'connected') throw notConnected(this.#state);
    if (this.#inFlight.size >= maxRequestsInFlight) {
      throw new BuriError('busy', 'too many requests wait for the server; try again in a moment');
    }
    const id = this.#nextId;
    this.#nextId = (this.#nextId % 0x7fff_ffff) + 1;
    const { promise, resolve } = Promise.withResolvers<OperationResult | ControlError>();
    this.#inFlight.set(id, resolve);
    const timer = setTimeout(() => resolve(serverTimeout()), requestTimeoutMs);
    try {
      if (!this.#state.connection.send({ t: 'request', id, operation })) {
        throw notConnected(this.#state);
      }
      const result = await promise;
      if (result instanceof ControlError) throw result;
      if (!result.ok) throw new BuriError(result.error.code, result.error.message);
      return result;
    } finally {
      clearTimeout(timer);
      this.#inFlight.delete(id);
      if (this.#inFlight.size === 0 && this.#leaving !== undefined) this.#moveOn();
    }
  }

  /** The server is being left, or a connection was lost a moment ago. */
  get #isBetween(): boolean {
    if (this.#state.kind === 'connected') return this.#leaving !== undefined;
    return performance.now() - this.#seenAt < movingMs;
  }

  #nextConnection(): Promise<void> {
    if (this.#state.kind === 'stopped' || this.#comers.size >= maxRequestsInFlight)
      return Promise.resolve();
    return new Promise((resolve) => {
      const come = () => {
        clearTimeout(timer);
        this.#comers.delete(come);
        resolve();
      };
      const timer = setTimeout(come, movingMs);
      this.#comers.add(come);
    });
  }

  #wakeComers(): void {
    for (const come of [...this.#comers]) come();
  }

  /** The server is about to end. */
  #leave(): void {
    if (this.#leaving !== undefined) return;
    this.#leaving = setTimeout(() => this.#moveOn(), movingMs);
    if (this.#inFlight.size === 0) this.#moveOn();
  }

  #moveOn(): void {
    this.#stay();
    if (this.#state.kind !== 'connected') return;
    // A server that sends everybody on, again and again, is not followed at any pace.
    this.#isUrgent = this.#shortLives < maxQuickMoves;
    this.#state.connection.drop('the server ends');
  }

  #stay(): void {
    clearTimeout(this.#leaving);
    this.#leaving = undefined;
  }

  /** Ends the connection as if it had been lost; the next one follows. */
  reconnect(): void {
    if (this.#state.kind === 'connected') this.#state.connection.drop('renewed');
  }

  /** After a sleep, or with other addresses: the connection is taken for dead, and a pause ends now. */
  renew(): void {
    const state = this.#state;
    if (state.kind === 'connected') {
      this.#isUrgent = true;
      state.connection.drop('the network has changed');
    } else if (state.kind === 'waiting' && this.#stop !== undefined) {
      if (patientCodes.has(state.error.code)) return;
      clearTimeout(this.#timer);
      this.#failures = 0;
      this.#attempt(this.#stop.signal);
    }
  }

  /** Finds out soon whether the connection still lives; a pause is cut short. */
  check(): void {
    if (this.#state.kind === 'connected') {
      const { connection } = this.#state;
      connection.probe(networkProbeMs, () => {
        const state = this.#state;
        if (state.kind === 'connected' && state.connection === connection) this.renew();
      });
    } else if (this.#state.kind === 'waiting' && this.#stop !== undefined) {
      const { error, retryAt } = this.#state;
      const isSoon = retryAt - performance.now() < reconnectFirstMs;
      if (isSoon || patientCodes.has(error.code)) return;
      this.#failures = 1;
      this.#wait(error, this.#stop.signal);
    }
  }

  #attempt(signal: AbortSignal): void {
    const earlier = this.#state.kind === 'waiting' ? this.#state.error : undefined;
    this.#state = { kind: 'connecting', ...(earlier === undefined ? {} : { error: earlier }) };
    connect({ ...this.#handlers.options(), signal }).then(
      (connection) => {
        if (signal.aborted) void connection.close();
        else this.#connected(connection, signal);
      },
      (error) => {
        if (!signal.aborted) this.#lost(asControlError(error), signal, false);
      },
    );
  }

  #connected(connection: ControlConnection, signal: AbortSignal): void {
    const since = performance.now();
    this.#failures = 0;
    this.#state = { kind: 'connected', connection };
    this.#handlers.onConnected(connection);
    this.#wakeComers();
    connection.start({
      onMessage: (message) => this.#receive(message),
      onClosed: (error) => {
        const lasted = performance.now() - since > reconnectSettledMs;
        this.#shortLives = lasted ? 0 : this.#shortLives + 1;
        this.#failures = this.#shortLives;
        if (!signal.aborted) this.#lost(error, signal, true);
      },
    });
  }

  #receive(message: ServerMessage): void {
    if (message.t === 'response') this.#inFlight.get(message.id)?.(message.result);
    else if (message.t === 'moving') this.#leave();
    else this.#handlers.onMessage(message);
  }

  #lost(error: ControlError, signal: AbortSignal, wasConnected: boolean): void {
    this.#stay();
    if (wasConnected) this.#seenAt = performance.now();
    this.#failRequests(error);
    if (!wasConnected || this.#failures === 0) this.#failures++;
    this.#wait(error, signal);
    this.#handlers.onLost(error, wasConnected);
  }

  #wait(error: ControlError, signal: AbortSignal): void {
    const isUrgent = this.#isUrgent;
    this.#isUrgent = false;
    const rounds = Math.ceil(this.#failures / (this.#handlers.servers?.() ?? 1));
    const delayMs = isUrgent ? 0 : reconnectDelayMs(rounds, error, Math.random());
    this.#state = { kind: 'waiting', error, retryAt: performance.now() + delayMs };
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (!signal.aborted) this.#attempt(signal);
    }, delayMs);
  }

  #failRequests(error: ControlError): void {
    for (const settle of [...this.#inFlight.values()]) settle(error);
  }
}

/** Answers that a person must do something about: asking again soon changes nothing. */
const patientCodes = new Set([
  'server-key-mismatch',
  'server-certificate-invalid',
  'version-unsupported',
  'not-a-buri-server',
  'identity-in-use',
  // Some lock an account after a few wrong passwords.
  'proxy-authentication',
]);
const transportCodes = new Set([
  'server-unreachable',
  'connection-lost',
  'login-timeout',
  'proxy-unreachable',
  'proxy-timeout',
  'proxy-broken',
  'proxy-refused',
  'proxy-authentication',
]);

/** @param random 0 to 1: spreads the clients of a restarted server. */
export function reconnectDelayMs(failures: number, error: ControlError, random: number): number {
  const known = patientCodes.has(error.code);
  const exponent = Math.min(failures - 1, 10);
  const mostMs = known
    ? reconnectMostMs
    : Math.min(reconnectMostMs, reconnectFirstMs * 2 ** Math.max(0, exponent));
  // Whoever was told the same moment does not come at the same moment.
  return Math.max(mostMs * (1 - random / 2), (error.retryAfterMs ?? 0) * (1 + random / 2));
}

/** Whether the server itself said no, so that the user must be told rather than kept waiting. */
export const isRefusal = (error: ControlError): boolean => !transportCodes.has(error.code);

/** The server said no, and not that it is to be asked again later. */
export const isFinalRefusal = (error: ControlError): boolean =>
  isRefusal(error) && error.retryAfterMs === undefined;

function notConnected(state: LinkState): BuriError {
  const why = state.kind === 'waiting' ? `: ${state.error.message}` : '';
  return new BuriError(
    'not-connected',
    state.kind === 'stopped'
      ? "this computer is not logged in; use 'buri login'"
      : `the server cannot be reached now, the daemon keeps trying${why}`,
  );
}

const serverTimeout = (): ControlError =>
  new ControlError(
    'server-timeout',
    "the server did not answer in time; see 'buri status', and whether it was done, before you repeat it",
  );

const asControlError = (error: unknown): ControlError =>
  error instanceof ControlError
    ? error
    : error instanceof BuriError
      ? new ControlError(error.code, error.message)
      : new ControlError('internal-error', `the login failed: ${(error as Error).message}`);

function sayGoodbye(connection: ControlConnection): Promise<void> {
  connection.send({ t: 'logout' });
  return connection.close();
}
