/** What a node tells when the database was asked between a commit and its being heard of. */
import assert from 'node:assert/strict';
import { beforeEach, test } from 'node:test';
import type { NetworkFacts, ServerMessage } from '#wire/control.ts';
import { Delivery } from './delivery.ts';
import { Directory } from './directory.ts';
import type { NetworkDelta, NetworkView, StoredMember } from './events.ts';

const network = '100-000-000';
const [anna, bert] = ['100-000-001', '100-000-002'];
const facts: NetworkFacts = {
  ...({ name: 'lan', type: 'mesh', owner: anna, locked: false } as const),
  ...({ approval: 'auto', hasPassword: false, epoch: 1 } as const),
};
const bytes = new Uint8Array(1);
const member = (clientId: string): StoredMember => ({
  ...{ clientId, nick: 'x', certificate: bytes, statement: bytes },
  ...{ active: 1, node: 'node-2', connected: 1, serial: 1 },
});
const delta = (from: number, to: number, changes: NetworkDelta['changes']): NetworkDelta => ({
  ...{ network, from, to, changes, owner: anna },
});
const gone = { op: 'gone', clientId: bert, revocation: bytes } as const;
const view = (revision: number, clients: readonly string[]): NetworkView => ({
  ...{ network, revision, state: 'member', active: true, facts, pending: [], revocations: [] },
  members: clients.map(member),
});

let directory: Directory;
let delivery: Delivery;
const told: [string, ServerMessage][] = [];
const behind: [string, boolean][] = [];
const outOfStep: string[] = [];

beforeEach(() => {
  for (const list of [told, behind, outOfStep]) list.length = 0;
  directory = new Directory();
  delivery = new Delivery(
    directory,
    (clientId) => directory.get(clientId)?.node === 'node-1',
    (clientId, message) => told.push([clientId, message]),
  );
  delivery.onBehind = (id, whole) => behind.push([id, whole]);
  delivery.onOutOfStep = (clientId) => outOfStep.push(clientId);
  const login = (clientId: string, node: string) =>
    directory.set(clientId, 'online', [], { node, serial: 1, identity: clientId, instance: '' });
  login(anna, 'node-1');
  login(bert, 'node-2');
});

test('an eviction that is heard of after the member is back does not take it out again', () => {
  delivery.deliver([{ kind: 'entered', client: anna, view: view(1, [anna, bert]) }]);
  directory.participate(bert, network, { state: 'member', active: true });
  behind.length = 0;
  // Revision 2 is the eviction by anna here, 3 the return at the other node.
  const changes = [{ op: 'member', member: member(bert) } as const];
  delivery.catchUp({
    network,
    from: 1,
    to: 3,
    events: [{ kind: 'delta', delta: delta(1, 3, changes) }],
  });
  delivery.deliver([
    { kind: 'removed', client: bert, network, why: { reason: 'evicted' } },
    { kind: 'delta', delta: delta(1, 2, [gone]) },
  ]);
  assert.equal(directory.presenceIn(network, bert), 'online');
  assert.deepEqual(behind, [[network, true]]);
  assert.equal(delivery.heads.get(network), 3);
});

test('who joined here and is evicted elsewhere before that is heard of needs to be told', () => {
  directory.set('100-000-003', 'online', [{ network, state: 'member', active: true }], {
    ...{ node: 'node-1', serial: 1, identity: 'c', instance: '' },
  });
  delivery.entered('100-000-003', network, 1, true);
  behind.length = 0;
  delivery.catchUp({
    network,
    from: 1,
    to: 3,
    events: [{ kind: 'delta', delta: delta(1, 3, [gone]) }],
  });
  delivery.deliver([{ kind: 'entered', client: anna, view: view(2, [anna, '100-000-003']) }]);
  assert.deepEqual(outOfStep, [anna]);
  assert.deepEqual(behind, [[network, true]]);
});

test('what happens in order is told, and nothing is asked', () => {
  delivery.deliver([{ kind: 'entered', client: anna, view: view(1, [anna, bert]) }]);
  directory.participate(bert, network, { state: 'member', active: true });
  behind.length = 0;
  delivery.deliver([
    { kind: 'removed', client: bert, network, why: { reason: 'evicted' } },
    { kind: 'delta', delta: delta(1, 2, [gone]) },
  ]);
  assert.equal(directory.presenceIn(network, bert), 'offline');
  assert.deepEqual([behind, outOfStep], [[], []]);
  const [to, last] = told.at(-1)!;
  assert.deepEqual([to, last.t], [anna, 'delta']);
});

test('what the database said before a commit of this node does not undo it', () => {
  delivery.deliver([{ kind: 'entered', client: anna, view: view(1, [anna]) }]);
  // Revision 2 is another node's and not known yet; 3: carl joins here, 4: bert is evicted here.
  const carl = '100-000-003';
  const whereabouts = { node: 'node-1', serial: 1, identity: 'c', instance: '' };
  directory.set(carl, 'online', [], whereabouts);
  directory.participate(bert, network, { state: 'member', active: true });
  const joined = [{ op: 'member', member: member(carl) } as const];
  delivery.deliver([
    { kind: 'entered', client: carl, view: view(3, [anna, bert, carl]) },
    { kind: 'delta', delta: delta(2, 3, joined), except: carl },
  ]);
  delivery.deliver([
    { kind: 'removed', client: bert, network, why: { reason: 'evicted' } },
    { kind: 'delta', delta: delta(3, 4, [gone]) },
  ]);
  told.length = 0;
  delivery.catchUp({
    ...{ network, from: 1, to: 2 },
    events: [
      { kind: 'removed', client: carl, network, why: { reason: 'rejected' } },
      { kind: 'participates', client: bert, network, state: 'member', active: true },
    ],
  });
  assert.equal(directory.presenceIn(network, carl), 'online');
  assert.equal(directory.presenceIn(network, bert), 'offline');
  assert.deepEqual(told, []);
  assert.equal(delivery.heads.get(network), 2);
  const later = {
    kind: 'participates',
    client: bert,
    network,
    state: 'member',
    active: true,
  } as const;
  delivery.catchUp({ network, from: 2, to: 5, events: [later] });
  assert.equal(directory.presenceIn(network, bert), 'online', 'it has come back since');
});
