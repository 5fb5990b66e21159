import { z } from 'zod';
import { BuriError } from '#core/errors.ts';
import { ip } from './ip-command.ts';
import { overlap, type Prefix, parsePrefix } from './prefix.ts';

const routeSchema = z.object({
  type: z.string().optional(),
  dst: z.string(),
  dev: z.string().optional(),
  gateway: z.string().optional(),
  metric: z.number().optional(),
});
export type Route = z.infer<typeof routeSchema>;

/** Shorter ones are defaults in disguise (a VPN's 0.0.0.0/1): they lose to the pool's route, and nobody minds. */
const shortestSpecificBits = { 4: 5, 16: 5 } as const;

/** All routes of this machine, both families, all tables. */
export async function localRoutes(): Promise<Route[]> {
  const texts = await Promise.all([
    ip(['-json', '-4', 'route', 'show', 'table', 'all']),
    ip(['-json', '-6', 'route', 'show', 'table', 'all']),
  ]);
  return texts.flatMap((text) => z.array(routeSchema).parse(JSON.parse(text || '[]')));
}

/**
 * The first route that shares addresses with the pool and is not the device's own: either part of the pool would be
 * unreachable through Buri, or part of the local network because of Buri.
 */
export function overlapping(pool: Prefix, routes: readonly Route[], device: string) {
  return routes.find((route) => {
    if (route.dev === device || route.dst === 'default') return false;
    const prefix = parsePrefix(route.dst);
    if (prefix === undefined) return false;
    const shortest = shortestSpecificBits[prefix.bytes.length === 4 ? 4 : 16];
    return prefix.lengthBits >= shortest && overlap(pool, prefix);
  });
}

/**
 * Our own address must lie in the pool: with the pool's length it makes a route, and a server must not have one made to
 * anywhere else. BuriError: pool-invalid.
 */
export function checkOwnAddress(address: string, poolText: string): void {
  const own = parsePrefix(address);
  const pool = parsePrefix(poolText);
  if (own !== undefined && pool !== undefined && overlap(own, pool)) return;
  throw new BuriError(
    'pool-invalid',
    `the server gave this computer the address ${address}, which is outside its pool ${poolText}`,
  );
}

/** BuriError: pool-overlap, naming pool and route. */
export function checkPools(
  pools: readonly string[],
  routes: readonly Route[],
  device: string,
): void {
  for (const text of pools) {
    const pool = parsePrefix(text);
    if (pool === undefined) {
      throw new BuriError('pool-invalid', `the server's address pool ${text} is no prefix`);
    }
    const route = overlapping(pool, routes, device);
    if (route === undefined) continue;
    throw new BuriError(
      'pool-overlap',
      `the server's address pool ${text} overlaps the local route ${describe(route)}; remove that ` +
        "route, or have the server's operator choose another pool",
    );
  }
}

export function describe({ dst, dev, gateway }: Route): string {
  const via = gateway === undefined ? '' : ` via ${gateway}`;
  return `${dst}${via}${dev === undefined ? '' : ` dev ${dev}`}`;
}
