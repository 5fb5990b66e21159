import type { PathView } from '#wire/local-api.ts';
import type { NatBehaviour } from '#wire/signal.ts';

interface Nats {
  readonly here: NatBehaviour;
  readonly there: NatBehaviour;
}

/** What a user could do so that a member is reached directly, the easiest first; nothing when it is. */
export function adviceFor({ kind, transport }: PathView, { here, there }: Nats): string[] {
  if (kind !== 'relayed' && kind !== 'unreachable') return [];
  const advice: string[] = [];
  if (transport === 'tcp') {
    advice.push(
      "the relay is reached by TCP: let UDP out of this network, 'buri netcheck' shows whether it passes",
    );
  }
  for (const [side, nat] of [
    ['this side', here],
    ['the other side', there],
  ] as const) {
    if (isHard(nat)) {
      advice.push(
        `${side}: switch port mapping on in the router (UPnP or PCP), or forward a UDP port to the computer by hand ` +
          'and give its daemon that port (--port)',
      );
    } else if (nat.mapping === 'none' && nat.filtering === 'address-and-port-dependent') {
      advice.push(
        `${side}: let UDP to the daemon's port in, in the firewall of the computer or in front of it`,
      );
    }
  }
  if (kind === 'unreachable')
    advice.push("'buri doctor' on both computers; a relay carries what cannot go directly");
  else if (advice.length === 0)
    advice.push("'buri doctor' on both computers: a firewall is likely to drop UDP on one side");
  if (isHard(here) && isHard(there)) advice.push('IPv6 on both sides needs no NAT at all');
  return advice;
}

const isHard = ({ mapping }: NatBehaviour): boolean =>
  mapping === 'address-dependent' || mapping === 'address-and-port-dependent';
