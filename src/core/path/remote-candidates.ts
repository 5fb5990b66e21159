/** What is believed of a peer's candidate list: it may be wrong, stale or aimed at somebody else. */
import { type Endpoint, formatEndpoint, parseEndpoint } from '#wire/endpoint.ts';
import type { Candidate, CandidateKind } from '#wire/signal.ts';
import { classOf, inPrefix, type Prefix } from './address-class.ts';
import { maxCandidates, maxCandidatesPerAddress, maxPeerRelays } from './limits.ts';

export interface RemoteCandidate {
  readonly kind: CandidateKind;
  readonly endpoint: Endpoint;
  readonly text: string;
}

export interface Believed {
  readonly candidates: readonly RemoteCandidate[];
  /** Relays where the peer says that it has an allocation. */
  readonly relays: readonly string[];
  readonly refused: number;
}

/**
 * The usable ones in the order given, without duplicates: at most 16, and at most 4 of one IP address. Never an address that no
 * peer can have, nor one inside the virtual LAN.
 */
export function believedCandidates(
  signalled: readonly Candidate[],
  virtual: readonly Prefix[],
): Believed {
  const byText = new Map<string, RemoteCandidate>();
  const perAddress = new Map<string, number>();
  const relays = new Set<string>();
  let duplicates = 0;
  // A list beyond its bound is cut before it is looked at.
  for (const { kind, endpoint: given, relay } of signalled.slice(0, maxCandidates)) {
    if (kind === 'relay') {
      // What stands as its endpoint is for people: nothing is ever sent there.
      if (relay === undefined) continue;
      if (relays.has(relay)) duplicates += 1;
      else if (relays.size < maxPeerRelays) relays.add(relay);
      continue;
    }
    const endpoint = parseEndpoint(given);
    if (endpoint === undefined || !isUsable(endpoint, virtual)) continue;
    const text = formatEndpoint(endpoint);
    if (byText.has(text)) {
      duplicates += 1;
      continue;
    }
    const count = perAddress.get(endpoint.address) ?? 0;
    if (count >= maxCandidatesPerAddress) continue;
    perAddress.set(endpoint.address, count + 1);
    byText.set(text, { kind, endpoint, text });
  }
  return {
    candidates: [...byText.values()],
    relays: [...relays],
    refused: signalled.length - byText.size - relays.size - duplicates,
  };
}

export function isUsable(endpoint: Endpoint, virtual: readonly Prefix[]): boolean {
  return (
    endpoint.port > 0 &&
    classOf(endpoint.address) !== 'unusable' &&
    !virtual.some((prefix) => inPrefix(endpoint.address, prefix))
  );
}
