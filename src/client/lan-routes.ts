import { ipBatch } from './ip-command.ts';
import { describe, type Route } from './routes.ts';

/** A route of the interface for what is for many. */
export interface LanRoute {
  readonly destination: string;
  readonly metric: number;
  /** What it changes for programs that name no interface. */
  readonly why: string;
}

/**
 * What Linux does with broadcast and multicast of a program that is bound to no interface and no address:
 *
 * - 255.255.255.255 and IPv4 multicast go where the routing table says, mostly to the default route's interface; joins of
 *   a group without an interface go there as well. A longer prefix wins, then a lower metric.
 * - IPv6 multicast goes by the table `local`, which has ff00::/8 once for each interface, all of metric 256: the first wins.
 *
 * A program that names an interface (SO_BINDTODEVICE, IP_MULTICAST_IF, a scope id), or over IPv4 binds to an address, does not ask.
 */
const destinations = [
  { destination: '255.255.255.255/32', family: 4, metric: 256, lowestMetric: 0 },
  { destination: '224.0.0.0/4', family: 4, metric: 256, lowestMetric: 0 },
  // The kernel takes 0 for 'none given', which is 1024.
  { destination: 'ff00::/8', family: 6, metric: 255, lowestMetric: 1 },
] as const;

/** The routes to add, with a metric below those of the same destination through other interfaces. */
export function lanRoutes(routes: readonly Route[], device: string): LanRoute[] {
  return destinations.map(({ destination, metric, lowestMetric }) => {
    const others = routes.filter(
      (route) => isFor(route, destination) && route.dev !== undefined && route.dev !== device,
    );
    const first = others.toSorted((a, b) => metricOf(a) - metricOf(b))[0];
    if (first === undefined) {
      return {
        destination,
        metric,
        why: `${whatGoes(destination)}; no other route is as specific`,
      };
    }
    const below = Math.max(lowestMetric, Math.min(metric, metricOf(first) - 1));
    const why = `${whatGoes(destination)}, no longer to ${describe(first)} with metric ${metricOf(first)}`;
    return { destination, metric: below, why };
  });
}

/** BuriError: ip-missing, ip-failed. The system removes the routes with the interface. */
export async function addLanRoutes(
  routes: readonly LanRoute[],
  device: string,
  family: 4 | 6,
): Promise<void> {
  const mine = routes.filter(({ destination }) => destination.includes(':') === (family === 6));
  await ipBatch(
    mine.map(({ destination, metric }) =>
      family === 4
        ? // Where the metric cannot be lower, the first of equal ones wins.
          `route prepend ${destination} dev ${device} metric ${metric}`
        : `route add multicast ${destination} dev ${device} table local metric ${metric}`,
    ),
  );
}

const isFor = ({ dst }: Route, destination: string): boolean =>
  dst === destination || `${dst}/32` === destination;

const metricOf = ({ metric }: Route): number => metric ?? 0;

const whatGoes = (destination: string): string =>
  `${destination.startsWith('255') ? 'broadcast' : 'multicast'} of programs that name no interface goes to the members`;
