/**
 * Networks that clients of a cluster make, lock, unlock and delete while it is in trouble: each that was acknowledged is there once, as
 * its owner last had it, until its deletion is acknowledged; nothing else is there.
 */
import assert from 'node:assert/strict';
import type { Store } from '#server/store/store.ts';
import type { Random } from '../../sim/random.ts';
import type { LinkClient } from './cluster-world.ts';

interface Made {
  readonly name: string;
  readonly owner: LinkClient;
  /** Undefined: whether it was made is not known. */
  id: string | undefined;
  /** What `locked` may be: what was acknowledged last, and what was asked since without an answer. */
  locked: Set<boolean>;
  deletion: 'none' | 'unknown' | 'acknowledged';
}

/** `server-storage` means that nothing was done, but for a commit that nobody could be asked about. */
export const isUnknown = (answer: string): boolean =>
  answer === 'unknown' || answer === 'server-storage';

export class MadeNetworks {
  readonly #made: Made[] = [];

  async operate(client: LinkClient, random: Random): Promise<void> {
    const mine = this.#made.filter(
      ({ owner, id, deletion }) => owner === client && id !== undefined && deletion === 'none',
    );
    const network = mine.length === 0 || random.float() < 0.4 ? undefined : random.pick(mine);
    if (network === undefined) await this.#create(client);
    else if (random.float() < 0.4) await this.#delete(network);
    else await this.#lock(network, random.float() < 0.5);
  }

  async #create(owner: LinkClient): Promise<void> {
    const name = `made ${this.#made.length}`;
    const made: Made = { name, owner, id: undefined, locked: new Set([false]), deletion: 'none' };
    this.#made.push(made);
    const answer = await owner.create(name);
    if (isUnknown(answer) || answer === 'rate-limited') return;
    assert.match(answer, /^[0-9]{3}-[0-9]{3}-[0-9]{3}$/, `${name}: ${answer}`);
    made.id = answer;
  }

  async #lock(made: Made, locked: boolean): Promise<void> {
    const answer = await made.owner.request({ op: 'set-access', network: made.id!, locked });
    if (answer === made.id) made.locked = new Set([locked]);
    else if (isUnknown(answer)) made.locked.add(locked);
    else assert.fail(`${made.name} was made, and its owner is told ${answer}`);
  }

  async #delete(made: Made): Promise<void> {
    made.deletion = 'unknown';
    const answer = await made.owner.request({ op: 'delete', network: made.id! });
    if (isUnknown(answer)) return;
    made.deletion = 'acknowledged';
    assert.ok(
      answer === 'ok' || answer === made.id,
      `${made.name} was made, and its owner is told ${answer}`,
    );
  }

  /** @param others networks that were there before, by name. Returns how much that was. */
  async check(store: Store, others: ReadonlyMap<string, string>): Promise<string> {
    const rows = await store.db
      .selectFrom('networks')
      .select(['network_id', 'name', 'owner', 'locked'])
      .execute();
    const left = new Map(rows.map((row) => [row.name, row]));
    assert.equal(left.size, rows.length, 'no name is there twice');
    for (const name of others.keys()) assert.ok(left.delete(name), name);
    for (const { name, owner, id, locked, deletion } of this.#made) {
      const row = left.get(name);
      left.delete(name);
      const what = `${name} of ${owner.name}, ${id ?? 'not answered'}, deletion ${deletion}`;
      if (id !== undefined && deletion === 'none')
        assert.ok(row !== undefined, `${what} is not there`);
      if (deletion === 'acknowledged') assert.equal(row, undefined, `${what} is there`);
      if (row === undefined) continue;
      assert.equal(row.owner, owner.clientId, what);
      if (id !== undefined) assert.equal(row.network_id, id, what);
      assert.ok(locked.has(row.locked === 1), `${what}: locked is ${row.locked}`);
    }
    assert.deepEqual([...left.keys()], [], 'nobody made these');
    const acknowledged = this.#made.filter(({ id }) => id !== undefined).length;
    const deleted = this.#made.filter(({ deletion }) => deletion === 'acknowledged').length;
    return `${acknowledged} networks made, ${deleted} of them deleted, ${this.#made.length - acknowledged} not answered`;
  }
}
