/** The server as a whole: listeners, sessions, timers, and a clean end. */
import type { Crypto } from '#core/crypto.ts';
import { BuriError } from '#core/errors.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { ServerMessage } from '#wire/control.ts';
import { formatEndpoint } from '#wire/endpoint.ts';
import { relayPath } from '#wire/relay.ts';
import { relayCapability } from '#wire/relay-control.ts';
import { AdminSocket } from './admin/socket.ts';
import { documentRenewalMs } from './cluster.ts';
import { ClusterNode } from './cluster-node.ts';
import { ControlSession, type SessionFault } from './control/control-session.ts';
import { ControlEndpoint, type Newcomer, type TlsFiles } from './control/endpoint.ts';
import type { EnrolMode } from './coordinator/context.ts';
import type { Effect } from './coordinator/coordinator.ts';
import type { TicketLimits } from './coordinator/relays/tickets.ts';
import type { SessionId } from './coordinator/sessions.ts';
import { parseNatsUrl } from './fabric/nats-url.ts';
import { type ListenAddress, parseListenAddress } from './listen-address.ts';
import type { Log } from './log.ts';
import { Readiness } from './operations/endpoint.ts';
import type { Metrics } from './operations/metrics.ts';
import { type PublicHost, publicHost, resolvePublic } from './public-address.ts';
import { namedRelay } from './relays/named-relay.ts';
import { RelayChecker } from './relays/relay-checker.ts';
import type { RelayHost } from './relays/relay-host.ts';
import { now, openState, type ServerState } from './state.ts';
import { storeFailures } from './store/failure-log.ts';
import { isPostgresUrl } from './store/postgres-url.ts';
import { writeSetting } from './store/settings.ts';
import { StunServer } from './stun.ts';
import { version } from './version.ts';

export interface ServerOptions {
  readonly data: string;
  /** A database that is not there yet is waited for until then. */
  readonly ending?: AbortSignal;
  readonly listen: readonly string[];
  /** None: no STUN. */
  readonly stun: readonly string[];
  readonly public?: string | undefined;
  readonly store?: string | undefined;
  /** NATS, when there are several nodes. */
  readonly fabric?: string | undefined;
  readonly clusterKeyFile?: string | undefined;
  readonly readiness?: Readiness;
  readonly metrics?: Metrics;
  readonly enrol: EnrolMode;
  readonly pool4: string;
  readonly graceMs: number;
  /** What each client may use of a relay. */
  readonly relayLimits?: TicketLimits | undefined;
  readonly tls?: TlsFiles | undefined;
  readonly log: Log;
}

/** A public name may move to another address. */
const resolveIntervalMs = 10 * 60_000;
/** How long connections have to go at the end. */
const closeMs = 3_000;
const closeServiceRestart = 1012;
/** A node that ends sends its clients to others within this, some each turn. */
const drainMs = 5_000;
const drainTurnMs = 100;
const drainLeast = 20;
/** How long the last of them have to leave by themselves. */
const leaveMs = 3_000;
const maxTimerMs = 2 ** 31 - 1;

export class Server implements AsyncDisposable {
  readonly #log: Log;
  readonly #crypto: Crypto = nodeCrypto;
  readonly #state: ServerState;
  readonly #endpoint: ControlEndpoint;
  readonly #stun = new StunServer();
  readonly #checker: RelayChecker;
  readonly #node: ClusterNode;
  readonly #readiness: Readiness;
  readonly #metrics: Metrics | undefined;
  readonly #isTls: boolean;
  readonly #sessions: Map<SessionId, ControlSession>;
  readonly #faults = new Map<SessionFault, number>();
  #admin: AdminSocket | undefined;
  #nextSession = 1;
  #tickTimer: NodeJS.Timeout | undefined;
  #tickAt = Number.POSITIVE_INFINITY;
  #chores: NodeJS.Timeout[] = [];
  #controlUrls: string[] = [];
  #relayUrls: string[] = [];
  #url = '';
  #closing: Promise<void> | undefined;
  #ended = false;

  private constructor(
    options: ServerOptions,
    state: ServerState,
    sessions: Map<SessionId, ControlSession>,
    checker: RelayChecker,
    node: ClusterNode,
  ) {
    this.#log = options.log;
    this.#state = state;
    this.#node = node;
    this.#readiness = options.readiness ?? new Readiness();
    this.#metrics = options.metrics;
    this.#sessions = sessions;
    this.#checker = checker;
    this.#isTls = options.tls !== undefined;
    this.#endpoint = new ControlEndpoint(options.tls, (newcomer) => this.#welcome(newcomer));
  }

  /** Starts serving. Throws a BuriError that says what is in the way; then nothing is left behind. */
  static async start(options: ServerOptions): Promise<Server> {
    const listen = options.listen.map((text) => parseListenAddress(text, '--listen'));
    const stun = options.stun.map((text) => parseListenAddress(text, '--stun'));
    const host = publicHost(
      options.public,
      listen.map((address) => address.host),
    );
    const sessions = new Map<SessionId, ControlSession>();
    const checker = new RelayChecker({
      ...{ crypto: nodeCrypto, now },
      done: ({ relay, generation }, unreachable) =>
        state.coordinator.relayChecked(relay, generation, unreachable, now()),
    });
    const readiness = options.readiness ?? new Readiness();
    const fabric = options.fabric === undefined ? undefined : parseNatsUrl(options.fabric);
    if (fabric !== undefined && !isPostgresUrl(options.store ?? ''))
      throw new BuriError(
        'fabric-needs-postgres',
        '--fabric joins nodes that share a PostgreSQL; give --store postgres://… as well',
      );
    let publish = () => {};
    let isCrowded = () => false;
    const { log } = options;
    const node = new ClusterNode({
      ...{ crypto: nodeCrypto, fabric, log, readiness },
      onNodes: () => publish(),
    });
    readiness.set('database', 'not opened yet');
    const state = await openState(nodeCrypto, {
      ...options,
      federation: node.federation,
      emit: (effect) => {
        if (effect.kind === 'send') countLogin(options.metrics, effect.message.t);
        apply(sessions, checker, node, effect);
      },
      isCrowded: () => isCrowded(),
      failed: storeFailures(options.log),
      waiting: {
        signal: options.ending ?? new AbortController().signal,
        waiting: (error) => {
          readiness.set('database', error.message);
          options.log.warn({ reason: error.message }, 'waiting for the database');
        },
      },
    });
    readiness.set('database', undefined);
    const server = new Server({ ...options, readiness }, state, sessions, checker, node);
    publish = () => server.#nodesChanged();
    isCrowded = () => server.#endpoint.isCrowded;
    try {
      await server.#open(options, listen, stun, host);
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** What clients log in to. */
  get url(): string {
    return this.#url;
  }

  /** Ends: no newcomers, clients are told to come back, what was acknowledged is on the disk. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** For a relay in this process. */
  get relayHost(): RelayHost {
    const { cluster, coordinator, directory } = this.#state;
    const privateKey = directory.key('relay.key', this.#crypto).bytes();
    const keyPair = { privateKey, publicKey: this.#crypto.x25519PublicKey(privateKey) };
    const id = cluster.nodeId;
    return {
      ...{ id, keyPair, clusterKey: cluster.publicKey, webSocketUrls: this.#relayUrls },
      onUpgrade: (handler) => {
        this.#endpoint.onRelayUpgrade = handler;
      },
      register: ({ offer, ...rest }) => {
        const whole = { ...offer, relayKey: keyPair.publicKey };
        const withdraw = coordinator.registerRelay({ id, ...rest, offer: whole }, now());
        this.#node.setRelay(namedRelay(whole, this.#addresses, this.#host));
        this.#rearm();
        return () => {
          this.#node.setRelay(undefined);
          withdraw();
        };
      },
    };
  }

  reloadTls(): void {
    this.#endpoint.reloadTls();
  }

  async #open(
    options: ServerOptions,
    listen: readonly ListenAddress[],
    stun: readonly ListenAddress[],
    host: PublicHost,
  ): Promise<void> {
    const { cluster, coordinator, directory, store } = this.#state;
    this.#readiness.set('listeners', 'not open yet');
    const { tokens } = this.#state;
    this.#stun.setToken((address) => tokens.issue(address, now().wall));
    await this.#stun.listen(stun);
    const scheme = options.tls === undefined ? 'buri' : 'buris';
    const ports: number[] = [];
    for (const address of listen) ports.push(await this.#endpoint.listen(address));
    this.#controlUrls = ports.map((port) => `${scheme}://${host.host}:${port}`);
    const relayHost = host.guessed ? '0.0.0.0' : host.host;
    this.#relayUrls = ports.map(
      (port) => `${this.#isTls ? 'wss' : 'ws'}://${relayHost}:${port}${relayPath}`,
    );
    this.#url = `${this.#controlUrls[0]}#${cluster.keyText}`;
    this.#host = host.host;
    await this.#publish(host);
    await coordinator.start(now());
    this.#node.open(cluster, coordinator);
    await writeSetting(store.db, 'url', this.#url);
    this.#admin = await AdminSocket.open(directory.adminSocketPath, this.#state, {
      url: this.#url,
      status: () => this.#status(),
    });
    this.#chores = [
      setInterval(() => this.#chore(() => this.#publish(host)), resolveIntervalMs),
      setInterval(() => this.#chore(() => this.#publish(host, true)), documentRenewalMs),
    ];
    this.#attachMetrics();
    this.#endpoint.open();
    this.#readiness.set('listeners', undefined);
    this.#rearm();
    if (host.guessed)
      options.log.warn(
        { public: host.host },
        'the public address is a guess; set --public to what clients reach this machine by',
      );
    options.log.info(
      { version, url: this.#url, stun: this.#stun.ports, enrol: options.enrol },
      'ready',
    );
  }

  /** For an operator: what is going on, and what was dropped or refused since the start. */
  #status(): object {
    const { answered, ignored, limited } = this.#stun.counters;
    return {
      running: true,
      version,
      pid: process.pid,
      url: this.#url,
      uptimeSeconds: Math.round(process.uptime()),
      memoryBytes: process.memoryUsage.rss(),
      clientsOnline: this.#state.coordinator.onlineClients,
      connections: this.#sessions.size,
      faults: Object.fromEntries(this.#faults),
      ...(this.#state.coordinator.federation === undefined
        ? {}
        : { cluster: this.#clusterStatus() }),
      stun: { answered, ignored, limited },
    };
  }

  #clusterStatus(): object {
    const { cluster, coordinator } = this.#state;
    const federation = coordinator.federation;
    return {
      node: cluster.nodeId,
      fabric: federation?.isUp === true ? 'connected' : 'not connected',
      nodes: [...(federation?.peers ?? [])].map(({ id, state, hearing, isDoubted }) => ({
        ...{ id, state, hearing, doubted: isDoubted },
      })),
      parcels: { ...this.#node.counters, ...Object.fromEntries(federation?.drops ?? []) },
    };
  }

  #attachMetrics(): void {
    const { coordinator, store } = this.#state;
    const { federation } = coordinator;
    this.#metrics?.attach({
      connections: () => this.#sessions.size,
      clientsOnline: () => coordinator.onlineClients,
      commitsWaiting: () => store.commits.length,
      faults: () => this.#faults,
      stun: () => ({ ...this.#stun.counters }),
      fabric: () => ({ ...this.#node.counters, ...Object.fromEntries(federation?.drops ?? []) }),
      nodes: () => this.#node.others.length,
      ready: () => this.#readiness.isReady,
    });
  }

  #host = '';
  #addresses: readonly string[] = [];
  #published = '';
  #publishing: (() => Promise<void>) | undefined;

  /** Other nodes have come or gone: whoever logs in from now on is told. */
  #nodesChanged(): void {
    if (this.#publishing !== undefined) this.#chore(this.#publishing);
  }

  /** Signs the documents anew when the addresses have changed, or when it is time. */
  async #publish(host: PublicHost, due = false): Promise<void> {
    const addresses = await resolvePublic(host);
    if (addresses.length === 0)
      this.#log.warn({ public: host.host }, 'the public name does not resolve; no STUN is offered');
    this.#stun.setPublicAddresses(addresses);
    this.#addresses = addresses;
    this.#publishing = () => this.#publish(host);
    const stun = this.#stun.publicEndpoints.slice(0, 8);
    const control = this.#controlUrls.slice(0, 8);
    this.#node.setAddresses({ control, stun: stun.map(formatEndpoint) });
    const { others } = this.#node;
    const facts = JSON.stringify([control, stun, others]);
    if (facts === this.#published && !due) return;
    await this.#state.cluster.renew({ control, stun }, now().wall, others);
    this.#published = facts;
  }

  #chore(work: () => Promise<void>): void {
    work().catch((error) => this.#log.error({ err: error }, 'a chore failed'));
  }

  #welcome({ socket, stream, address, prefixes, settled }: Newcomer): void {
    const { cluster, coordinator } = this.#state;
    const id = this.#nextSession++;
    const session = new ControlSession(
      socket,
      {
        stream,
        crypto: this.#crypto,
        nodeKeyPair: cluster.nodeKeyPair,
        clusterKey: cluster.publicKey,
        certificate: cluster.certificate,
      },
      {
        onLogin: (controlKey, message, capabilities) => {
          const relays = capabilities.includes(relayCapability);
          const remote = { controlKey, prefix: prefixes.narrow, address, relays };
          this.#run(
            message.t === 'login'
              ? coordinator.login(id, remote, message, now())
              : coordinator.relayLogin(id, remote, message, now()),
          );
        },
        onMessage: (message) => this.#run(coordinator.message(id, message, now())),
        onClosed: (clean) => {
          this.#sessions.delete(id);
          // At the end of the server its clients are not gone: they come back to its successor.
          if (this.#closing === undefined) this.#run(coordinator.lost(id, clean, now()));
        },
        onSettled: settled,
        onFault: (fault) => this.#faults.set(fault, (this.#faults.get(fault) ?? 0) + 1),
      },
    );
    this.#sessions.set(id, session);
  }

  #run(work: Promise<void>): void {
    this.#rearm();
    const began = performance.now();
    const worked = (outcome: 'done' | 'failed') =>
      this.#metrics?.worked((performance.now() - began) / 1000, outcome);
    work.then(
      () => {
        worked('done');
        this.#rearm();
      },
      (error) => {
        worked('failed');
        this.#log.error({ err: error }, 'a message could not be handled');
      },
    );
  }

  /** One timer, for whatever the coordinator has to do next. */
  #rearm(): void {
    if (this.#ended) return;
    const deadline = this.#state.coordinator.deadline() ?? Number.POSITIVE_INFINITY;
    if (deadline === this.#tickAt) return;
    clearTimeout(this.#tickTimer);
    this.#tickAt = deadline;
    if (deadline === Number.POSITIVE_INFINITY) return;
    const delayMs = Math.min(maxTimerMs, Math.max(0, Math.ceil(deadline - performance.now())));
    this.#tickTimer = setTimeout(() => {
      this.#tickAt = Number.POSITIVE_INFINITY;
      this.#run(this.#state.coordinator.tick(now()));
    }, delayMs);
  }

  async #close(): Promise<void> {
    // `#closing` is set once this has returned its promise: what follows must see it.
    await Promise.resolve();
    this.#readiness.set('ending', 'the server ends');
    const { coordinator, store } = this.#state;
    const { federation } = coordinator;
    await federation?.leave('draining', now());
    const listenersClosed = this.#endpoint.close();
    await this.#admin?.close();
    await store.commits.idle();
    await this.#sendAway(federation !== undefined && this.#node.others.length > 0);
    this.#ended = true;
    clearTimeout(this.#tickTimer);
    for (const chore of this.#chores) clearInterval(chore);
    await Promise.race([listenersClosed, wait(closeMs)]);
    await store.commits.idle();
    await federation?.leave('ended', now());
    await this.#node[Symbol.asyncDispose]();
    await this.#stun.close();
    await this.#checker[Symbol.asyncDispose]();
    await this.#state[Symbol.asyncDispose]();
  }

  /** Clients are told to come back, or to go on to the other nodes: a few at a time, so that these are not stormed. */
  async #sendAway(elsewhere: boolean): Promise<void> {
    if (elsewhere) await this.#moveAway();
    for (const session of this.#sessions.values()) session.close(closeServiceRestart);
    if (elsewhere) await this.#allGone(closeMs);
  }

  /** Each leaves by itself, once what it has asked is answered. Who is in the middle of a login is told when that is over. */
  async #moveAway(): Promise<void> {
    const count = this.#sessions.size;
    const perTurn = Math.max(drainLeast, Math.ceil((count * drainTurnMs) / drainMs));
    const until = performance.now() + Math.ceil(count / perTurn) * drainTurnMs + leaveMs;
    const told = new Set<ControlSession>();
    while (this.#sessions.size > 0 && performance.now() < until) {
      const next = [...this.#sessions.values()]
        .filter((session) => session.isServing && !told.has(session))
        .slice(0, perTurn);
      for (const session of next) {
        told.add(session);
        session.send({ t: 'moving' });
      }
      await wait(next.length > 0 ? drainTurnMs : 50);
    }
  }

  async #allGone(withinMs: number): Promise<void> {
    const until = performance.now() + withinMs;
    while (this.#sessions.size > 0 && performance.now() < until) await wait(50);
  }
}

function apply(
  sessions: ReadonlyMap<SessionId, ControlSession>,
  checker: RelayChecker,
  node: ClusterNode,
  effect: Effect,
): void {
  if (effect.kind === 'check-relay') {
    checker.check(effect.check);
    return;
  }
  if (effect.kind === 'publish') {
    node.tell(effect.to, effect.item);
    return;
  }
  const session = sessions.get(effect.session);
  if (effect.kind === 'send') session?.send(effect.message);
  else if (effect.kind === 'pause') session?.pause(effect.ms);
  else session?.close(effect.code);
}

const wait = (ms: number) =>
  new Promise<void>((resolve) => {
    setTimeout(resolve, ms).unref();
  });

function countLogin(metrics: Metrics | undefined, type: ServerMessage['t']): void {
  if (type === 'welcome') metrics?.login('granted');
  else if (type === 'refused') metrics?.login('refused');
}
