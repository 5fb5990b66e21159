import type { Crypto } from '#core/crypto.ts';
import { type Now, wallMs } from '#core/time.ts';
import { Coordinator, type Effect } from '#server/coordinator/coordinator.ts';
import { defaultGraceMs } from '#server/coordinator/limits.ts';
import { defaultPool4, parsePool4 } from '#server/coordinator/pool.ts';
import type { SessionId } from '#server/coordinator/sessions.ts';
import { Store } from '#server/store/store.ts';
import { decodeClientMessage, encodeMessage, type ServerMessage } from '#wire/control.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import { signDocument } from '#wire/signed.ts';
import type { Scheduled, VirtualClock } from '../clock.ts';
import type { ControlWire, WireEnd } from './control-wire.ts';
import { type Trace, Violation } from './trace.ts';

export interface ServerOptions {
  readonly clock: VirtualClock;
  readonly crypto: Crypto;
  readonly trace: Trace;
  readonly stun: readonly Endpoint[];
  /** Called after every commit. */
  readonly committed: () => void;
}

/** What a commit takes. */
const commitMs = 2;
/** From a close frame to its answer. */
const closeMs = 50;
const dayMs = 86_400_000;

interface Client {
  readonly wire: ControlWire;
  readonly controlKey: Uint8Array;
  readonly prefix: string;
  loggedIn: boolean;
}

/** One life of the server's process. What it has not committed when it dies never happened. */
interface Life {
  readonly coordinator: Coordinator;
  readonly clients: Map<SessionId, Client>;
  ended: boolean;
  lastCommitAt: number;
  tick: Scheduled | undefined;
}

/** The real coordinator on a real database, with messages by wires and time by the world. */
export class SimServer {
  readonly clusterKey: Uint8Array;
  readonly store: Store;
  readonly #options: ServerOptions;
  readonly #seed: Uint8Array;
  readonly #encodings = new WeakMap<ServerMessage, Uint8Array>();
  #life: Life | undefined;
  #nextSession = 1;
  /** Work that promises are still busy with. */
  #busy = false;
  #failure: unknown;

  private constructor(options: ServerOptions, store: Store) {
    this.#options = options;
    this.store = store;
    this.#seed = options.crypto.random(32);
    this.clusterKey = options.crypto.ed25519PublicKey(this.#seed);
  }

  static async open(options: ServerOptions): Promise<SimServer> {
    return new SimServer(options, await Store.open(':memory:'));
  }

  get isUp(): boolean {
    return this.#life !== undefined;
  }

  get coordinator(): Coordinator {
    if (this.#life === undefined) throw new Violation('the server is down');
    return this.#life.coordinator;
  }

  start(): void {
    const { crypto } = this.#options;
    const nodeList = this.#nodeList();
    const coordinator = new Coordinator({
      store: {
        db: this.store.db,
        commits: this.#slowCommits(() => life),
        read: (work: Parameters<Store['read']>[0]) => this.store.read(work),
      } as unknown as Store,
      crypto,
      config: {
        enrol: 'open',
        pool4: parsePool4(defaultPool4),
        graceMs: defaultGraceMs,
        software: 'buri world',
      },
      node: 'node-1',
      sign: (message) => crypto.ed25519Sign(this.#seed, message),
      nodeList: () => nodeList,
      emit: (effect) => {
        if (!life.ended) this.#effect(life, effect);
      },
      failed: (error) => {
        this.#failure ??= error;
      },
    });
    const clients = new Map<SessionId, Client>();
    const life: Life = { coordinator, clients, ended: false, lastCommitAt: 0, tick: undefined };
    this.#life = life;
    this.#run(life, coordinator.start(this.#now));
  }

  /** kill -9: connections break, work that was not committed is gone. */
  kill(): void {
    const life = this.#life;
    if (life === undefined) return;
    life.ended = true;
    life.tick?.cancel();
    this.#life = undefined;
    for (const { wire } of life.clients.values()) wire.close('server', undefined);
  }

  /** An authenticated connection. Undefined while the server is down. */
  accept(wire: ControlWire, controlKey: Uint8Array, prefix: string): WireEnd | undefined {
    const life = this.#life;
    if (life === undefined) return undefined;
    const id = this.#nextSession++;
    const client = { wire, controlKey, prefix, loggedIn: false };
    life.clients.set(id, client);
    return {
      onMessage: (bytes) => this.#receive(life, id, client, bytes),
      onClosed: (code) => {
        if (life.ended || !life.clients.delete(id)) return;
        this.#run(life, life.coordinator.lost(id, code === 1000, this.#now));
      },
    };
  }

  /** Lets the promises of what was just begun run to their end: none of them waits for time. */
  async settle(): Promise<void> {
    while (this.#busy) {
      this.#busy = false;
      // All microtasks run before this, so the order of everything is a function of the inputs.
      await new Promise((resolve) => setImmediate(resolve));
    }
    if (this.#failure !== undefined) throw this.#failure;
    if (this.#life !== undefined) this.#rearm(this.#life);
  }

  get needsSettling(): boolean {
    return this.#busy;
  }

  /** Wall clocks count whole milliseconds. */
  get #now(): Now {
    const { monotonic, wall } = this.#options.clock.now;
    return { monotonic, wall: wallMs(Math.floor(wall)) };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.kill();
    await this.store[Symbol.asyncDispose]();
  }

  #receive(life: Life, id: SessionId, client: Client, bytes: Uint8Array): void {
    if (life.ended) return;
    const message = decodeClientMessage(bytes);
    if (typeof message === 'string') throw new Violation(`the server refuses: ${message}`);
    if (message.t === 'login') {
      if (client.loggedIn) throw new Violation('a second login on one connection');
      client.loggedIn = true;
      this.#run(life, life.coordinator.login(id, client, message, this.#now));
    } else if (message.t === 'relay-login') {
      this.#run(life, life.coordinator.relayLogin(id, client, message, this.#now));
    } else this.#run(life, life.coordinator.message(id, message, this.#now));
  }

  #effect(life: Life, effect: Effect): void {
    // Nobody asks relays here whether they are where they say.
    if (effect.kind === 'check-relay' || effect.kind === 'publish') return;
    const client = life.clients.get(effect.session);
    if (client === undefined) return;
    if (effect.kind === 'close') {
      life.clients.delete(effect.session);
      client.wire.close('server', effect.code);
      // The endpoint tells of every end, also of one that the coordinator wanted.
      const { clock } = this.#options;
      clock.in(closeMs, () => {
        if (!life.ended) {
          this.#run(life, life.coordinator.lost(effect.session, true, this.#now));
        }
      });
      return;
    }
    if (effect.kind === 'pause') return; // Its members do not flood.
    let bytes = this.#encodings.get(effect.message);
    if (bytes === undefined) {
      bytes = encodeMessage(effect.message);
      this.#encodings.set(effect.message, bytes);
    }
    client.wire.send('server', bytes);
  }

  #run(life: Life, work: Promise<void>): void {
    this.#busy = true;
    work.catch((error) => {
      if (!life.ended) this.#failure ??= error;
    });
  }

  #rearm(life: Life): void {
    const { clock } = this.#options;
    const deadline = life.coordinator.deadline();
    if (life.tick !== undefined && life.tick.at === deadline) return;
    life.tick?.cancel();
    life.tick =
      deadline === undefined
        ? undefined
        : clock.at(deadline, () => {
            life.tick = undefined;
            if (!life.ended) this.#run(life, life.coordinator.tick(this.#now));
          });
  }

  /** The store's group commit, a little later and in order. */
  #slowCommits(lifeOf: () => Life): Pick<Store['commits'], 'run'> {
    const { clock, committed: told } = this.#options;
    return {
      run: <T>(work: Parameters<Store['commits']['run']>[0], committed?: (result: T) => void) => {
        const life = lifeOf();
        const at = Math.max(life.lastCommitAt, clock.monotonic + commitMs);
        life.lastCommitAt = at;
        const done = Promise.withResolvers<T>();
        clock.at(at, () => {
          if (life.ended) return;
          this.#busy = true;
          const acknowledge = (result: unknown) => {
            committed?.(result as T);
            told();
          };
          this.store.commits.run(work, acknowledge).then((result) => {
            done.resolve(result as T);
          }, done.reject);
        });
        return done.promise;
      },
    } as Pick<Store['commits'], 'run'>;
  }

  #nodeList(): Uint8Array {
    const { crypto, stun } = this.#options;
    const issuedAt = this.#now.wall;
    const node = {
      nodeId: 'node-1',
      control: ['buri://203.0.113.1:8443'],
      stun: stun.map(formatEndpoint),
      relay: [],
    };
    return signDocument(
      'node-list',
      { serial: issuedAt, issuedAt, notAfter: issuedAt + 30 * dayMs, nodes: [node] },
      (message) => crypto.ed25519Sign(this.#seed, message),
    );
  }
}
