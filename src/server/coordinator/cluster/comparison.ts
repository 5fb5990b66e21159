/**
 * This node against the database: who is connected where, and what happened to the networks that its clients take part in. Mostly
 * only what has changed since the last time is read; now and then, and at first, everybody.
 */
import type { MonotonicMs, Now, WallMs } from '#core/time.ts';
import { idGroups } from '../../store/id-groups.ts';
import type { Db } from '../../store/schema.ts';
import type { CaughtUp } from '../delivery.ts';
import type { Hub } from '../hub.ts';
import { compareWhollyMs, maxClockDifferenceMs } from '../limits.ts';
import { type ParticipatingByClient, participationsOfMany } from '../sync.ts';
import { catchUp } from './catch-up.ts';
import { toldByEvents } from './news.ts';
import { changedSince, connectedTo, type Sighting, sightingsOf } from './node-store.ts';

export interface ComparisonParts {
  /** The database's word on a client of another node. */
  readonly sighted: (sighting: Sighting, networks: ParticipatingByClient, now: Now) => void;
  /** The client is in the database no more. */
  readonly expel: (clientId: string) => void;
}

interface Look {
  readonly sightings: readonly Sighting[];
  readonly networks: ParticipatingByClient;
  /** Clients that are not in the database; only of everybody it is known. */
  readonly missing: readonly string[];
}

/** Networks looked at in one transaction. */
const catchUpGroup = 64;

export class Comparison {
  readonly #hub: Hub;
  readonly #parts: ComparisonParts;
  /** Networks to be caught up; true: wholly. */
  readonly #behind = new Map<string, boolean>();
  #catchingUp = false;
  #failed = false;
  /** Nodes that live though that was doubted: of all their clients is read how they are. */
  readonly #back = new Set<string>();
  /** The last time that everybody was read, and the last time at all. */
  #wholeAt: MonotonicMs | undefined;
  #lastAt: WallMs | undefined;
  /** Of the database, as it was the last time. */
  #timeline: string | undefined;

  constructor(hub: Hub, parts: ComparisonParts) {
    this.#hub = hub;
    this.#parts = parts;
  }

  get isBehind(): boolean {
    return this.#behind.size > 0;
  }

  /** Whether the database could not be asked the last time. */
  get failed(): boolean {
    return this.#failed;
  }

  behind(network: string, whole: boolean): void {
    this.#behind.set(network, whole || this.#behind.get(network) === true);
  }

  /** The node lives though that was doubted. */
  isBack(node: string): void {
    this.#back.add(node);
  }

  /** Who is connected to which node. */
  async clients(now: Now): Promise<void> {
    const { node } = this.#hub.options;
    const isWhole = this.#wholeAt === undefined || now.monotonic - this.#wholeAt >= compareWhollyMs;
    const since = isWhole ? undefined : this.#lastAt;
    const back = [...this.#back];
    this.#back.clear();
    const { sightings, networks, missing } = await this.#look(since, back).catch((error) => {
      for (const id of back) this.#back.add(id);
      throw error;
    });
    this.#lastAt = now.wall;
    if (isWhole) this.#wholeAt = now.monotonic;
    for (const sighting of sightings) {
      if (sighting.node === node) continue;
      this.#parts.sighted(sighting, networks, now);
    }
    for (const clientId of missing) this.#parts.expel(clientId);
  }

  /**
   * Networks of which less was told here than the database holds, or something else: more was told than it holds when it has
   * lost commits, as a standby has that was behind when it took over.
   */
  async networksBehind(): Promise<string[]> {
    const { delivery, options } = this.#hub;
    const timeline = await options.store.timeline();
    if (this.#timeline !== undefined && timeline !== this.#timeline)
      for (const network of delivery.heads.keys()) delivery.distrust(network);
    this.#timeline = timeline;
    const behind: string[] = [];
    for (const some of idGroups([...delivery.heads.keys()])) {
      // What was told before the question has been committed before.
      const told = new Map(some.map((network) => [network, delivery.heads.get(network)]));
      const rows = await options.store.db
        .selectFrom('networks')
        .select(['network_id', 'revision'])
        .where('network_id', 'in', some)
        .execute();
      const revisions = new Map(rows.map(({ network_id, revision }) => [network_id, revision]));
      for (const network of some) {
        const head = told.get(network) ?? 0;
        const revision = revisions.get(network);
        if (revision !== undefined && head > revision) delivery.distrust(network);
        if (head !== revision) behind.push(network);
      }
    }
    return behind;
  }

  /** Tells what happened to the next few networks that are behind. */
  async catchUp(now: Now): Promise<void> {
    if (this.#catchingUp) return;
    const { delivery, options } = this.#hub;
    const work = [...this.#behind].slice(0, catchUpGroup);
    for (const [network] of work) this.#behind.delete(network);
    this.#catchingUp = true;
    this.#failed = false;
    try {
      const { result, news } = await options.store.read((tx) =>
        this.#hub.telling(tx, this.#caughtUp(tx, work), (results) =>
          results.flatMap((found) => ('why' in found ? [] : toldByEvents(found.events))),
        ),
      );
      this.#hub.heard(news, now);
      for (const caught of result)
        if (!delivery.catchUp(caught)) this.#behind.set(caught.network, true);
    } catch (error) {
      options.failed?.(error);
      for (const [network, whole] of work) this.behind(network, whole);
      this.#failed = true;
    } finally {
      this.#catchingUp = false;
    }
  }

  async #caughtUp(tx: Db, work: readonly (readonly [string, boolean])[]): Promise<CaughtUp[]> {
    const { delivery, directory, sessions } = this.#hub;
    const isHere = (clientId: string) => sessions.ofClient(clientId) !== undefined;
    const results: CaughtUp[] = [];
    for (const [network, whole] of work) {
      const head = delivery.heads.get(network);
      if (!delivery.isWatched(network)) delivery.forget(network);
      else if (head !== undefined)
        results.push(await catchUp(tx, { directory, isHere }, { network, head, whole }));
    }
    return results;
  }

  /** @param since undefined: everybody. @param back nodes of whose clients everybody is wanted. */
  async #look(since: WallMs | undefined, back: readonly string[]): Promise<Look> {
    const { directory, options } = this.#hub;
    return await options.store.read(async (tx) => {
      const { sightings, missing } =
        since === undefined
          ? await this.#everybody(tx)
          : { sightings: await changed(tx, since, back), missing: [] };
      const news = sightings
        .filter(
          ({ clientId, serial, connected: state }) =>
            state > 0 && (directory.get(clientId)?.serial ?? -1) < serial,
        )
        .map(({ clientId }) => clientId);
      return { sightings, networks: await participationsOfMany(tx, news), missing };
    });
  }

  async #everybody(tx: Db): Promise<Pick<Look, 'sightings' | 'missing'>> {
    const ids = [...this.#hub.directory.all()].map(({ clientId }) => clientId);
    const connected = await connectedTo(tx, undefined);
    const found = new Set(connected.map(({ clientId }) => clientId));
    const rest = await sightingsOf(
      tx,
      ids.filter((id) => !found.has(id)),
    );
    for (const { clientId } of rest) found.add(clientId);
    return {
      sightings: [...connected, ...rest],
      missing: ids.filter((id) => !found.has(id)),
    };
  }
}

async function changed(tx: Db, since: WallMs, back: readonly string[]): Promise<Sighting[]> {
  const late = await changedSince(tx, since - maxClockDifferenceMs);
  if (back.length === 0) return late;
  const known = new Set(late.map(({ clientId }) => clientId));
  const there = await connectedTo(tx, back);
  return [...late, ...there.filter(({ clientId }) => !known.has(clientId))];
}
