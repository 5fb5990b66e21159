import { readFile } from 'node:fs/promises';
import { type NetworkInterfaceInfo, networkInterfaces } from 'node:os';
import { classOf } from '#core/path/address-class.ts';
import type { Uplink } from '#core/portmap/io.ts';
import { formatAddress } from '#wire/endpoint.ts';

/** Privacy extensions give an interface several addresses; a firewall opens for each alone. */
const maxIpv6Locals = 3;

interface DefaultRoute {
  readonly interface: string;
  readonly gateway: string;
  readonly metric: number;
}

type Interfaces = Readonly<Record<string, NetworkInterfaceInfo[] | undefined>>;

/**
 * The routers that this machine goes out through: of IPv4 the one with the lowest metric, when both it and our own address are
 * private ones (else nothing is translated on the way), of IPv6 the one for the global addresses of its interface. None where there
 * is no /proc.
 */
export async function uplinks(withoutDevice: string): Promise<Uplink[]> {
  const [routes4, routes6] = await Promise.all([
    readFile('/proc/net/route', 'utf8').catch(() => ''),
    readFile('/proc/net/ipv6_route', 'utf8').catch(() => ''),
  ]);
  return uplinksFrom(routes4, routes6, networkInterfaces(), withoutDevice);
}

export function uplinksFrom(
  routes4: string,
  routes6: string,
  interfaces: Interfaces,
  withoutDevice: string,
): Uplink[] {
  const first = (routes: DefaultRoute[]) =>
    routes
      .filter(({ interface: name }) => name !== withoutDevice)
      .toSorted((a, b) => a.metric - b.metric)[0];
  return [
    ...uplink4(first(defaultRoutes4(routes4)), interfaces),
    ...uplinks6(first(defaultRoutes6(routes6)), interfaces),
  ];
}

function uplink4(route: DefaultRoute | undefined, interfaces: Interfaces): Uplink[] {
  if (route === undefined || classOf(route.gateway) !== 'private') return [];
  const own = (interfaces[route.interface] ?? []).filter(
    ({ family, address }) => family === 'IPv4' && classOf(address) === 'private',
  );
  const [local] = own.toSorted(
    (a, b) => Number(isOnLink(b, route.gateway)) - Number(isOnLink(a, route.gateway)),
  );
  if (local === undefined) return [];
  const { interface: name, gateway } = route;
  return [{ family: 4, interface: name, gateway, local: local.address }];
}

function uplinks6(route: DefaultRoute | undefined, interfaces: Interfaces): Uplink[] {
  if (route === undefined) return [];
  const { interface: name, gateway } = route;
  return (interfaces[name] ?? [])
    .filter(({ family, address }) => family === 'IPv6' && classOf(address) === 'public')
    .slice(0, maxIpv6Locals)
    .map(({ address: local }) => ({ family: 6, interface: name, gateway, local }));
}

const routeFlags = { up: 1, gateway: 2 } as const;

/** `Iface Destination Gateway Flags RefCnt Use Metric Mask …`, addresses as numbers of the machine's byte order. */
function defaultRoutes4(text: string): DefaultRoute[] {
  return text.split('\n').flatMap((line) => {
    const [name = '', destination, gateway = '', flags = '', , , metric, mask] = line.split(/\s+/);
    if (destination !== '00000000' || mask !== '00000000') return [];
    if (!isUsable(flags) || !/^[0-9A-F]{8}$/.test(gateway)) return [];
    const bytes = Buffer.from(gateway, 'hex').reverse();
    return [{ interface: name, gateway: formatAddress(bytes), metric: Number(metric) }];
  });
}

/** `destination length source length next-hop metric references use flags Iface`, all hexadecimal. */
function defaultRoutes6(text: string): DefaultRoute[] {
  return text.split('\n').flatMap((line) => {
    const [to = '', bits, , , gateway = '', metric = '', , , flags = '', name = ''] = line
      .trim()
      .split(/\s+/);
    if (!/^0{32}$/.test(to) || bits !== '00' || !isUsable(flags)) return [];
    if (!/^[0-9a-f]{32}$/.test(gateway)) return [];
    return [
      {
        interface: name,
        gateway: formatAddress(Buffer.from(gateway, 'hex')),
        metric: Number.parseInt(metric, 16),
      },
    ];
  });
}

function isUsable(flags: string): boolean {
  const wanted = routeFlags.up | routeFlags.gateway;
  return (Number.parseInt(flags, 16) & wanted) === wanted;
}

function isOnLink({ address, netmask }: NetworkInterfaceInfo, gateway: string): boolean {
  const number = (text: string) =>
    text.split('.').reduce((sum, part) => sum * 256 + Number(part), 0);
  const mask = number(netmask);
  return ((number(address) ^ number(gateway)) & mask) === 0;
}
