import { randomBytes } from 'node:crypto';
import { hex } from '#core/bytes.ts';
import { isMain } from '#core/discovery/io.ts';
import { BuriError } from '#core/errors.ts';
import type { LocalLan } from '#core/lan/lan.ts';
import { type KnownWays, noKnownWays } from '#core/member/last-good.ts';
import { Member } from '#core/member/member.ts';
import { type WallMs, wallMs } from '#core/time.ts';
import { isAesAccelerated } from '#crypto/aes-support.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { Engine } from '#engine/engine.ts';
import type { ClientMessage } from '#wire/control.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { currentCertificate, extensionVersion } from './certificate.ts';
import type { SystemClock } from './clock.ts';
import type { ConnectOptions, ControlConnection } from './control-connection.ts';
import { ControlError } from './control-error.ts';
import { ControlLink, isRefusal } from './control-link.ts';
import type { Device } from './device.ts';
import { DeviceKeeper } from './device-keeper.ts';
import { GroupWatch } from './group-watch.ts';
import { MemberDriver } from './member-driver.ts';
import { isOwnAddress, localAddresses } from './netwatch.ts';
import type { Notices } from './notices.ts';
import { PortMapping } from './port-mapping.ts';
import type { ProxyChoice } from './proxy.ts';
import { RelayBridges } from './relay-bridge.ts';
import { ServerChoice } from './server-choice.ts';
import { clusterKeyText, parseServerUrl, type ServerUrl } from './server-url.ts';
import type { Sockets } from './sockets.ts';
import type { StateStore } from './state.ts';
import { isSameSelf, isServer, type Target, targetOf } from './target.ts';
import { software } from './version.ts';
import { Volunteer } from './volunteer.ts';

export interface ClientOptions {
  readonly store: StateStore;
  readonly engine: Engine;
  readonly device: Device;
  readonly sockets: Sockets;
  readonly clock: SystemClock;
  readonly notices: Notices;
  /** Port that was given by hand: it is forwarded by hand as well, perhaps. */
  readonly configuredPort: number | undefined;
  /** Through which proxy connections to server and relays go. */
  readonly proxies: ProxyChoice;
  /** Whether routers are asked to lead the port to this machine. */
  readonly wantsPortMapping: boolean;
  /** Whether ports of hard NATs may be guessed. */
  readonly hardNat: boolean;
  /** The engine has failed: only a new process helps. */
  readonly onFatal: (error: BuriError) => void;
}

export interface LoginRequest {
  readonly url?: string;
  readonly nick?: string;
  readonly token?: string;
}

export interface LoggedIn {
  readonly clientId: string;
  readonly ipv4: string;
  readonly ipv6: string;
  /** The key was taken on trust, at the first contact. */
  readonly pinnedKey: string | undefined;
}

interface PendingLogin {
  readonly resolve: (loggedIn: LoggedIn) => void;
  readonly reject: (error: BuriError) => void;
}

/** The server does not know this device: its database is another one perhaps, and nobody has decided that the device is out. */
const unknownCodes = new Set([
  'token-required',
  'token-invalid',
  'token-expired',
  'token-used-up',
  'enrolment-closed',
]);

/** A login of this device, from `login` to `logout`: the link, the member machine and the interface belong together. */
export class Client {
  readonly link: ControlLink;
  readonly device: DeviceKeeper;
  readonly groups: GroupWatch;
  /** For a relay that runs beside this daemon. */
  readonly volunteer: Volunteer;
  readonly #options: ClientOptions;
  /** New at every start: tells a copied identity from a reconnect. */
  readonly #instance = new Uint8Array(randomBytes(16));
  readonly #suites = isAesAccelerated() ? ['aes256gcm', 'chacha20poly1305'] : ['chacha20poly1305'];
  /** What this machine takes of broadcast and multicast, as it was last seen. */
  #local: LocalLan | undefined;
  #target: Target | undefined;
  #driver: MemberDriver | undefined;
  #bridges: RelayBridges | undefined;
  #pending: PendingLogin | undefined;
  #portMapping: PortMapping | undefined;
  #clockAheadMs: number | undefined;
  readonly #servers = new ServerChoice(crypto);
  /** The node that was asked last. */
  #asked: ServerUrl | undefined;

  constructor(options: ClientOptions) {
    this.#options = options;
    const { device, notices, onFatal } = options;
    this.device = new DeviceKeeper({
      ...{ device, notices, onFatal },
      wanted: () => (this.#driver === undefined ? undefined : options.store.settings.self),
    });
    this.groups = new GroupWatch({
      device: () => device.info && { name: device.name, ethernet: device.mode === 'tap' },
      onLook: (local) => {
        this.#local = local;
        this.#driver?.feed({ type: 'lan', local });
      },
    });
    this.volunteer = new Volunteer({
      send: (message) => this.link.send(message),
      clusterKey: () => options.store.settings.server?.clusterKey,
      isConnected: () => this.link.state.kind === 'connected',
    });
    this.link = new ControlLink({
      options: () => this.#connectOptions(),
      onConnected: (connection) => this.#connected(connection),
      onMessage: (message) => {
        if (message.t === 'ping') this.#clockAheadMs = Date.now() - message.serverTime;
        this.volunteer.message(message);
        this.#driver?.feed({ type: 'server', message });
      },
      onLost: (error, wasConnected) => this.#lost(error, wasConnected),
      servers: () =>
        this.#target === undefined ? 1 : this.#servers.count(...this.#known(this.#target)),
    });
  }

  get driver(): MemberDriver | undefined {
    return this.#driver;
  }

  /** Undefined while logged out, or when it is switched off. */
  get portMapping(): PortMapping | undefined {
    return this.#portMapping;
  }

  /** How far this machine's clock is ahead of the server's, as it was last heard. */
  get clockAheadMs(): number | undefined {
    return this.#clockAheadMs;
  }

  /** Relays over TCP; undefined while logged out. */
  get bridges(): RelayBridges | undefined {
    return this.#bridges;
  }

  get member(): Member | undefined {
    return this.#driver?.member;
  }

  /**
   * Logs in again, when the last run was. Tunnels from before are sought at once, server or not. A device that cannot be
   * made at all is an error: device-busy, device-forbidden, device-missing.
   */
  async resume(): Promise<void> {
    const { loggedIn, server, self } = this.#options.store.settings;
    if (!loggedIn || server === undefined) return;
    const url = parseServerUrl(server.url);
    this.#target = { url, pin: server.clusterKey, token: undefined };
    if (self !== undefined) {
      await this.#makeMember(server.clusterKey);
      await this.device.up().catch((error: BuriError) => {
        if (error.code.startsWith('device-')) throw error;
      });
    }
    this.link.start();
  }

  /**
   * Logs in and stays so. BuriError: no-server-url, bad-server-url, login-in-progress, login-cancelled, what `connect`
   * throws, what the device throws.
   */
  async login(request: LoginRequest): Promise<LoggedIn> {
    const { store } = this.#options;
    if (this.#pending !== undefined) {
      throw new BuriError('login-in-progress', 'another login is under way; wait for it');
    }
    const target = targetOf(request, store.settings);
    const isSameServer = isServer(store.settings, target);
    const isSameUrl = store.settings.server?.url === target.url.text;
    if (request.nick !== undefined) store.update({ nick: request.nick });
    if (this.link.state.kind === 'connected' && isSameServer && isSameUrl) {
      return await this.#already(request);
    }
    const pending = Promise.withResolvers<LoggedIn>();
    // It may be given up before anybody waits for it.
    pending.promise.catch(() => {});
    this.#pending = pending;
    try {
      await this.link.stop();
      if (!isSameServer) this.#dropMember();
      this.#target = target;
      this.#servers.reset();
      this.link.start();
      const loggedIn = await pending.promise;
      await this.device.up();
      await store.flush();
      return loggedIn;
    } catch (error) {
      await this.#loginFailed(error as BuriError, isSameServer);
      throw error;
    } finally {
      this.#pending = undefined;
    }
  }

  /** Goodbye to the server, tunnels down, interface gone; offline until the next login. */
  async logout(): Promise<void> {
    const { store } = this.#options;
    store.update({ loggedIn: false });
    await this.#end();
    await store.flush();
  }

  /** The end of the daemon: as a logout, but the next start logs in again. */
  async stop(): Promise<void> {
    this.groups[Symbol.dispose]();
    await this.#end();
  }

  /** A connection of many months ends once, so that the certificate is renewed long before it expires. */
  renewCertificate(): void {
    const { store } = this.#options;
    const { certificate: held, serverTimeMs } = store.settings;
    if (this.link.state.kind !== 'connected') return;
    const time = wallMs(Math.max(Date.now(), serverTimeMs));
    const current = currentCertificate(crypto, store.keys, this.#suites, held, time);
    if (current !== held) this.link.reconnect();
  }

  networkChanged(): void {
    this.#feedAddresses(true);
    void this.#portMapping?.look(true);
    const { state } = this.link;
    const isBound = state.kind !== 'connected' || isOwnAddress(state.connection.localAddress);
    // What waits may have waited for this very change.
    if (state.kind === 'waiting' || !isBound) this.link.renew();
    else this.link.check();
  }

  /** Keeps a network's end-to-end secret; it is on disk when this returns. */
  async keepSecret(network: string, secret: Uint8Array): Promise<void> {
    const { store } = this.#options;
    store.update({ secrets: { ...store.settings.secrets, [network]: secret } });
    this.#driver?.feed({ type: 'secret', network, secret });
    await store.flush();
  }

  async #already({ nick }: LoginRequest): Promise<LoggedIn> {
    const { self } = this.#options.store.settings;
    if (self === undefined) throw new BuriError('login-in-progress', 'a login is under way');
    if (nick !== undefined) await this.link.request({ op: 'set-nick', nick });
    await this.device.up();
    return { ...self, pinnedKey: undefined };
  }

  /** A first login that fails leaves nothing behind; a later one is tried again when only the way was the trouble, or the device is not known. */
  async #loginFailed(error: BuriError, isSameServer: boolean): Promise<void> {
    const { store } = this.#options;
    const { loggedIn, self, server } = store.settings;
    const mayPass =
      error instanceof ControlError && (!isRefusal(error) || unknownCodes.has(error.code));
    const goesOn = isSameServer && loggedIn && self !== undefined && mayPass;
    if (goesOn && server !== undefined) {
      // Where it was before: the URL of this attempt may be another one.
      this.#target = { url: parseServerUrl(server.url), pin: server.clusterKey, token: undefined };
      return;
    }
    await this.link.stop();
    if (loggedIn) await this.logout();
    this.#dropMember();
  }

  #connectOptions(): Omit<ConnectOptions, 'signal'> {
    const { store } = this.#options;
    const target = this.#target;
    if (target === undefined) throw new BuriError('no-server-url', 'no server is known');
    // Whoever logs in just now is told of the server that was named.
    const url =
      this.#pending === undefined ? this.#servers.pick(...this.#known(target)) : target.url;
    this.#asked = url;
    return {
      url,
      proxies: this.#options.proxies,
      crypto,
      pin: target.pin,
      controlKey: store.keys.control,
      time: this.#timeFor(target),
      login: () => this.#loginMessage(target),
    };
  }

  /** Where else the server may be: its cluster's list is only of use to who knows the cluster. */
  #known(target: Target): Parameters<ServerChoice['pick']> {
    const { settings } = this.#options.store;
    const { clusterKey } = settings.server ?? {};
    const isKnown = isServer(settings, target);
    return [target.url, isKnown ? settings.self?.nodeList : undefined, clusterKey];
  }

  /** What one server says of the time is nothing to another. */
  #timeFor(target: Target): WallMs {
    const { settings } = this.#options.store;
    return wallMs(Math.max(Date.now(), isServer(settings, target) ? settings.serverTimeMs : 0));
  }

  #loginMessage(target: Target): Extract<ClientMessage, { t: 'login' }> {
    const { token } = target;
    const { store } = this.#options;
    const { settings, keys } = store;
    const time = this.#timeFor(target);
    const certificate = currentCertificate(crypto, keys, this.#suites, settings.certificate, time);
    if (certificate !== settings.certificate) store.update({ certificate });
    return {
      t: 'login',
      certificate,
      instance: this.#instance,
      nick: settings.nick,
      ...(token === undefined ? {} : { token }),
      software,
      known: this.member?.known() ?? [],
    };
  }

  #connected(connection: ControlConnection): void {
    const { store, notices } = this.#options;
    const { welcome, clusterKey, serverAddress } = connection;
    const target = this.#target;
    this.#clockAheadMs = Date.now() - welcome.serverTime;
    if (target === undefined) return;
    const pinned = target.pin === undefined ? clusterKeyText(clusterKey) : undefined;
    if (!isServer(store.settings, { ...target, pin: clusterKey })) {
      store.forgetServer();
      this.#dropMember();
    }
    // The token has done its work.
    this.#target = { url: target.url, pin: clusterKey, token: undefined };
    const { clientId, ipv4, ipv6, pool4, pool6, nodeList } = welcome;
    const before = store.settings.self;
    const self = { clientId, ipv4, ipv6, pool4, pool6, nodeList };
    store.update({ loggedIn: true, server: { url: target.url.text, clusterKey }, self });
    if (pinned !== undefined) {
      notices.add({
        code: 'key-pinned',
        message:
          `the URL carried no key, so the server's key ${pinned} was taken on trust; compare it ` +
          "with what 'buri server url' prints on the server",
      });
    }
    if (this.#driver === undefined || !isSameSelf(before, self)) {
      this.#dropMember();
      this.#makeMemberNow(clusterKey, [], noKnownWays);
    }
    this.#servers.connected();
    const serverName = new URL((this.#asked ?? target.url).webSocketUrl).hostname.replace(
      /^\[|\]$/g,
      '',
    );
    this.#driver?.feed({ type: 'connected', welcome, serverAddress, serverName });
    this.volunteer.connected(welcome.serverTime);
    notices.clear('login-refused');
    if (this.#pending !== undefined) {
      this.#pending.resolve({ clientId, ipv4, ipv6, pinnedKey: pinned });
    } else void this.device.up().catch(() => {});
  }

  #lost(error: ControlError, wasConnected: boolean): void {
    this.#servers.failed();
    if (wasConnected) {
      this.#driver?.feed({ type: 'disconnected' });
      this.volunteer.lost();
    }
    const pending = this.#pending;
    if (pending !== undefined) {
      pending.reject(error);
      return;
    }
    if (!isRefusal(error)) return;
    this.#options.notices.add({ code: 'login-refused', message: error.message });
    // The operator's decision. Whatever else is refused, tunnels go on, and the server is asked again.
    if (error.code === 'client-removed') void this.logout();
  }

  async #makeMember(clusterKey: Uint8Array): Promise<void> {
    const { store } = this.#options;
    this.#makeMemberNow(clusterKey, await store.loadNetworks(), await store.loadWays());
  }

  #makeMemberNow(
    clusterKey: Uint8Array,
    networks: ConstructorParameters<typeof Member>[0]['networks'],
    ways: KnownWays,
  ): void {
    const { store, engine, clock, notices, sockets, configuredPort } = this.#options;
    const { settings, keys } = store;
    if (settings.self === undefined) return;
    const privateKey = keys.tunnel.bytes();
    const publicKey = crypto.x25519PublicKey(privateKey);
    engine.setLocalPublicKey(publicKey);
    const member = new Member({
      crypto,
      clusterKey,
      tunnelKey: { privateKey, publicKey },
      identity: hex(settings.identity),
      suites: this.#suites,
      extensionVersion,
      clientId: settings.self.clientId,
      pools: [settings.self.pool4, settings.self.pool6],
      networks,
      ways,
      secrets: new Map(Object.entries(settings.secrets)),
      serverTimeMs: settings.serverTimeMs,
      ...(settings.timestamp === undefined ? {} : { lastTimestamp: settings.timestamp }),
      ...(configuredPort === undefined ? {} : { configuredPort }),
    });
    const bridges = new RelayBridges({
      enginePort: sockets.port,
      proxies: this.#options.proxies,
      onBridge: (relay, endpoint) => {
        if (this.#bridges === bridges) this.#driver?.feed({ type: 'bridge', relay, endpoint });
      },
    });
    this.#bridges = bridges;
    this.#driver = new MemberDriver(member, {
      ...{ engine, clock, store, notices },
      send: (message) => this.link.send(message),
      checkServer: (slept) => {
        if (slept) this.link.renew();
        else this.link.check();
        this.#portMapping?.recheck();
      },
      onRemoved: (network, reason) => notices.add(removedNotice(network, reason)),
      bridge: (wish) => {
        if (wish.type === 'bridge-wanted') bridges.want(wish.relay, wish.urls);
        else bridges.unwant(wish.relay);
      },
    });
    this.#driver.feed({ type: 'hard-nat', enabled: this.#options.hardNat });
    this.#driver.feed({ type: 'sockets', sockets: sockets.list });
    this.#feedAddresses(false);
    this.#mapPorts(privateKey);
    if (this.#local !== undefined) this.#driver.feed({ type: 'lan', local: this.#local });
  }

  #feedAddresses(changed: boolean): void {
    const addresses = localAddresses(this.#options.device.name);
    this.#driver?.feed({ type: 'local-addresses', addresses, changed });
    if (changed) this.#bridges?.networkChanged();
  }

  /** From the first member machine to the logout; a later one is told what is mapped already. */
  #mapPorts(secret: Uint8Array): void {
    const { clock, device, sockets, wantsPortMapping } = this.#options;
    if (!wantsPortMapping) return;
    const onMapped = (endpoints: readonly Endpoint[]) =>
      this.#driver?.feed({ type: 'mapped', endpoints });
    if (this.#portMapping !== undefined) {
      onMapped(this.#portMapping.mapped);
      return;
    }
    const mains = sockets.list.filter(isMain);
    const ports = new Map(mains.map(({ family, localPort }) => [family, localPort] as const));
    this.#portMapping = new PortMapping({ clock, device: device.name, ports, secret, onMapped });
    void this.#portMapping.look(false);
  }

  #dropMember(): void {
    this.#driver?.close();
    this.#driver = undefined;
    void this.#bridges?.[Symbol.asyncDispose]();
    this.#bridges = undefined;
  }

  async #end(): Promise<void> {
    this.#pending?.reject(
      new BuriError('login-cancelled', 'the login was given up: somebody logged out meanwhile'),
    );
    const portMapping = this.#portMapping;
    this.#portMapping = undefined;
    await Promise.all([this.link.stop(), portMapping?.stop()]);
    this.#driver?.saveWays();
    this.#dropMember();
    await this.device.down();
  }
}

function removedNotice(network: string, reason: string) {
  const texts: Record<string, string> = {
    deleted: 'was deleted by its owner',
    evicted: 'has evicted this computer',
    rejected: 'has rejected the request to join',
    left: 'was left',
    gone: 'does not list this computer any more',
  };
  return {
    code: `network-${reason}`,
    message: `the network ${network} ${texts[reason] ?? reason}`,
  };
}
