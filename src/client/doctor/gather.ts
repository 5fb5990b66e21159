import { lookup } from 'node:dns/promises';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { runBounded } from '../bounded-command.ts';
import { ip } from '../ip-command.ts';
import { parsePrefix } from '../prefix.ts';
import { describe, localRoutes, overlapping } from '../routes.ts';
import type { StatusSource } from '../status.ts';
import { Views } from '../views.ts';
import { targetOf } from '../web-socket-target.ts';
import type { DoctorFacts, PeerFacts, RelayFacts } from './facts.ts';
import { type FirewallVerdict, type InboundPacket, judgeInbound } from './firewall.ts';
import { probeInbound } from './inbound-probe.ts';

const rulesetBounds = { timeoutMs: 5000, maxOutputBytes: 16 * 1024 * 1024 };
const lookupTimeoutMs = 5000;
/** Peers that are probed, all at once. */
const maxProbedPeers = 32;
/** An address of nobody (RFC 5737): where the default route leads. */
const somewhere = '192.0.2.1';

/** Looks at everything that could be wrong on this machine; changes nothing, needs no right that the daemon has not. */
export async function gatherFacts(source: StatusSource): Promise<DoctorFacts> {
  const { client, store, device, sockets, notices } = source;
  const { self, server, loggedIn } = store.settings;
  const { state } = client.link;
  const error = state.kind === 'waiting' || state.kind === 'connecting' ? state.error : undefined;
  const name = device.info?.name ?? device.name;
  const [resolves, poolRoute, overlap, uplink, peers] = await Promise.all([
    resolvesOf(source),
    device.info && self && routeTo(neighbourOf(self.ipv4)),
    self && overlapOf([self.pool4, self.pool6], device.name),
    uplinkOf(),
    peersOf(source),
  ]);
  const firewall = await firewallOf({ name, self, port: sockets.port, uplink: uplink?.dev, peers });
  const discovered = client.member?.discovered;
  const trouble = notices.list().filter(({ code }) => code === 'device' || code === 'device-lost');
  return {
    loggedIn,
    server: {
      url: server?.url,
      connected: state.kind === 'connected',
      ...(error === undefined ? {} : { error: { code: error.code, message: error.message } }),
      proxy: source.proxies.text,
      resolves,
    },
    clockAheadMs: client.clockAheadMs,
    device: {
      ...{ name, wanted: loggedIn && self !== undefined, exists: device.info !== undefined },
      ipv4: self?.ipv4,
      addresses: (networkInterfaces()[name] ?? []).map(({ address }) => address),
      trouble: trouble.map(({ message }) => message),
    },
    ...{ poolRoute, overlap, firewall, port: sockets.port, peers },
    nat: {
      mapping: discovered?.nat.mapping ?? 'unknown',
      filtering: discovered?.nat.filtering ?? 'unknown',
      publicEndpoints: discovered?.publicEndpoints.length ?? 0,
      asked: client.member?.isSynchronised === true,
    },
    uplinkMtuBytes: uplink?.mtuBytes,
    relays: relaysOf(source),
  };
}

/** Those that this client holds an allocation on; when it holds none, what became of the attempts. */
function relaysOf({ client }: StatusSource): RelayFacts[] {
  const relays = client.member?.relays;
  if (relays === undefined || relays.listed === 0) return [];
  const ways = relays.ways.map(({ label, transport }) => ({ relay: label, transport }));
  if (ways.length > 0) return ways;
  const failed = (client.bridges?.states() ?? []).flatMap(({ relay, error }) =>
    error === undefined
      ? []
      : [{ relay, transport: undefined, error: `${relay}: ${error.message}` }],
  );
  const silent = { relay: '', transport: undefined, error: 'neither by UDP nor by TCP' };
  return failed.length > 0 ? failed : [silent];
}

/** A name that a proxy looks up, or an address, is nothing to look up here. */
async function resolvesOf({ store, proxies }: StatusSource): Promise<boolean | undefined> {
  const url = store.settings.server?.url;
  if (url === undefined) return undefined;
  const target = targetOf(url.replace(/^buris?:/, 'wss:'));
  if (isIP(target.host) !== 0 || proxies.proxyFor(target) !== undefined) return undefined;
  const late = new Promise<false>((resolve) => {
    setTimeout(() => resolve(false), lookupTimeoutMs).unref();
  });
  const found = lookup(target.host).then(
    () => true,
    () => false,
  );
  return await Promise.race([found, late]);
}

interface FoundRoute {
  readonly dev: string | undefined;
  readonly text: string;
}

async function routeTo(address: string): Promise<FoundRoute | undefined> {
  try {
    const [route] = JSON.parse(await ip(['-json', 'route', 'get', address]));
    const { dev, gateway } = route;
    return {
      dev: typeof dev === 'string' ? dev : undefined,
      text: describe({ dst: address, dev, gateway }),
    };
  } catch {
    return undefined;
  }
}

async function uplinkOf(): Promise<{ dev: string; mtuBytes: number | undefined } | undefined> {
  const dev = (await routeTo(somewhere))?.dev;
  if (dev === undefined) return undefined;
  try {
    const [link] = JSON.parse(await ip(['-json', 'link', 'show', 'dev', dev]));
    return { dev, mtuBytes: typeof link.mtu === 'number' ? link.mtu : undefined };
  } catch {
    return { dev, mtuBytes: undefined };
  }
}

async function overlapOf(pools: readonly string[], device: string) {
  const routes = await localRoutes().catch(() => []);
  for (const pool of pools) {
    const prefix = parsePrefix(pool);
    const route = prefix && overlapping(prefix, routes, device);
    if (route !== undefined) return { pool, route: describe(route) };
  }
  return undefined;
}

interface FirewallQuestion {
  readonly name: string;
  readonly self: { readonly ipv4: string } | undefined;
  readonly port: number;
  readonly uplink: string | undefined;
  readonly peers: readonly PeerFacts[];
}

async function firewallOf(question: FirewallQuestion): Promise<DoctorFacts['firewall']> {
  const nothing = { ping: undefined, tcp: undefined, udp: undefined };
  const { name, self, port, uplink } = question;
  const listed = await runBounded('nft', ['-j', 'list', 'ruleset'], rulesetBounds);
  const legacy = await readFile('/proc/net/ip_tables_names', 'utf8').catch(() => '');
  const hasLegacy = legacy.split('\n').includes('filter');
  if (!listed.ok) return { ...nothing, unread: listed.why };
  let ruleset: unknown;
  try {
    ruleset = JSON.parse(listed.output);
  } catch {
    return { ...nothing, unread: 'nft printed no JSON' };
  }
  const destination = self?.ipv4 ?? '100.64.0.1';
  const common = { family: 4, source: neighbourOf(destination), destination } as const;
  // An ordinary high port: services have rules of their own.
  const inside: InboundPacket[] = [
    { ...common, iifname: name, protocol: 'icmp' },
    { ...common, iifname: name, protocol: 'tcp', port: 50_000 },
  ];
  const ask = (packet: InboundPacket): FirewallVerdict => {
    const verdict = judgeInbound(ruleset, packet);
    return verdict.verdict === 'accepts' && hasLegacy
      ? { verdict: 'unknown', by: 'iptables-legacy' }
      : verdict;
  };
  const [ping, tcp] = inside.map(ask);
  const udp =
    uplink === undefined
      ? undefined
      : ask({ ...common, source: somewhere, iifname: uplink, protocol: 'udp', port });
  return { ping, tcp, udp };
}

/** Another address of the pool. */
function neighbourOf(ipv4: string): string {
  const bytes = ipv4.split('.').map(Number);
  bytes[3] = (bytes[3] ?? 0) ^ 1;
  return bytes.join('.');
}

async function peersOf(source: StatusSource): Promise<PeerFacts[]> {
  const { client, engine, clock, store } = source;
  const { member } = client;
  const own = store.settings.self?.ipv4;
  if (member === undefined) return [];
  const views = new Views(member, clock);
  const members = views.networks().flatMap(({ members: all }) => all);
  const ids = new Set(
    members.filter(({ self, presence }) => !self && presence !== 'offline').map((m) => m.clientId),
  );
  const shown = [...ids].flatMap((id) => views.peer(id, engine) ?? []);
  const probed = shown
    .filter(({ session, path }) => session.established && isUsable(path.kind))
    .slice(0, maxProbedPeers);
  const answers = new Map(
    await Promise.all(
      probed.map(async ({ clientId, ipv4 }) => [clientId, await probeInbound(ipv4, own)] as const),
    ),
  );
  return shown.map(({ clientId, nick, path, session }) => ({
    ...{ clientId, nick, kind: path.kind, established: session.established },
    ...(path.transport === undefined ? {} : { transport: path.transport }),
    ...(path.reason === undefined ? {} : { reason: path.reason }),
    ...(path.mtuBytes === undefined ? {} : { mtuBytes: path.mtuBytes }),
    inbound: answers.get(clientId) ?? 'untested',
  }));
}

const isUsable = (kind: string): boolean => kind === 'direct' || kind === 'relayed';
