/** What the facts of `buri netcheck` mean for a person: pure. */
import type { NetcheckView } from '#wire/local-api.ts';

type Facts = Omit<NetcheckView, 'meaning'>;
type Meaning = NetcheckView['meaning'][number];

export function meaningOf(facts: Facts): Meaning[] {
  const { nat } = facts;
  const all: (readonly [string, string | undefined])[] = [
    ['udp', udpMeaning(facts)],
    ['ipv6', ipv6Meaning(facts)],
    ['mapping', mappingMeaning(nat.mapping, facts.udp)],
    ['filtering', filteringMeaning(nat)],
    ['hairpin', hairpinMeaning(nat.hairpin)],
    ['portPreserved', preservedMeaning(nat)],
    ['allocation', allocationMeaning(nat)],
    ['mappingLifetimeMs', lifetimeMeaning(nat.mappingLifetimeMs)],
    ['portMapping', portMappingMeaning(facts)],
    ['httpProxy', proxyMeaning(facts)],
    ['relays', relayMeaning(facts)],
  ];
  return all.flatMap(([about, text]) => (text === undefined ? [] : [{ about, text }]));
}

function udpMeaning({ udp }: Facts): string {
  switch (udp) {
    case 'works':
      return 'tunnels can be made';
    case 'blocked':
      return 'no UDP comes through: there are no direct tunnels from this network; let UDP out, or use another network';
    case 'unknown':
      return 'the server has not answered yet';
  }
}

function ipv6Meaning({ ipv6 }: Facts): string {
  return ipv6?.udp === 'works'
    ? 'peers that have IPv6 too are reached without address translation'
    : 'peers are reached by IPv4 only';
}

function mappingMeaning(mapping: string, udp: Facts['udp']): string | undefined {
  switch (mapping) {
    case 'none':
      return 'this computer has a public address of its own';
    case 'endpoint-independent':
      return 'the NAT shows one port to everybody, so direct tunnels to most peers are possible';
    case 'address-dependent':
    case 'address-and-port-dependent':
      return 'the NAT shows each peer another port (symmetric): direct tunnels only to peers whose own NAT is easier, or by a port mapping or IPv6';
    default:
      return udp === 'blocked' ? undefined : 'not enough answers came to tell';
  }
}

function filteringMeaning({ filtering, mapping }: Facts['nat']): string | undefined {
  switch (filtering) {
    case 'none':
      return 'everybody can reach this computer directly';
    case 'endpoint-independent':
      return 'whoever knows the public port can reach this computer directly';
    case 'address-dependent':
      return 'whoever was sent to gets in from any of its ports, which helps peers behind symmetric NATs';
    case 'address-and-port-dependent':
      return mapping === 'none'
        ? 'a firewall lets in only what was asked for: tunnels are opened from both sides at once'
        : 'only the very port that was sent to gets in, as with most routers: tunnels are opened from both sides at once';
    default:
      return undefined;
  }
}

function hairpinMeaning(hairpin: boolean | null): string | undefined {
  if (hairpin === null) return undefined;
  return hairpin
    ? 'computers behind the same NAT reach each other by its public address too'
    : 'computers behind the same NAT reach each other only where they see each other locally';
}

function preservedMeaning({ portPreserved }: Facts['nat']): string | undefined {
  if (portPreserved === null) return undefined;
  return portPreserved
    ? 'the public port is the one of this computer'
    : 'the public port is another one than that of this computer';
}

function allocationMeaning({ allocation, mapping }: Facts['nat']): string | undefined {
  if (allocation === null) return undefined;
  if (mapping === 'endpoint-independent') return 'does not matter, since the port stays the same';
  switch (allocation.pattern) {
    case 'preserving':
      return 'ports can be predicted, which makes direct tunnels likely';
    case 'sequential':
      return 'the next port can be predicted, which makes direct tunnels likely';
    case 'block':
      return 'ports come from a few, as carriers hand them out: they can be guessed with some patience';
    case 'random':
      return 'ports cannot be predicted: to a peer that filters by port a direct tunnel takes luck';
  }
}

function lifetimeMeaning(lifetimeMs: number | null): string {
  if (lifetimeMs === null) return 'being measured in the background; ask again in some minutes';
  return lifetimeMs < 25_000
    ? 'short: tunnels that are idle are kept alive more often, which costs battery'
    : 'tunnels that are idle are kept alive in time';
}

function portMappingMeaning({ portMapping, nat }: Facts): string | undefined {
  if (nat.mapping === 'none') return undefined;
  return portMapping.some(({ usable }) => usable)
    ? 'the router opens a port for this computer, so peers reach it directly'
    : 'the router opens no port by itself; one forwarded by hand serves as well (buri daemon --port)';
}

function proxyMeaning({ httpProxy }: Facts): string | undefined {
  return httpProxy === null ? undefined : 'what does not get out otherwise goes through it';
}

function relayMeaning({ relays }: Facts): string | undefined {
  return relays.length === 0
    ? undefined
    : 'traffic goes over a relay where there is no direct path; the nearest one is home';
}
