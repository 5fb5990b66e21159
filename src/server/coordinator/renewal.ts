/** Daily renewal of membership statements: one revision a network for all that are due there. */
import type { Db } from '../store/schema.ts';
import type { Context } from './context.ts';
import type { CoordinatorEvent, StoredChange } from './events.ts';
import { statementRenewAfterMs } from './limits.ts';
import { memberOf, nextRevision, record } from './revisions.ts';
import { issuable, issueMembership } from './statements.ts';
import type { Held } from './sync.ts';

/** Renews what is a day old among the memberships of these clients. */
export async function renewStatements(
  tx: Db,
  context: Context,
  clients: readonly string[],
  except?: string,
): Promise<CoordinatorEvent[]> {
  if (clients.length === 0) return [];
  const due = await issuable(tx)
    .where('memberships.client_id', 'in', clients)
    .where('memberships.issued_at', '<=', context.now.wall - statementRenewAfterMs)
    .orderBy('memberships.network_id')
    .execute();
  const events: CoordinatorEvent[] = [];
  for (const members of Map.groupBy(due, (row) => row.network_id).values()) {
    const { network_id: network, owner } = members[0]!;
    const revision = await nextRevision(tx, network);
    const changes: StoredChange[] = [];
    for (const row of members) {
      await record(tx, network, revision, 'member', row.client_id);
      await issueMembership(tx, context, row, row, revision);
      const member = await memberOf(tx, network, row.client_id);
      if (member !== undefined) changes.push({ op: 'member', member });
    }
    events.push({
      kind: 'delta',
      delta: { network, from: revision - 1, to: revision, changes, owner },
      ...(except === undefined ? {} : { except }),
    });
  }
  return events;
}

/** When the first of these statements falls due; undefined when there are none. */
export function renewalOf(networks: readonly Pick<Held, 'issuedAt'>[]): number | undefined {
  const issued = networks.flatMap(({ issuedAt }) => (issuedAt === undefined ? [] : [issuedAt]));
  return issued.length === 0 ? undefined : Math.min(...issued) + statementRenewAfterMs;
}
