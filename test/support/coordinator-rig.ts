/** The coordinator on an in-memory database under virtual time, with clients played by hand. */
import assert from 'node:assert/strict';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { CoordinatorConfig } from '#server/coordinator/context.ts';
import {
  Coordinator,
  type CoordinatorOptions,
  type Effect,
  type RelayCheckOrder,
} from '#server/coordinator/coordinator.ts';
import { parsePool4 } from '#server/coordinator/pool.ts';
import { createToken } from '#server/coordinator/tokens.ts';
import { Store } from '#server/store/store.ts';
import type { Operation, OperationResult, ServerMessage, ServerMessageOf } from '#wire/control.ts';
import { decodeServerMessage, encodeMessage } from '#wire/control.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import { admissionFor, bytesOf, DeviceKeys, loginMessage, verifierFor } from './control-client.ts';

const clusterSeed = bytesOf('cluster of the rig');

export class CoordinatorRig implements AsyncDisposable {
  readonly store: Store;
  coordinator: Coordinator;
  nowMs = 1_000_000;
  /** Newcomers are kept waiting. */
  isCrowded = false;
  readonly clients = new Map<number, RigClient>();
  readonly clusterKey = crypto.ed25519PublicKey(clusterSeed);
  readonly failures: unknown[] = [];
  /** Checks of relays that were asked for. */
  readonly checks: RelayCheckOrder[] = [];
  readonly #config: CoordinatorConfig;
  readonly #place: RigPlace | undefined;
  #nextSession = 1;
  #nextRequest = 1;

  private constructor(store: Store, config: CoordinatorConfig, place?: RigPlace) {
    this.store = store;
    this.#config = config;
    this.#place = place;
    this.coordinator = this.#coordinator();
  }

  /** Where the database of the next rig is: the same tests hold for all. */
  static location: () => Promise<string> = async () => ':memory:';

  static async open(config: Partial<CoordinatorConfig> = {}): Promise<CoordinatorRig> {
    return CoordinatorRig.on(await Store.open(await CoordinatorRig.location()), config);
  }

  /** On a database that is there; `place`: as one of several nodes. */
  static on(
    store: Store,
    config: Partial<CoordinatorConfig> = {},
    place?: RigPlace,
  ): CoordinatorRig {
    const defaults = {
      enrol: 'open',
      pool4: parsePool4('100.64.0.0/10'),
      software: 'rig',
    } as const;
    return new CoordinatorRig(store, { ...defaults, graceMs: 60_000, ...config }, place);
  }

  get now(): Now {
    return { monotonic: monotonicMs(this.nowMs), wall: wallMs(1_800_000_000_000 + this.nowMs) };
  }

  /** A server that was ended in the middle of everything and started again on the same database. */
  async restart(): Promise<void> {
    this.clients.clear();
    this.coordinator = this.#coordinator();
    await this.coordinator.start(this.now);
  }

  /** A client logs in; the name makes the keys. Refused: `client.refusal`. */
  async login(name: string, rest: Partial<RigLogin> = {}): Promise<RigClient> {
    const keys = new DeviceKeys(name);
    const id = this.#nextSession++;
    const client = new RigClient(this, id, name);
    client.pongs = rest.pongs ?? true;
    this.clients.set(id, client);
    const message = loginMessage({ keys, login: rest.login ?? {} });
    const remote = {
      controlKey: rest.controlKey ?? keys.control.publicKey,
      prefix: rest.prefix ?? '192.0.2.1',
      address: rest.address ?? '192.0.2.1',
      relays: rest.relays ?? false,
    };
    await this.coordinator.login(id, remote, message, this.now);
    await this.pump();
    return client;
  }

  /** A standalone relay logs in; the name makes its key. */
  async relay(name: string, rest: Partial<RigRelay> = {}): Promise<RigClient> {
    const id = this.#nextSession++;
    const client = new RigClient(this, id, name);
    this.clients.set(id, client);
    const offer = rest.offer ?? relayOffer(name);
    const controlKey = rest.controlKey ?? offer.relayKey;
    const remote = { controlKey, prefix: '192.0.2.9', address: rest.address ?? '192.0.2.9' };
    const instance = rest.instance ?? new Uint8Array(16);
    const token = rest.token === undefined ? {} : { token: rest.token };
    const message = { t: 'relay-login', offer, instance, software: 'rig', ...token } as const;
    await this.coordinator.relayLogin(id, remote, message, this.now);
    await this.pump();
    return client;
  }

  async token(
    uses: number | null = 1,
    expiresInMs: number | null = null,
    kind: 'device' | 'relay' = 'device',
  ): Promise<string> {
    const expiresAt = expiresInMs === null ? null : this.now.wall + expiresInMs;
    const { token } = await createToken(
      this.store.db,
      { crypto, now: this.now },
      { uses, expiresAt, kind },
    );
    return token;
  }

  /** Lets time pass; everything due happens at its time. */
  async advance(ms: number): Promise<void> {
    const until = this.nowMs + ms;
    for (;;) {
      const deadline = this.coordinator.deadline();
      if (deadline === undefined || deadline > until) break;
      this.nowMs = Math.max(this.nowMs, deadline);
      await this.coordinator.tick(this.now);
      await this.pump();
    }
    this.nowMs = until;
  }

  /** Answers pings until nobody has one open. */
  async pump(): Promise<void> {
    for (let busy = true; busy; ) {
      busy = false;
      for (const client of this.clients.values())
        if (client.pongs && client.pings.length > 0 && client.closedWith === undefined) {
          busy = true;
          const id = client.pings.shift()!;
          await this.coordinator.message(client.session, { t: 'pong', id }, this.now);
        }
    }
  }

  nextRequest(): number {
    return this.#nextRequest++;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.store[Symbol.asyncDispose]();
  }

  #coordinator(): Coordinator {
    return new Coordinator({
      store: this.store,
      crypto,
      config: this.#config,
      node: this.#place?.node ?? 'node-1',
      ...(this.#place === undefined ? {} : { cluster: this.#place.cluster }),
      sign: (message) => crypto.ed25519Sign(clusterSeed, message),
      nodeList: () => new Uint8Array([1, 2, 3]),
      isCrowded: () => this.isCrowded,
      emit: (effect) => this.#apply(effect),
      failed: (error) => this.failures.push(error),
    });
  }

  #apply(effect: Effect): void {
    if (effect.kind === 'check-relay') {
      this.checks.push(effect.check);
      return;
    }
    if (effect.kind === 'publish') {
      this.#place?.publish(effect);
      return;
    }
    const client = this.clients.get(effect.session);
    if (client === undefined || client.closedWith !== undefined) return;
    if (effect.kind === 'close') {
      client.closedWith = effect.code;
      return;
    }
    if (effect.kind === 'pause') {
      client.pausedMs += effect.ms;
      return;
    }
    // Whatever the coordinator says must pass its own schema.
    const decoded = decodeServerMessage(encodeMessage(effect.message));
    assert.notEqual(typeof decoded, 'string', `${decoded}`);
    client.receive(decoded as ServerMessage);
  }
}

/** A node of a cluster. */
export interface RigPlace {
  readonly node: string;
  readonly cluster: NonNullable<CoordinatorOptions['cluster']>;
  readonly publish: (effect: Extract<Effect, { kind: 'publish' }>) => void;
}

export interface RigLogin {
  readonly login: Parameters<typeof loginMessage>[0]['login'];
  readonly prefix: string;
  readonly controlKey: Uint8Array;
  readonly pongs: boolean;
  readonly address: string;
  /** Has the capability `relay`. */
  readonly relays: boolean;
}

export interface RigRelay {
  readonly offer: RelayOffer;
  readonly token: string;
  readonly controlKey: Uint8Array;
  readonly address: string;
  readonly instance: Uint8Array;
}

/** Private key of the relay of this name. */
export const relaySeed = (name: string): Uint8Array => bytesOf(`relay ${name}`);

export const relayOffer = (name: string, udp = ['0.0.0.0:3480']): RelayOffer => ({
  relayKey: crypto.x25519PublicKey(relaySeed(name)),
  udp,
  ws: [],
  capacity: { allocations: 100, bytesPerSecond: 1_000_000 },
});

export class RigClient {
  readonly rig: CoordinatorRig;
  readonly session: number;
  readonly name: string;
  readonly received: ServerMessage[] = [];
  readonly pings: number[] = [];
  pongs = true;
  closedWith: number | undefined;
  /** For how long its connection was not to be read, all told. */
  pausedMs = 0;
  #welcome: ServerMessageOf<'welcome'> | undefined;

  constructor(rig: CoordinatorRig, session: number, name: string) {
    this.rig = rig;
    this.session = session;
    this.name = name;
  }

  receive(message: ServerMessage): void {
    if (message.t === 'welcome') this.#welcome = message;
    if (message.t === 'ping') this.pings.push(message.id);
    this.received.push(message);
  }

  get welcome(): ServerMessageOf<'welcome'> {
    assert.ok(this.#welcome, `${this.name} is logged in: ${JSON.stringify(this.received)}`);
    return this.#welcome;
  }

  get clientId(): string {
    return this.welcome.clientId;
  }

  get refusal(): string | undefined {
    return this.received.find((message) => message.t === 'refused')?.error.code;
  }

  all<T extends ServerMessage['t']>(kind: T): ServerMessageOf<T>[] {
    return this.received.filter((message) => message.t === kind) as ServerMessageOf<T>[];
  }

  /** The last message of a kind. */
  last<T extends ServerMessage['t']>(kind: T): ServerMessageOf<T> {
    const message = this.received.findLast((candidate) => candidate.t === kind);
    assert.ok(message, `${this.name} was sent a ${kind}`);
    return message as ServerMessageOf<T>;
  }

  /** Forgets what was received so far. */
  clear(): this {
    this.received.length = 0;
    return this;
  }

  async request(operation: Operation): Promise<OperationResult> {
    const id = this.rig.nextRequest();
    await this.send({ t: 'request', id, operation });
    const response = this.received.find(
      (message): message is ServerMessageOf<'response'> =>
        message.t === 'response' && message.id === id,
    );
    assert.ok(response, `a response to ${operation.op}`);
    return response.result;
  }

  async granted(operation: Operation): Promise<Extract<OperationResult, { ok: true }>> {
    const result = await this.request(operation);
    assert.ok(result.ok, `${operation.op}: ${JSON.stringify(result)}`);
    return result;
  }

  /** The code of the refusal. */
  async refused(operation: Operation): Promise<string> {
    const result = await this.request(operation);
    assert.ok(!result.ok, `${operation.op} was granted`);
    assert.ok(result.error.message.length > 20, 'a text that says what to do');
    return result.error.code;
  }

  async create(name: string, password = ''): Promise<string> {
    const admission = admissionFor(password);
    const result = await this.granted({ op: 'create', name, type: 'mesh', admission });
    return result.network!;
  }

  join(name: string, password = ''): Promise<OperationResult> {
    return this.request({ op: 'join', name, verifier: verifierFor(password) });
  }

  async joined(name: string, password = ''): Promise<void> {
    const result = await this.join(name, password);
    assert.ok(result.ok, JSON.stringify(result));
  }

  async send(message: Parameters<Coordinator['message']>[1]): Promise<void> {
    await this.rig.coordinator.message(this.session, message, this.rig.now);
    await this.rig.pump();
  }

  /** The connection breaks. */
  async lose(clean = false): Promise<void> {
    this.closedWith = clean ? 1000 : 1006;
    await this.rig.coordinator.lost(this.session, clean, this.rig.now);
    await this.rig.pump();
  }
}
