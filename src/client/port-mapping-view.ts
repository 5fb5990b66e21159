import { mappedEndpoints } from '#core/discovery/candidates.ts';
import type { Protocol, ProtocolReport, UplinkReport } from '#core/portmap/io.ts';
import { type Endpoint, formatEndpoint } from '#wire/endpoint.ts';
import type { NetcheckView, PortMappingView } from '#wire/local-api.ts';
import type { PortMapping } from './port-mapping.ts';

const idle: ProtocolReport = { state: 'idle' };

/** What `status`, `netcheck` and `doctor` show of the routers. */
export function portMappingView(
  portMapping: Pick<PortMapping, 'summary' | 'mapped'> | undefined,
  publicEndpoints: readonly Endpoint[],
): PortMappingView {
  const uplinks = portMapping?.summary.uplinks ?? [];
  const ipv4 = uplinks.find(({ family }) => family === 4);
  const mappings = ipv4?.mappings ?? [];
  const usable = mappings.filter(({ usable }) => usable);
  const [offered] = mappedEndpoints({
    mapped: usable.map(({ external }) => external),
    reflexive: publicEndpoints,
  });
  const used = mappings.find(({ external }) => external === offered);
  const note = offered === undefined ? noteOf(mappings, usable.length > 0) : undefined;
  const of = (protocol: Protocol) => ipv4?.protocols[protocol] ?? idle;
  return {
    enabled: portMapping !== undefined,
    ...{ pcp: of('pcp'), natPmp: of('nat-pmp'), upnp: of('upnp') },
    external: offered === undefined ? null : formatEndpoint(offered),
    protocol: used?.protocol ?? null,
    lifetimeSeconds: used?.lifetimeSeconds ?? null,
    renewInSeconds: used?.renewInSeconds ?? null,
    ...(note === undefined ? {} : { note }),
    gateways: uplinks.map(gatewayView),
  };
}

function noteOf(mappings: UplinkReport['mappings'], isPublic: boolean): string | undefined {
  const [first] = mappings;
  if (first === undefined) return undefined;
  const { address } = first.external;
  return isPublic
    ? `the router says that its outer address is ${address}, but servers see another one: a further NAT stands behind it`
    : `the router's outer address ${address} is a private one: a further NAT stands behind it`;
}

const gatewayView = (uplink: UplinkReport): PortMappingView['gateways'][number] => {
  const { family, interface: name, gateway, local, protocols, mappings } = uplink;
  return {
    ...{ family, interface: name, gateway, local },
    pcp: protocols.pcp ?? idle,
    mappings: mappings.map(({ internal, external, lifetimeSeconds, ...mapping }) => ({
      ...mapping,
      internal: formatEndpoint(internal),
      external: formatEndpoint(external),
      lifetimeSeconds: lifetimeSeconds ?? null,
    })),
  };
};

/** What `netcheck` shows: each protocol that answered, and what came of it. */
export function portOpeners(view: PortMappingView): NetcheckView['portMapping'] {
  const { pcp, natPmp, upnp, external, note, gateways } = view;
  const of = { pcp, 'nat-pmp': natPmp, upnp };
  const openers: NetcheckView['portMapping'] = [];
  for (const protocol of ['pcp', 'nat-pmp', 'upnp'] as const) {
    const { state, reason } = of[protocol];
    if (state === 'idle' || state === 'asking' || state === 'absent') continue;
    const usable = state === 'mapped' && external !== null && protocol === view.protocol;
    const why = usable ? undefined : (reason ?? (state === 'mapped' ? note : undefined));
    openers.push({
      ...{ protocol, usable },
      ...(usable ? { externalEndpoint: external } : {}),
      ...(why === undefined ? {} : { reason: why }),
    });
  }
  for (const { family, mappings } of gateways) {
    if (family !== 6) continue;
    for (const { protocol, external: opened, usable } of mappings) {
      openers.push({ protocol, usable, externalEndpoint: opened });
    }
  }
  return openers;
}
