/** What goes into the path machine, what comes out, and what it shows. */
import type { AddressFamily, Endpoint } from '#wire/endpoint.ts';
import type { Candidate, CandidateKind, NatBehaviour, PunchTerms } from '#wire/signal.ts';
import type { Path } from './path.ts';
import type { RelayPath } from './relay-path.ts';

export interface LocalSocket {
  readonly socket: number;
  readonly family: AddressFamily;
  readonly localPort: number;
  /** One of an attempt at a hard NAT: only the peer that was met on it is there. */
  readonly isPunched?: true;
}

export type PathInput =
  /** All sockets there are; pairs of others end. */
  | { readonly type: 'local-sockets'; readonly sockets: readonly LocalSocket[] }
  /** What discovery found. Until the first of these nothing is signalled. */
  | {
      readonly type: 'local-candidates';
      readonly candidates: readonly Candidate[];
      readonly nat: NatBehaviour;
    }
  /** All allocations on relays that this client has: the ways to peers that have one there as well. */
  | { readonly type: 'relays'; readonly relays: readonly RelayPath[] }
  /** How long mappings of this network's NAT live without traffic; undefined: not known. */
  | { readonly type: 'mapping-lifetime'; readonly lifetimeMs: number | undefined }
  /** Server time less wall clock, whenever an authenticated server tells the time. */
  | { readonly type: 'time-offset'; readonly offsetMs: number }
  /** The control connection came or went. Without it signals may get nowhere, and known addresses are tried alone. */
  | { readonly type: 'server'; readonly connected: boolean }
  | {
      readonly type: 'add-peer';
      readonly peer: number;
      readonly tunnelPublicKey: Uint8Array;
      readonly clientId: string;
    }
  | { readonly type: 'remove-peer'; readonly peer: number }
  /** From an end-to-end signal, offer or answer. */
  | {
      readonly type: 'remote-candidates';
      readonly peer: number;
      readonly candidates: readonly Candidate[];
      readonly nat: NatBehaviour;
      /** `offer` when absent. */
      readonly kind?: 'offer' | 'answer';
      /** What it says of an attempt at hard NATs. */
      readonly hard?: PunchTerms;
      /** IP addresses that the server lets us send more probes to (protocol §8). */
      readonly proven?: readonly string[];
    }
  /** Where the peer was when there was a tunnel last: tried at once, until it signals. */
  | {
      readonly type: 'remembered';
      readonly peer: number;
      readonly candidates: readonly Candidate[];
      readonly nat: NatBehaviour;
    }
  /** Begin the simultaneous open then. */
  | { readonly type: 'punch'; readonly peer: number; readonly inMs: number }
  /** Engine datagram of kind 'buri'; or what a relay delivered, from the client of this number as it says. */
  | {
      readonly type: 'datagram';
      readonly bytes: Uint8Array;
      readonly socket: number;
      readonly remote: Endpoint;
      readonly over?: { readonly relay: string; readonly from: number };
    }
  /** Since the last report: authenticated packets, data or keepalives. */
  | {
      readonly type: 'activity';
      readonly peer: number;
      readonly sent: boolean;
      readonly received: boolean;
      /** What was sent was data, not only keepalives. */
      readonly sentData?: boolean;
    }
  /** An authenticated packet arrived from elsewhere than the path in use. */
  | {
      readonly type: 'roam';
      readonly peer: number;
      readonly socket: number;
      readonly remote: Endpoint;
    }
  /** Packets wait for this peer. */
  | { readonly type: 'want'; readonly peer: number }
  /** Somebody doubts that the peer is there: answered by `peer-alive` or `peer-dead`. */
  | { readonly type: 'check-liveness'; readonly peer: number | 'all' }
  /** Addresses or routes of this machine changed. */
  | { readonly type: 'network-changed' }
  /** Whom to ask for samples of the NAT's ports. */
  | { readonly type: 'stun-servers'; readonly servers: readonly Endpoint[] }
  /** Whether ports may be guessed (`--hard-nat`). */
  | { readonly type: 'hard-nat'; readonly enabled: boolean }
  /** So many of the sockets that `punch-open` asked for are open in all; no more can be. */
  | { readonly type: 'punch-opened'; readonly count: number }
  /** Something arrived on one of them. */
  | {
      readonly type: 'punch-datagram';
      readonly index: number;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
    }
  /** The engine has taken one of them over, and gave it this handle; or could not, and why. */
  | {
      readonly type: 'punch-adopted';
      readonly index: number;
      readonly socket?: LocalSocket;
      readonly reason?: string;
    }
  | { readonly type: 'tick' };

/** What an attempt at a hard NAT wants done with its sockets. */
export type PunchOutput =
  /** Open IPv4 sockets until there are so many for the attempt: answered by `punch-opened`. They are numbered from 0. */
  | { readonly type: 'punch-open'; readonly count: number }
  | {
      readonly type: 'punch-send';
      readonly index: number;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
      readonly ttl?: number;
    }
  /** Hand this one over to the engine: answered by `punch-adopted`. */
  | { readonly type: 'punch-adopt'; readonly index: number }
  /** Close all that are left. */
  | { readonly type: 'punch-close' }
  /** An adopted socket that nobody uses any more: the engine may close it. */
  | { readonly type: 'drop-socket'; readonly socket: number };

export type PathOutput =
  | PunchOutput
  | {
      readonly type: 'send';
      readonly socket: number;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
      readonly ttl?: number;
      /** Nobody on the way may fragment it. */
      readonly dontFragment?: true;
    }
  /** Where the peer's packets go from now on. */
  | { readonly type: 'path'; readonly peer: number; readonly path: Path | undefined }
  /** The path in use is the same, but what fits through it in one piece (`mtuBytes`) changed. */
  | { readonly type: 'path-mtu'; readonly peer: number; readonly path: Path }
  /**
   * Please send this peer an offer with our candidates, and ask for a punch. Tell discovery to `recheck` too, as on every
   * offer that arrives: a NAT that forgot us is one of the reasons.
   */
  | {
      readonly type: 'signal-wanted';
      readonly peer: number;
      /** `answer` to an offer that speaks of an attempt at hard NATs; an offer when absent. */
      readonly kind?: 'offer' | 'answer';
      readonly hard?: PunchTerms;
    }
  /** A peer sees what leaves by this socket come from there, or not any more where it was before. */
  | {
      readonly type: 'observed';
      readonly peer: number;
      readonly socket: number;
      readonly endpoint: Endpoint;
    }
  /** This peer has an allocation on that relay, and too few are shared. */
  | { readonly type: 'relay-wanted'; readonly peer: number; readonly relay: string | undefined }
  /** A path over this relay is doubted. */
  | { readonly type: 'relay-doubted'; readonly relay: string }
  | { readonly type: 'peer-alive'; readonly peer: number }
  | { readonly type: 'peer-dead'; readonly peer: number };

export interface PeerPathView {
  readonly kind: 'direct' | 'relayed' | 'establishing' | 'unreachable' | 'none';
  readonly transport?: 'udp' | 'tcp';
  /** Of the other side; of a relayed path the relay's. */
  readonly endpoint?: string;
  readonly rttMs?: number;
  /** The largest packet of the inside that fits through the path in one piece. */
  readonly mtuBytes?: number;
  /** How many of 100 probes got no answer of late, once there were enough. */
  readonly lossPercent?: number;
  /** Mean difference between the round trips of probes that follow each other. */
  readonly jitterMs?: number;
  /** What the two sides are behind, as far as is known. */
  readonly nats: { readonly here: NatBehaviour; readonly there: NatBehaviour };
  /** In words a person understands; present unless the path is direct and well: of a relayed one, why it is not direct. */
  readonly reason?: string;
  /** What was done, or is going to be, about NATs that an ordinary punch does not join. */
  readonly hardNat?: string;
  readonly candidates: readonly CandidateView[];
}

export interface CandidateView {
  readonly kind: CandidateKind | 'peer-reflexive';
  readonly endpoint: string;
  /** waiting, probing, answered, proven, in use, no answer. */
  readonly state: string;
  readonly rttMs?: number;
}

export const unknownNat: NatBehaviour = { mapping: 'unknown', filtering: 'unknown' };

export const isPunchOutput = (output: PathOutput): output is PunchOutput =>
  output.type.startsWith('punch-') || output.type === 'drop-socket';
