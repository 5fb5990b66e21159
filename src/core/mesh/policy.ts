import type { Presence } from '#wire/fields.ts';

/** One side of a pair as a network sees it. */
export interface Side {
  readonly role: string;
  /** What the server last said; for this client itself: whether it takes part now. */
  readonly presence: Presence;
  /** Its membership is in force at the best time known. */
  readonly inForce: boolean;
}

/**
 * - `establish`: the two may have a tunnel, and one is to be made.
 * - `maintain`: a tunnel that works may stay, none is made: the server believes the other side gone, but it may err.
 * - `none`: no tunnel, at once.
 */
export type Verdict = 'establish' | 'maintain' | 'none';

/**
 * Which pairs of a network may talk: the one place that knows. Hub-and-spoke and gateway networks become cases here.
 */
export function mayTalk(networkType: string, self: Side, peer: Side): Verdict {
  if (self.presence !== 'online' || !self.inForce || !peer.inForce) return 'none';
  if (!pairAllowed(networkType, self.role, peer.role)) return 'none';
  switch (peer.presence) {
    case 'online':
    case 'unconfirmed':
      return 'establish';
    case 'offline':
      return 'maintain';
    default:
      peer.presence satisfies never;
      return 'none';
  }
}

/** Verdicts of several common networks: the most permissive one holds. */
export function strongest(a: Verdict, b: Verdict): Verdict {
  if (a === 'establish' || b === 'establish') return 'establish';
  return a === 'maintain' || b === 'maintain' ? 'maintain' : 'none';
}

function pairAllowed(networkType: string, selfRole: string, peerRole: string): boolean {
  switch (networkType) {
    case 'mesh':
      return selfRole === 'member' && peerRole === 'member';
    default:
      return false;
  }
}
