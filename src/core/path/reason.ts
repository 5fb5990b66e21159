/** Why there is no direct path, in words a person understands. */
import type { NatBehaviour } from '#wire/signal.ts';
import { punchOutlook } from './ranking.ts';

export interface Situation {
  readonly serverConnected: boolean;
  readonly localCandidatesKnown: boolean;
  /** A relay carries the traffic meanwhile. */
  readonly isRelayed: boolean;
  readonly socketsOpen: boolean;
  /** Undefined before the peer signalled. */
  readonly remoteCandidates: number | undefined;
  readonly familiesInCommon: boolean;
  readonly localNat: NatBehaviour;
  readonly remoteNat: NatBehaviour;
  /** Authenticated requests of the peer arrived, but our own were never answered. */
  readonly heardOnly: boolean;
  /** There was a path before. */
  readonly lost: boolean;
}

export function explainNoPath(s: Situation): string {
  if (!s.socketsOpen) return 'no UDP socket could be opened on this machine';
  if (!s.localCandidatesKnown) return 'still finding out the addresses of this machine';
  if (s.remoteCandidates === undefined) {
    return s.serverConnected
      ? 'waiting for the other side to tell its addresses'
      : 'the server is not connected and no address of the other side is known';
  }
  if (s.remoteCandidates === 0) return 'the other side found no usable address of its own';
  if (!s.familiesInCommon) {
    return 'no address family in common: one side has only IPv4, the other only IPv6';
  }
  const unanswered =
    s.remoteCandidates === 1
      ? 'no answer from its only address'
      : `no answer from any of ${s.remoteCandidates} addresses`;
  const prefix = s.lost && !s.isRelayed ? `the path was lost; ${unanswered}` : unanswered;
  if (s.heardOnly) {
    return `${prefix}, although the other side is heard: something lets its packets in but not ours`;
  }
  const nats = `your side ${describeNat(s.localNat)}, theirs ${describeNat(s.remoteNat)}`;
  switch (punchOutlook(s.localNat, s.remoteNat)) {
    case 'impossible':
      return `${prefix}; ${nats}: needs ${s.isRelayed ? 'a forwarded port or IPv6' : 'a relay or a forwarded port'}`;
    case 'possible':
      return `${prefix}; ${nats}: this should work, so a firewall is likely to drop UDP on one side`;
    case 'unknown':
      return `${prefix}; ${nats}: UDP may be blocked on one side`;
  }
}

/** The names that people know, from RFC 4787's terms. */
export function describeNat({ mapping, filtering }: NatBehaviour): string {
  if (mapping === 'unknown') return 'is behind an unknown NAT';
  if (mapping === 'none') {
    return filtering === 'none' || filtering === 'unknown'
      ? 'has a public address'
      : 'has a public address behind a firewall';
  }
  if (mapping !== 'endpoint-independent') return 'is behind a symmetric NAT';
  switch (filtering) {
    case 'endpoint-independent':
    case 'none':
      return 'is behind a full-cone NAT';
    case 'address-dependent':
      return 'is behind an address-restricted NAT';
    case 'address-and-port-dependent':
      return 'is behind a port-restricted NAT';
    case 'unknown':
      return 'is behind a NAT';
  }
}
