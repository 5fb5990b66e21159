/** What another node has done to a network: from the store, as the events that its own commit would have been here. */
import type { Db } from '../../store/schema.ts';
import type { CaughtUp } from '../delivery.ts';
import type { Directory } from '../directory.ts';
import type { CoordinatorEvent } from '../events.ts';
import { maxLoggedRevisions } from '../limits.ts';
import { deltaSince, viewFor } from '../revisions.ts';
import { whyDeleted, whyRemoved } from '../sync.ts';

export interface Behind {
  readonly network: string;
  /** Revision up to which everybody here was told. */
  readonly head: number;
  /** Also compares who is in it, whatever the log says. */
  readonly whole: boolean;
}

export interface Surroundings {
  readonly directory: Directory;
  /** Whether a client has a connection of this node, so that it needs the view. */
  readonly isHere: (clientId: string) => boolean;
}

interface Standing {
  readonly state: 'member' | 'pending';
  readonly active: boolean;
}

export async function catchUp(tx: Db, here: Surroundings, behind: Behind): Promise<CaughtUp> {
  const { network, head } = behind;
  const row = await tx
    .selectFrom('networks')
    .select('revision')
    .where('network_id', '=', network)
    .executeTakeFirst();
  if (row === undefined) return { network, why: await whyDeleted(tx, network) };
  const to = row.revision;
  const delta = to === head ? undefined : await deltaSince(tx, network, head);
  const whole = behind.whole || (to !== head && delta === undefined);
  const touched = whole ? undefined : await touchedSince(tx, network, head);
  const standings = await standingsOf(tx, network, touched);
  const { entered, activity } = await participations(tx, here, network, standings, touched);
  const told: CoordinatorEvent[] =
    to === head
      ? []
      : delta === undefined
        ? [{ kind: 'out-of-step', network, revision: to }]
        : [{ kind: 'delta', delta }];
  return { network, from: head, to, events: [...entered, ...told, ...activity] };
}

interface Touched {
  readonly clients: ReadonlySet<string>;
  /** Who waits may have changed: the log does not say who. */
  readonly waiting: boolean;
}

async function touchedSince(tx: Db, network: string, head: number): Promise<Touched> {
  const log = await tx
    .selectFrom('network_changes')
    .select(['kind', 'subject'])
    .where('network_id', '=', network)
    .where('revision', '>', head)
    .limit(4 * maxLoggedRevisions)
    .execute();
  const clients = log.filter(({ subject }) => subject !== '').map(({ subject }) => subject);
  return { clients: new Set(clients), waiting: log.some(({ kind }) => kind === 'pending') };
}

async function standingsOf(
  tx: Db,
  network: string,
  touched: Touched | undefined,
): Promise<Map<string, Standing>> {
  const standings = new Map<string, Standing>();
  if (touched === undefined || touched.waiting) {
    const requests = await tx
      .selectFrom('join_requests')
      .select('client_id')
      .where('network_id', '=', network)
      .execute();
    for (const { client_id } of requests)
      standings.set(client_id, { state: 'pending', active: false });
  }
  if (touched !== undefined && touched.clients.size === 0) return standings;
  let query = tx
    .selectFrom('memberships')
    .select(['client_id', 'active'])
    .where('network_id', '=', network);
  if (touched !== undefined) query = query.where('client_id', 'in', [...touched.clients]);
  for (const { client_id, active } of await query.execute())
    standings.set(client_id, { state: 'member', active: active === 1 });
  return standings;
}

async function participations(
  tx: Db,
  { directory, isHere }: Surroundings,
  network: string,
  standings: ReadonlyMap<string, Standing>,
  touched: Touched | undefined,
) {
  const entered: CoordinatorEvent[] = [];
  const activity: CoordinatorEvent[] = [];
  const concerned = new Set(standings.keys());
  for (const client of touched?.clients ?? []) concerned.add(client);
  for (const { clientId, networks } of directory.presentIn(network)) {
    const waits = networks.get(network)?.state === 'pending';
    if (touched === undefined || (touched.waiting && waits)) concerned.add(clientId);
  }
  for (const client of concerned) {
    const present = directory.get(client);
    if (present === undefined) continue;
    const before = present.networks.get(network);
    const standing = standings.get(client);
    if (standing === undefined) {
      // Who waits is only known to have gone when the list of those was read.
      if (before === undefined || (before.state === 'pending' && touched?.waiting === false))
        continue;
      const why = await whyRemoved(tx, network, client);
      entered.push({ kind: 'removed', client, network, why });
    } else if (before?.state !== standing.state) {
      const { state, active } = standing;
      if (isHere(client)) {
        const view = await viewFor(tx, network, client, state, active);
        entered.push({ kind: 'entered', client, view });
      } else entered.push({ kind: 'participates', client, network, ...standing });
    } else if (before.active !== standing.active)
      activity.push({ kind: 'activity', client, network, active: standing.active });
  }
  return { entered, activity };
}
