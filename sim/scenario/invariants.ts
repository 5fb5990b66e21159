/** What must hold in every scenario, however bad the network is. */
import assert from 'node:assert/strict';
import { firstBurstProbes, unprovenProbesPerMinute } from '#core/path/limits.ts';
import { maxPunchProbes, maxPunchSockets } from '#core/path/punch/limits.ts';
import type { PathClient } from '../path-world.ts';
import { maxProbesPerSecond } from '../world/bounds.ts';

/** Most moments within any span of `spanMs`. */
export function densest(times: readonly number[], spanMs: number): number {
  let most = 0;
  let from = 0;
  for (const [i, time] of times.entries()) {
    while (times[from]! <= time - spanMs) from += 1;
    most = Math.max(most, i - from + 1);
  }
  return most;
}

/**
 * Nobody is probed more often than the budgets allow (`core/path/limits.ts`), whatever happened. `hasGrants`: the server vouches for
 * addresses, which may then be probed more.
 */
export function checkBudgets(client: PathClient, hasGrants: boolean): void {
  const { requests, punch, machine, heardFrom, moves } = client;
  const times = [...requests.map(({ atMs }) => atMs), ...punch.sentAt].sort((a, b) => a - b);
  const most = densest(times, 1000);
  assert(most <= maxProbesPerSecond, `client ${client.index}: ${most} probes in a second`);
  const { hardAttempts, hardProbes } = machine.counters();
  assert(hardProbes <= hardAttempts * maxPunchProbes, `${hardProbes} guesses, ${hardAttempts}`);
  assert(punch.openedMost <= maxPunchSockets, `${punch.openedMost} sockets to guess with`);
  if (hasGrants) return;
  // Whoever moves or wakes begins once more, once a minute; a burst that was not used at once is used later.
  const perMinute = unprovenProbesPerMinute + (moves > 0 ? 2 * firstBurstProbes : 0);
  // An answer from any port of an address is an answer of that address: some NATs answer from another one than was asked.
  const answering = new Set([...heardFrom].map(addressOf));
  for (const [to, sent] of Map.groupBy(requests, (request) => request.to)) {
    if (answering.has(addressOf(to))) continue;
    const later = sent.slice(firstBurstProbes).map(({ atMs }) => atMs);
    const inMinute = densest(later, 60_000);
    assert(inMinute <= perMinute, `client ${client.index}: ${inMinute} probes a minute to ${to}`);
  }
}

const addressOf = (endpoint: string): string => endpoint.slice(0, endpoint.lastIndexOf(':'));

/** Changes of the path to each peer since then. */
export function changesSince(client: PathClient, sinceMs: number): Map<number, number> {
  const changes = new Map<number, number>();
  for (const { atMs, output } of client.events) {
    if (atMs < sinceMs || output.type !== 'path') continue;
    changes.set(output.peer, (changes.get(output.peer) ?? 0) + 1);
  }
  return changes;
}
