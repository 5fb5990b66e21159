/**
 * The daemon's local API: HTTP/1.1 over a Unix socket, `POST /v1/VERB` with a JSON object, answered by a JSON object, or by
 * `{"error":{"code","message"}}` with status 4xx or 5xx. The command line is one client of it, the client window another.
 */
import { z } from 'zod';
import * as field from './fields.ts';
import { portAllocation } from './signal.ts';

/** Largest request body. */
export const maxLocalRequestBytes = 65_536;

const tooLong = 'too long; a name has at most 64 characters';
const network = z.string().min(1, 'must not be empty').max(200, tooLong);
const empty = z.strictObject({});
const waitSeconds = z.number().min(0).max(600);

/** `network` is a name or an identifier; `clientId` an identifier, or a nickname where that is unambiguous. */
const peer = z.string().min(1, 'must not be empty').max(200, tooLong);
const nick = z.string().max(1000, tooLong);

export const pathView = z.object({
  kind: z.enum(['direct', 'relayed', 'establishing', 'unreachable', 'none']),
  transport: z.enum(['udp', 'tcp']).optional(),
  endpoint: z.string().optional(),
  rttMs: z.number().optional(),
  /** The largest packet that fits through the path in one piece, once that is known. */
  mtuBytes: z.number().optional(),
  /** How many of 100 probes got no answer of late. */
  lossPercent: z.number().optional(),
  /** Mean difference between the round trips of probes that follow each other (RFC 3550). */
  jitterMs: z.number().optional(),
  reason: z.string().optional(),
  /** What was done, or is going to be, about NATs that an ordinary punch does not join. */
  hardNat: z.string().optional(),
});
export type PathView = z.infer<typeof pathView>;

export const memberEntry = z.object({
  clientId: z.string(),
  nick: z.string(),
  ipv4: z.string(),
  ipv6: z.string(),
  presence: field.presence,
  self: z.boolean(),
  path: pathView,
});
export type MemberEntry = z.infer<typeof memberEntry>;

export const networkEntry = z.object({
  id: z.string(),
  name: z.string(),
  type: z.string(),
  /** This client takes part now (go-online, go-offline). */
  online: z.boolean(),
  /** `pending` while it waits for the owner's approval. */
  state: z.enum(['member', 'pending']),
  owner: z.string(),
  locked: z.boolean(),
  approval: z.enum(['auto', 'manual']),
  password: z.boolean(),
  pending: z.array(z.object({ clientId: z.string(), nick: z.string() })),
  members: z.array(memberEntry),
});
export type NetworkEntry = z.infer<typeof networkEntry>;

export const mappingProtocol = z.enum(['pcp', 'nat-pmp', 'upnp']);
export const protocolView = z.object({
  /** `found`: it answers, but another protocol has the mapping, or none has been made yet. */
  state: z.enum(['idle', 'asking', 'absent', 'found', 'refused', 'mapped']),
  reason: z.string().optional(),
  /** What a UPnP device calls itself. */
  product: z.string().optional(),
});

/** What routers were asked, and what they gave. */
export const portMappingView = z.object({
  /** False when switched off (`--port-mapping off`) or logged out. */
  enabled: z.boolean(),
  /** Of the IPv4 gateway. */
  pcp: protocolView,
  natPmp: protocolView,
  upnp: protocolView,
  /** The IPv4 endpoint that peers are told, by which protocol, for how long; null when there is none. */
  external: z.string().nullable(),
  protocol: mappingProtocol.nullable(),
  /** Null also for a mapping without end. */
  lifetimeSeconds: z.number().nullable(),
  renewInSeconds: z.number().nullable(),
  /** Why a mapping is of no use to peers elsewhere, in words. */
  note: z.string().optional(),
  /** Also those of IPv6, where PCP opens the firewall. */
  gateways: z
    .array(
      z.object({
        family: z.union([z.literal(4), z.literal(6)]),
        interface: z.string(),
        gateway: z.string(),
        local: z.string(),
        mappings: z.array(
          z.object({
            protocol: mappingProtocol,
            internal: z.string(),
            external: z.string(),
            lifetimeSeconds: z.number().nullable(),
            renewInSeconds: z.number(),
            usable: z.boolean(),
          }),
        ),
        pcp: protocolView,
      }),
    )
    .readonly(),
});
export type PortMappingView = z.infer<typeof portMappingView>;

/** A relay of the server's list. */
export const relayView = z.object({
  id: z.string(),
  /** Whether there is an allocation on it, so that peers reach this computer over it. */
  held: z.boolean(),
  /** The nearest one, which traffic goes over first. */
  home: z.boolean(),
  /** It is about to end, and is being left. */
  draining: z.boolean(),
  /** Of those that are held: how it is reached, by UDP or by TCP (a WebSocket), and where. */
  transport: z.enum(['udp', 'tcp']).optional(),
  address: z.string().optional(),
  /** Absent: it has not answered. */
  rttMs: z.number().optional(),
});
export type RelayView = z.infer<typeof relayView>;

export const statusView = z.object({
  version: z.string(),
  pid: z.number(),
  state: z.enum(['online', 'connecting', 'offline']),
  clientId: z.string().nullable(),
  nick: z.string(),
  ipv4: z.string().nullable(),
  ipv6: z.string().nullable(),
  device: z.string().nullable(),
  /** What the device carries: IP packets, or Ethernet frames. */
  mode: z.enum(['tun', 'tap']),
  /** What the device, the kernel and the processor do for it, by name; `vaes` is AES-256-GCM in wide registers. */
  offloads: z.array(z.string()).readonly(),
  port: z.number().nullable(),
  /** Routes through the interface for broadcast and multicast of programs that name no interface. */
  lanRoutes: z
    .array(z.object({ destination: z.string(), metric: z.number(), why: z.string() }))
    .readonly(),
  server: z.object({
    url: z.string().nullable(),
    connected: z.boolean(),
    /** The proxy in use, without user and password. */
    proxy: z.string().optional(),
    /** Why not, and when the next attempt is due. */
    error: z.object({ code: z.string(), message: z.string() }).optional(),
    retryInMs: z.number().optional(),
  }),
  nat: z.object({
    mapping: z.string(),
    filtering: z.string(),
    publicEndpoints: z.array(z.string()),
  }),
  portMapping: portMappingView,
  /** Those that are held, the home relay first. */
  relays: z.array(relayView),
  /** What a person should know now, newest last. */
  notices: z.array(z.object({ code: z.string(), message: z.string() })),
  counters: z.record(z.string(), z.number()),
});
export type StatusView = z.infer<typeof statusView>;

export const peerView = z.object({
  clientId: z.string(),
  nick: z.string(),
  ipv4: z.string(),
  ipv6: z.string(),
  presence: field.presence,
  networks: z.array(z.string()),
  path: pathView,
  /** The tunnel: which suite, since when, and what went through. */
  session: z.object({
    established: z.boolean(),
    suite: z.string().optional(),
    lastHandshakeAgoMs: z.number().optional(),
    sentBytes: z.number(),
    receivedBytes: z.number(),
  }),
  candidates: z.array(
    z.object({
      kind: z.string(),
      endpoint: z.string(),
      state: z.string(),
      rttMs: z.number().optional(),
    }),
  ),
  /** What the two sides are behind, in words; absent while no path is looked for. */
  nat: z.object({ here: z.string(), there: z.string() }).optional(),
  /** What the user could do about it. */
  advice: z.array(z.string()).optional(),
});
export type PeerView = z.infer<typeof peerView>;

const familyCheck = z.object({
  udp: z.enum(['works', 'blocked', 'unknown']),
  publicEndpoint: z.string().nullable(),
  /** To the STUN server. */
  rttMs: z.number().nullable(),
});

export const netcheckView = z.object({
  udp: z.enum(['works', 'blocked', 'unknown']),
  /** Null where this machine has no address of that family, or the server none. */
  ipv4: familyCheck.nullable(),
  ipv6: familyCheck.nullable(),
  nat: z.object({
    mapping: z.string(),
    filtering: z.string(),
    /** Null where that is unknown, or nothing is translated. */
    hairpin: z.boolean().nullable(),
    portPreserved: z.boolean().nullable(),
    allocation: portAllocation.nullable(),
    /** An idle mapping lives longer than this; null while it is being measured, which takes minutes. */
    mappingLifetimeMs: z.number().nullable(),
  }),
  /** Protocols by which the router opens a port, as far as one answered: of the IPv6 firewall, PCP alone. */
  portMapping: z.array(
    z.object({
      protocol: z.enum(['pcp', 'nat-pmp', 'upnp']),
      usable: z.boolean(),
      externalEndpoint: z.string().optional(),
      reason: z.string().optional(),
    }),
  ),
  /** The HTTP proxy that is configured, without user and password. */
  httpProxy: z.string().nullable(),
  /** All that the server lists: the home relay, others that are held, the rest by distance. */
  relays: z.array(relayView),
  /** What each of these means for the user, in the order of `about`'s fields above. */
  meaning: z.array(z.object({ about: z.string(), text: z.string() })),
});
export type NetcheckView = z.infer<typeof netcheckView>;
export const doctorCheck = z.object({
  /** What was looked at: server, dns, clock, device, routes, firewall, firewall-udp, udp, relay, mtu, peer; more may come. */
  id: z.string(),
  status: z.enum(['ok', 'warning', 'problem', 'unknown']),
  /** Where something must be done. */
  side: z.enum(['here', 'network', 'server', 'peer']),
  title: z.string(),
  detail: z.string().optional(),
  todo: z.string().optional(),
  /** Client id, when it is about one member. */
  peer: z.string().optional(),
});
export type DoctorCheck = z.infer<typeof doctorCheck>;

export const doctorView = z.object({ healthy: z.boolean(), checks: z.array(doctorCheck) });
export type DoctorView = z.infer<typeof doctorView>;

const done = z.object({ ok: z.literal(true) });
const joined = z.object({
  ok: z.literal(true),
  id: z.string(),
  name: z.string(),
  state: z.enum(['member', 'pending']),
});

/** Request and response of every verb. */
export const localApi = {
  status: { request: empty, response: statusView },
  /** Looks at everything that could be wrong; takes some seconds. */
  doctor: { request: empty, response: doctorView },
  /** Without a URL: the one of last time. `waitSeconds`: answer when online, or with error `timeout`. */
  login: {
    request: z.strictObject({
      url: z.string().max(500).optional(),
      nick: nick.optional(),
      token: z.string().max(128).optional(),
      waitSeconds: waitSeconds.optional(),
    }),
    response: z.object({
      ok: z.literal(true),
      clientId: z.string(),
      ipv4: z.string(),
      ipv6: z.string(),
      /** The server's key was pinned on first use, because the URL carried none. */
      pinnedKey: z.string().optional(),
    }),
  },
  logout: { request: empty, response: done },
  create: {
    request: z.strictObject({ network, password: z.string().max(1000).optional() }),
    response: joined,
  },
  /** `waitSeconds`: answer when every online member has a tunnel, or with error `timeout`. */
  join: {
    request: z.strictObject({
      network,
      password: z.string().max(1000).optional(),
      waitSeconds: waitSeconds.optional(),
    }),
    response: joined,
  },
  leave: { request: z.strictObject({ network }), response: done },
  delete: { request: z.strictObject({ network }), response: done },
  evict: { request: z.strictObject({ network, clientId: peer }), response: done },
  approve: { request: z.strictObject({ network, clientId: peer }), response: done },
  reject: { request: z.strictObject({ network, clientId: peer }), response: done },
  transfer: { request: z.strictObject({ network, clientId: peer }), response: done },
  'set-nick': { request: z.strictObject({ nick }), response: done },
  'set-pass': {
    request: z.strictObject({ network, password: z.string().max(1000).optional() }),
    response: done,
  },
  'set-access': {
    request: z.strictObject({
      network,
      locked: z.boolean().optional(),
      approval: z.enum(['auto', 'manual']).optional(),
    }),
    response: done,
  },
  'go-online': { request: z.strictObject({ network }), response: done },
  'go-offline': { request: z.strictObject({ network }), response: done },
  list: { request: empty, response: z.object({ networks: z.array(networkEntry) }) },
  network: { request: z.strictObject({ network }), response: networkEntry },
  peer: { request: z.strictObject({ clientId: peer }), response: peerView },
  /** Tests the network anew; takes some seconds. */
  netcheck: { request: empty, response: netcheckView },
} as const;

export type Verb = keyof typeof localApi;
export type VerbRequest<V extends Verb> = z.infer<(typeof localApi)[V]['request']>;
export type VerbResponse<V extends Verb> = z.infer<(typeof localApi)[V]['response']>;

export const localError = z.object({ error: z.object({ code: z.string(), message: z.string() }) });
