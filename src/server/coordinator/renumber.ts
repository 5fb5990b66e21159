/**
 * A database that has lost commits (it was restored, or a standby took over that was behind) would give out revisions a second
 * time, and with them the serials of statements: clients could not tell what they hold from what is true.
 */
import type { Db } from '../store/schema.ts';
import type { Context } from './context.ts';
import type { CoordinatorEvent } from './events.ts';
import { issuable, issueMembership } from './statements.ts';

/** Added for clocks that are behind, and for what was given out in the meantime by a database that was numbered so itself. */
const step = 2 ** 20;

/**
 * Raises the revision of every network far beyond all that can have been given out, to the time, which revisions never catch up
 * with, and issues every statement anew, so that no revocation of which this database knows nothing beats it. The log is emptied:
 * everybody gets the view. Returns how many networks there are.
 */
export async function renumber(
  tx: Db,
  context: Pick<Context, 'now' | 'sign'>,
): Promise<{ value: number; events: CoordinatorEvent[] }> {
  const nowMs = context.now.wall;
  await tx.deleteFrom('network_changes').execute();
  const networks = await tx
    .updateTable('networks')
    .set((eb) => ({
      revision: eb(
        eb.case().when('revision', '>', nowMs).then(eb.ref('revision')).else(nowMs).end(),
        '+',
        step,
      ),
    }))
    .returning(['network_id as network', 'revision'])
    .execute();
  for (const row of await issuable(tx).execute())
    await issueMembership(tx, context, row, row, row.revision);
  const events = networks.map((network) => ({ kind: 'out-of-step', ...network }) as const);
  return { value: networks.length, events };
}
