import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { Change } from '#wire/control.ts';
import {
  keyOf,
  ownSide,
  TestCluster,
  type TestDevice,
  testDevice,
} from '../../../test/support/cluster.ts';
import { wallMs } from '../time.ts';
import { maxDeletions } from './deletions.ts';
import { Mesh } from './mesh.ts';

const day = 86_400_000;
const now = 1_800_000_000_000;
const net = '100-000-001';
const net2 = '100-000-002';
const [alice, bob, carol] = [testDevice(1, 'alice'), testDevice(2, 'bob'), testDevice(3, 'carol')];

function meshOf(device: TestDevice, cluster: TestCluster, ...networks: string[]): Mesh {
  const mesh = new Mesh({ crypto, clusterKey: cluster.key, own: ownSide(device) });
  for (const network of networks) mesh.setSecret(network, keyOf(network));
  return mesh;
}

function twoMembers() {
  const cluster = new TestCluster(now);
  const mesh = meshOf(alice, cluster, net);
  mesh.applyView(cluster.view(net, [cluster.member(net, alice), cluster.member(net, bob)]));
  return { cluster, mesh };
}

const pairIds = (mesh: Mesh, time = now) => [...mesh.pairs(wallMs(time)).keys()];
const delta = (changes: Change[], from = 1, network = net) => ({
  t: 'delta' as const,
  network,
  from,
  to: from + 1,
  changes,
});

test('a view of two members makes one pair with keys, addresses and the common secret', () => {
  const { mesh } = twoMembers();
  const pair = mesh.pairs(wallMs(now)).get(bob.clientId);
  assert.deepEqual(pair?.tunnelKey, bob.tunnelKey);
  assert.deepEqual([pair?.ipv4, pair?.ipv6], [bob.ipv4, bob.ipv6]);
  assert.deepEqual(pair?.views, [{ secrets: [keyOf(net)], epoch: 1 }]);
  assert.equal(pair?.verdict, 'establish');
  assert.equal(mesh.faults.size, 0);
});

test('nothing that is not signed, dated and consistent as it must be becomes a pair', async (t) => {
  const cluster = new TestCluster(now);
  const mallory = testDevice(66, 'mallory');
  const edited = (bytes: Uint8Array) => {
    const copy = bytes.slice();
    copy[copy.length - 1]! ^= 1;
    return copy;
  };
  const cases: [string, string | undefined, () => Parameters<TestCluster['member']>[2]][] = [
    ['certificate of random bytes', 'certificate-malformed', () => ({ certificate: keyOf('x') })],
    [
      'certificate signed by another identity',
      'certificate-forged',
      () => ({ certificate: cluster.certificate(bob, {}, mallory.seed) }),
    ],
    [
      'certificate with an edited signature',
      'certificate-forged',
      () => ({ certificate: edited(cluster.certificate(bob)) }),
    ],
    [
      'certificate of another identity than the membership',
      'membership-of-another',
      () => ({ certificate: cluster.certificate(mallory) }),
    ],
    [
      'certificate that has expired',
      'certificate-expired',
      () => ({ certificate: cluster.certificate(bob, { notAfter: now - 1 }) }),
    ],
    [
      'certificate with this client’s own tunnel key',
      'tunnel-key-clash',
      () => ({ certificate: cluster.certificate(bob, { tunnelKey: alice.tunnelKey }) }),
    ],
    ['statement of random bytes', 'membership-malformed', () => ({ statement: keyOf('x') })],
    [
      'statement not signed by the cluster',
      'membership-forged',
      () => ({ statement: cluster.statement(net, bob, {}, bob.seed) }),
    ],
    [
      'revocation in place of a statement',
      'membership-malformed',
      () => ({ statement: cluster.revocation(net, bob) }),
    ],
    [
      'statement for another network',
      'membership-of-another',
      () => ({ statement: cluster.statement(net2, bob) }),
    ],
    [
      'statement for another client id',
      'membership-of-another',
      () => ({ statement: cluster.statement(net, bob, { clientId: carol.clientId }) }),
    ],
    [
      'addresses that do not belong together',
      'addresses-inconsistent',
      () => ({ statement: cluster.statement(net, bob, { ipv6: carol.ipv6 }) }),
    ],
    [
      'the address of this client',
      'address-clash',
      () => ({
        statement: cluster.statement(net, bob, { ipv4: alice.ipv4, ipv6: alice.ipv6 }),
      }),
    ],
    [
      'membership that has expired',
      undefined,
      () => ({ statement: cluster.statement(net, bob, { notAfter: now - 1 }) }),
    ],
    [
      'membership that begins tomorrow',
      undefined,
      () => ({ statement: cluster.statement(net, bob, { notBefore: now + day }) }),
    ],
    [
      'role that is not known',
      undefined,
      () => ({ statement: cluster.statement(net, bob, { role: 'hub' }) }),
    ],
  ];
  for (const [name, fault, change] of cases) {
    await t.test(name, () => {
      const mesh = meshOf(alice, cluster, net);
      mesh.applyView(
        cluster.view(net, [cluster.member(net, alice), cluster.member(net, bob, change())]),
      );
      assert.deepEqual(pairIds(mesh), []);
      assert.deepEqual([...mesh.faults.keys()], fault === undefined ? [] : [fault]);
    });
  }
});

test('expiry ends a pair, and so does the expiry of the own membership', () => {
  const { cluster, mesh } = twoMembers();
  assert.deepEqual(pairIds(mesh, now + 7 * day), [bob.clientId]);
  assert.deepEqual(pairIds(mesh, now + 7 * day + 1), []);
  const statement = cluster.statement(net, bob, { notAfter: now + 30 * day });
  mesh.applyDelta(delta([{ op: 'member', member: cluster.member(net, bob, { statement }) }]));
  assert.deepEqual(pairIds(mesh, now + 7 * day), [bob.clientId]);
  assert.deepEqual(pairIds(mesh, now + 7 * day + 1), []);
});

test('a delta that continues the revision held is applied, one that does not asks for the view once', () => {
  const { cluster, mesh } = twoMembers();
  const member = cluster.member(net, carol);
  assert.deepEqual(mesh.applyDelta(delta([{ op: 'member', member }], 3)).resync, [net]);
  assert.deepEqual(mesh.applyDelta(delta([{ op: 'member', member }], 4)).resync, []);
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
  assert.deepEqual(mesh.known(), []);
  mesh.applyView(cluster.view(net, [cluster.member(net, alice)], { revision: 5 }));
  assert.deepEqual(pairIds(mesh), []);
  assert.deepEqual(mesh.applyDelta(delta([{ op: 'member', member }], 5)).resync, []);
  assert.deepEqual(pairIds(mesh), [carol.clientId]);
  assert.deepEqual(mesh.known(), [{ network: net, revision: 6 }]);
  assert.deepEqual(mesh.applyDelta(delta([], 1, net2)).resync, [net2]);
});

test('a delta in the time until the asked-for view comes changes nothing', () => {
  const { cluster, mesh } = twoMembers();
  mesh.applyDelta(delta([], 7));
  const member = cluster.member(net, carol);
  mesh.applyDelta(delta([{ op: 'member', member }], 1));
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
});

test('a revocation removes the member, and older memberships never bring it back', () => {
  const { cluster, mesh } = twoMembers();
  const old = cluster.member(net, bob);
  const revocation = cluster.revocation(net, bob);
  mesh.applyDelta(delta([{ op: 'gone', clientId: bob.clientId, revocation }]));
  assert.deepEqual(pairIds(mesh), []);
  mesh.applyDelta(delta([{ op: 'member', member: old }], 2));
  assert.deepEqual(pairIds(mesh), []);
  assert.equal(mesh.faults.get('membership-revoked'), 1);
  mesh.applyDelta(delta([{ op: 'member', member: cluster.member(net, bob) }], 3));
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
});

test('a revocation that is forged, of another network or of another member removes nobody', () => {
  for (const [make, fault] of [
    [(c: TestCluster) => c.revocation(net, bob, {}, bob.seed), 'revocation-forged'],
    [(c: TestCluster) => c.revocation(net2, bob), 'revocation-of-another'],
    [(c: TestCluster) => c.revocation(net, carol), 'revocation-of-another'],
    [() => keyOf('noise'), 'revocation-malformed'],
  ] as const) {
    const { cluster, mesh } = twoMembers();
    const revocation = make(cluster);
    mesh.applyDelta(delta([{ op: 'gone', clientId: bob.clientId, revocation }]));
    assert.deepEqual(pairIds(mesh), [bob.clientId]);
    assert.deepEqual([...mesh.faults.keys()], [fault]);
  }
});

test('serials only go up: an older certificate or membership does not replace a newer one', () => {
  const { cluster, mesh } = twoMembers();
  const older = cluster.statement(net, bob, { serial: 0, notAfter: now + 99 * day });
  const newTunnelKey = keyOf('newer');
  mesh.applyDelta(
    delta([
      {
        op: 'member',
        member: cluster.member(net, bob, {
          certificate: cluster.certificate(bob, { serial: 2, tunnelKey: newTunnelKey }),
        }),
      },
      { op: 'member', member: cluster.member(net, bob) },
      { op: 'member', member: cluster.member(net, bob, { statement: older, nick: 'Bobby' }) },
    ]),
  );
  const pair = mesh.pairs(wallMs(now)).get(bob.clientId);
  assert.deepEqual(pair?.tunnelKey, newTunnelKey);
  assert.equal(pair?.nick, 'Bobby');
  assert.equal(mesh.faults.get('certificate-stale'), 1);
  assert.equal(mesh.faults.get('membership-stale'), 1);
  assert.deepEqual(pairIds(mesh, now + 30 * day), []);
});

test('presence decides between establish and maintain; going offline oneself ends all pairs', () => {
  const { mesh } = twoMembers();
  const presence = (value: 'online' | 'unconfirmed' | 'offline') =>
    mesh.applyPresence({
      t: 'presence',
      network: net,
      clientId: bob.clientId,
      presence: value,
    });
  const verdict = () => mesh.pairs(wallMs(now)).get(bob.clientId)?.verdict;
  presence('unconfirmed');
  assert.equal(verdict(), 'establish');
  presence('offline');
  assert.equal(verdict(), 'maintain');
  mesh.applyDelta({ ...delta([]), active: false });
  assert.equal(verdict(), undefined);
});

test('two common networks give one pair whose views keep the earlier ones, newest first, at most four', () => {
  const { cluster, mesh } = twoMembers();
  const views = () => mesh.pairs(wallMs(now)).get(bob.clientId)?.views ?? [];
  assert.equal(views().length, 1);
  mesh.setSecret(net2, keyOf(net2));
  mesh.applyView(cluster.view(net2, [cluster.member(net2, alice), cluster.member(net2, bob)]));
  assert.deepEqual(views()[0], { secrets: [keyOf(net), keyOf(net2)], epoch: 2 });
  assert.deepEqual(views()[1], { secrets: [keyOf(net)], epoch: 1 });
  for (let epoch = 2; epoch < 9; epoch++) {
    const facts = { ...cluster.view(net2, []).facts, epoch };
    mesh.applyDelta(delta([{ op: 'facts', facts }], epoch - 1, net2));
    assert.equal(views()[0]?.epoch, epoch + 1);
  }
  assert.equal(views().length, 4);
  mesh.applyRemoved({ network: net2, reason: 'left' });
  assert.deepEqual(views()[0], { secrets: [keyOf(net)], epoch: 1 });
});

test('going offline in a network changes who may talk but not the pre-shared key', () => {
  const { cluster, mesh } = twoMembers();
  mesh.setSecret(net2, keyOf(net2));
  mesh.applyView(cluster.view(net2, [cluster.member(net2, alice), cluster.member(net2, bob)]));
  const before = mesh.pairs(wallMs(now)).get(bob.clientId)?.views;
  mesh.applyDelta({ ...delta([], 1, net2), active: false });
  const pair = mesh.pairs(wallMs(now)).get(bob.clientId);
  assert.deepEqual(pair?.views, before);
  assert.equal(pair?.verdict, 'establish');
});

test('a network without its secret, or one that waits for approval, makes no pair', () => {
  const cluster = new TestCluster(now);
  const members = [cluster.member(net, alice), cluster.member(net, bob)];
  const mesh = meshOf(alice, cluster);
  mesh.applyView(cluster.view(net, members));
  assert.deepEqual(pairIds(mesh), []);
  mesh.setSecret(net, keyOf(net));
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
  mesh.applyView(cluster.view(net, members, { state: 'pending' }));
  assert.deepEqual(pairIds(mesh), []);
});

test('of two identities with one address the newer statement holds', () => {
  const { cluster, mesh } = twoMembers();
  const clash = { ipv4: bob.ipv4, ipv6: bob.ipv6, notBefore: now + 1 };
  const statement = cluster.statement(net, carol, clash);
  mesh.applyDelta(delta([{ op: 'member', member: cluster.member(net, carol, { statement }) }]));
  assert.deepEqual(pairIds(mesh), [carol.clientId]);
  assert.equal(mesh.faults.get('address-clash'), 1);
});

test('a tunnel key that another member already has stays with the one who showed it first', () => {
  const { cluster, mesh } = twoMembers();
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
  const certificate = cluster.certificate(carol, { tunnelKey: bob.tunnelKey });
  mesh.applyView(
    cluster.view(net, [
      cluster.member(net, carol, { certificate }),
      cluster.member(net, alice),
      cluster.member(net, bob),
    ]),
  );
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
  assert.equal(mesh.faults.get('tunnel-key-clash'), 1);
});

test('synchronisation drops what the server does not name and asks for what is missing', () => {
  const { mesh } = twoMembers();
  const outcome = mesh.applySynchronised({ t: 'synchronised', networks: [net2] });
  assert.deepEqual(outcome.resync, [net2]);
  assert.deepEqual(outcome.removed, [{ network: net, reason: 'gone' }]);
  assert.equal(mesh.networks.size, 0);
  assert.equal(mesh.secrets.size, 0);
});

test('a saved mesh loads with everything verified again and presence unconfirmed', () => {
  const { cluster, mesh } = twoMembers();
  const revocation = cluster.revocation(net, carol);
  mesh.applyDelta(delta([{ op: 'gone', clientId: carol.clientId, revocation }]));
  const saved = [mesh.save(net)!];
  const loaded = meshOf(alice, cluster, net);
  loaded.load(saved);
  assert.deepEqual(loaded.known(), [{ network: net, revision: 2 }]);
  assert.equal(loaded.pairs(wallMs(now)).get(bob.clientId)?.presence, 'unconfirmed');
  assert.equal(loaded.networks.get(net)?.revocations.size, 1);

  const stranger = meshOf(alice, new TestCluster(now), net);
  saved[0]!.view.members[1]!.statement[40]! ^= 1;
  stranger.load(saved);
  assert.deepEqual(pairIds(stranger), []);
});

test('a reconnect in the middle of a resync asks for the whole view at login', () => {
  const { mesh } = twoMembers();
  mesh.applyDelta(delta([], 9));
  mesh.connectionRenewed();
  assert.deepEqual(mesh.known(), [{ network: net, revision: 0 }]);
});

test('a deleted network does not come back by statements from before, only by later ones', () => {
  const { cluster, mesh } = twoMembers();
  const earlier = [cluster.member(net, alice), cluster.member(net, bob)];
  const saved = mesh.save(net)!;
  const deletion = cluster.deletion(net);
  assert.ok(mesh.applyRevocation(deletion));
  assert.equal(mesh.networks.size, 0);
  assert.ok(mesh.isRevocationKnown(deletion));
  mesh.setSecret(net, keyOf(net));
  mesh.applyView(cluster.view(net, earlier));
  assert.deepEqual(pairIds(mesh), []);
  assert.equal(mesh.faults.get('membership-revoked'), 2);
  const again = meshOf(alice, cluster, net);
  again.load([saved], undefined, [deletion]);
  assert.equal(again.networks.size, 0);
  const later = [cluster.member(net, alice), cluster.member(net, bob)];
  mesh.applyView(cluster.view(net, later));
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
  assert.equal(mesh.applyRevocation(deletion), undefined, 'nor is it deleted once more');
});

test('deletions are bounded, and only those of networks held are taken', () => {
  const { cluster, mesh } = twoMembers();
  assert.equal(mesh.applyRevocation(cluster.deletion(net2)), undefined);
  const many = Array.from({ length: maxDeletions + 10 }, (_, i) =>
    cluster.deletion(`200-000-${String(i).padStart(3, '0')}`),
  );
  mesh.load([], undefined, many);
  assert.equal([...mesh.deletions].length, maxDeletions);
});

test('revocations of a view are believed when they are signed, of this network, and later than the statement', () => {
  const { cluster, mesh } = twoMembers();
  const old = cluster.revocation(net, bob, { serial: 0 });
  const members = [cluster.member(net, alice), cluster.member(net, bob)];
  const refused = [cluster.revocation(net, bob, {}, alice.seed), cluster.revocation(net2, bob)];
  mesh.applyView(cluster.view(net, members, { revocations: [...refused, old] }));
  assert.deepEqual(pairIds(mesh), [bob.clientId]);
  assert.equal(mesh.faults.get('revocation-forged'), 1);
  const later = cluster.revocation(net, bob);
  mesh.applyView(cluster.view(net, members, { revocations: [later] }));
  assert.deepEqual(pairIds(mesh), []);
  assert.ok(mesh.isRevocationKnown(later), 'and is kept');
  assert.deepEqual(mesh.save(net)!.revocations, [later]);
});
