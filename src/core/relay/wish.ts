import type { MonotonicMs } from '#core/time.ts';
import { type Allocation, isDoubtful } from './allocation.ts';
import type { Job, Leg } from './leg.ts';
import { isFresh } from './requests.ts';

export interface LinkSituation {
  readonly isHeld: boolean;
  readonly allocation: Allocation | undefined;
  /** When the allocation wants to be refreshed. */
  readonly refreshAt: MonotonicMs | undefined;
  /** The relay has not refused us lately. */
  readonly isUsable: boolean;
  /** Its distance is asked for, or known. */
  readonly isMeasured: boolean;
  /** Legs that allocate now. */
  readonly allocating: readonly Leg[];
}

/** What should be asked on this leg now: a pure rule. */
export function wishOf(leg: Leg, link: LinkSituation, now: MonotonicMs): Job['kind'] | undefined {
  if (leg.job !== undefined) return undefined;
  const isUdp = leg.transport === 'udp';
  if (!link.isHeld) return isUdp && !link.isMeasured ? 'knock' : undefined;
  const { allocation } = link;
  if (allocation !== undefined) {
    if (leg === allocation.leg) return link.refreshAt! <= now ? 'refresh' : undefined;
    const isBetter = isUdp && allocation.leg.transport === 'tcp';
    return isBetter || isDoubtful(allocation) ? 'refresh' : undefined;
  }
  if (!link.isUsable) return undefined;
  // One at a time; but UDP does not wait for a WebSocket.
  if (link.allocating.some(({ transport }) => !isUdp || transport === 'udp')) return undefined;
  if (!isUdp) return 'allocate';
  return isFresh(leg, now) ? 'allocate' : 'knock';
}
