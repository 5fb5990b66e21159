import { BuriError } from '#core/errors.ts';
import type { Member } from '#core/member/member.ts';
import { formatEndpoint } from '#wire/endpoint.ts';
import type { NetcheckView } from '#wire/local-api.ts';
import type { Client } from './client.ts';
import { meaningOf } from './netcheck-meaning.ts';
import type { PortMapping } from './port-mapping.ts';
import { portMappingView, portOpeners } from './port-mapping-view.ts';
import type { ProxyChoice } from './proxy.ts';
import { relayViews } from './relay-view.ts';
import { until } from './until.ts';

/** Silence of a server, and the tests after it, are over by then. */
const patienceSeconds = 30;

export interface NetcheckSource {
  readonly client: Client;
  readonly proxies: ProxyChoice;
}

/** Tests the network anew. BuriError: not-logged-in, not-connected, timeout, gone. */
export async function netcheck(
  { client, proxies }: NetcheckSource,
  signal: AbortSignal,
): Promise<NetcheckView> {
  const { driver } = client;
  if (driver === undefined) {
    throw new BuriError(
      'not-logged-in',
      "netcheck asks the server's STUN ports; log in first with 'buri login'",
    );
  }
  driver.feed({ type: 'check-nat' });
  const { member } = driver;
  const isOver = () => member.discovery.isSettled || client.driver !== driver;
  await until(isOver, patienceSeconds, signal, () => 'the tests of the network are not done');
  if (client.driver !== driver) {
    throw new BuriError('not-logged-in', 'the computer logged out while the network was tested');
  }
  if (!hasServer(member)) {
    throw new BuriError(
      'not-connected',
      'no server has been reached since the daemon started, so nothing can be tested; see buri status',
    );
  }
  return viewOf(member, client.portMapping, proxies);
}

const hasServer = (member: Member): boolean =>
  ([4, 6] as const).some((family) => member.discovery.report(family) !== undefined);

function viewOf(
  member: Member,
  portMapping: PortMapping | undefined,
  proxies: ProxyChoice,
): NetcheckView {
  const { discovered } = member.discovery;
  const { nat, udp, mappingLifetimeMs } = discovered;
  const isTranslated = nat.mapping !== 'none';
  const facts: Omit<NetcheckView, 'meaning'> = {
    udp,
    ipv4: familyOf(member, 4),
    ipv6: familyOf(member, 6),
    nat: {
      mapping: nat.mapping,
      filtering: nat.filtering,
      hairpin: nat.hairpin ?? null,
      portPreserved: (isTranslated ? member.discovery.report(4)?.portPreserved : undefined) ?? null,
      allocation: nat.allocation ?? null,
      mappingLifetimeMs: mappingLifetimeMs ?? null,
    },
    portMapping: portOpeners(portMappingView(portMapping, discovered.publicEndpoints)),
    httpProxy: proxies.text ?? null,
    relays: relayViews(member.relays),
  };
  return { ...facts, meaning: meaningOf(facts) };
}

/** Null where neither answers nor an address of this machine speak for the family. */
function familyOf(member: Member, family: 4 | 6): NetcheckView['ipv4'] {
  const report = member.discovery.report(family);
  if (report === undefined) return null;
  const { udp, publicEndpoint, rttMs } = report;
  return {
    udp,
    publicEndpoint: publicEndpoint === undefined ? null : formatEndpoint(publicEndpoint),
    rttMs: rttMs === undefined ? null : Math.round(rttMs * 10) / 10,
  };
}
