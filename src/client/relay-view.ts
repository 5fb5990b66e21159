import type { Relays } from '#core/relay/relays.ts';
import type { RelayView } from '#wire/local-api.ts';

/** What `status` and `netcheck` show of relays; none while logged out. */
export function relayViews(relays: Pick<Relays, 'report'> | undefined): RelayView[] {
  return (relays?.report() ?? []).map(({ relay, way, isHome, rttMs: nearestMs }) => {
    // Of the way that is used, where there is one: by TCP the round trip is another one.
    const rttMs = way?.rttMs ?? nearestMs;
    return {
      ...{ id: relay, held: way !== undefined, home: isHome, draining: way?.draining ?? false },
      ...(way === undefined ? {} : { transport: way.transport, address: way.label }),
      ...(rttMs === undefined ? {} : { rttMs: Math.round(rttMs * 10) / 10 }),
    };
  });
}
