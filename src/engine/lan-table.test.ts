import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LanTable, MAX_GROUPS_PER_PEER } from './lan-table.ts';
import { parsePrefix } from './prefix-table.ts';

const groups = ['239.1.1.1', '239.1.1.2', '224.1.1.1', 'ff15::1', 'ff15::2', 'ff15:1::1'];

function members(table: LanTable, group: string): number[] {
  const { family, words } = parsePrefix(group)!;
  return table.members(family, Int32Array.of(7, ...words), 1).toSorted();
}

/** What the table is to do, in the simplest way. */
class Model {
  readonly peers = new Map<number, { ethernet: boolean; groups: readonly string[] | 'all' }>();

  who(matches: (peer: { ethernet: boolean; groups: readonly string[] | 'all' }) => boolean) {
    return [...this.peers].flatMap(([peer, one]) => (matches(one) ? [peer] : [])).toSorted();
  }
}

test('whatever peers come, go and report, each gets what it is to get', () => {
  const peer = fc.nat(5);
  const wanted = fc.oneof(fc.subarray(groups), fc.constant('all' as const));
  const step = fc.oneof(
    fc.record({ what: fc.constant('add' as const), peer }),
    fc.record({ what: fc.constant('remove' as const), peer }),
    fc.record({ what: fc.constant('set' as const), peer, ethernet: fc.boolean(), groups: wanted }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      const table = new LanTable();
      const model = new Model();
      for (const one of steps) {
        if (one.what === 'add') {
          table.addPeer(one.peer);
          const known = model.peers.get(one.peer);
          model.peers.set(one.peer, known ?? { ethernet: false, groups: 'all' });
        } else if (one.what === 'remove') {
          table.removePeer(one.peer);
          model.peers.delete(one.peer);
        } else {
          table.set(one.peer, one);
          if (model.peers.has(one.peer)) model.peers.set(one.peer, one);
        }
        assert.deepEqual(
          table.everybody.toSorted(),
          model.who(() => true),
        );
        assert.deepEqual(
          table.unfiltered.toSorted(),
          model.who((other) => other.groups === 'all'),
        );
        assert.deepEqual(
          table.ethernet.toSorted(),
          model.who((other) => other.ethernet),
        );
        for (const group of groups) {
          const joined = model.who((o) => o.groups !== 'all' && o.groups.includes(group));
          assert.deepEqual(members(table, group), joined, group);
        }
      }
    }),
  );
});

test('a peer with too many groups gets all, and one that names a group twice gets it once', () => {
  const table = new LanTable();
  table.addPeer(1);
  const many = Array.from(
    { length: MAX_GROUPS_PER_PEER + 1 },
    (_, i) => `239.1.${i >> 8}.${i & 255}`,
  );
  table.set(1, { ethernet: false, groups: many.slice(1) });
  assert.deepEqual([table.unfiltered, members(table, '239.1.0.1')], [[], [1]]);
  table.set(1, { ethernet: false, groups: many });
  assert.deepEqual([table.unfiltered, members(table, '239.1.0.1')], [[1], []]);
  table.set(1, { ethernet: false, groups: ['239.1.1.1', '239.1.1.1'] });
  assert.deepEqual(members(table, '239.1.1.1'), [1]);
});
