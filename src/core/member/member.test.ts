import assert from 'node:assert/strict';
import { test } from 'node:test';
import { keyOf, type TestDevice, testDevice } from '../../../test/support/cluster.ts';
import {
  arrives,
  type MemberNode,
  MemberRig,
  net,
  rigOf,
  secretsOf,
} from '../../../test/support/member-rig.ts';

const net2 = '100-000-002';
const [alice, bob, carol] = [testDevice(1, 'alice'), testDevice(2, 'bob'), testDevice(3, 'carol')];

const pathKind = (from: MemberNode, to: TestDevice) => {
  const peer = from.member.manager.peers.byClientId(to.clientId);
  return peer && from.member.manager.pathView(peer).kind;
};
const isUp = (from: MemberNode, to: TestDevice) => {
  const peer = from.member.manager.peers.byClientId(to.clientId);
  return peer !== undefined && from.member.manager.isUp(peer);
};

test('two members of a network have a tunnel both ways soon after login', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  assert.equal(pathKind(nodes[0], bob), 'direct');
  assert.ok(isUp(nodes[0], bob) && isUp(nodes[1], alice));
  assert.ok(arrives(rig, nodes[0], nodes[1], 1000));
  assert.ok(arrives(rig, nodes[1], nodes[0], 1000));
});

test('the same seed gives the same bytes on the wire', () => {
  const run = () => {
    const { rig, nodes } = rigOf([alice, bob, carol], 'again');
    rig.clock.run(3000);
    arrives(rig, nodes[0], nodes[1], 1000);
    return rig.wire.map(({ from, bytes }) => `${from} ${Buffer.from(bytes).toString('hex')}`);
  };
  const first = run();
  assert.ok(first.length > 20);
  assert.deepEqual(run(), first);
});

test('what is sent to a member before there is a tunnel brings one about', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  assert.ok(arrives(rig, nodes[0], nodes[1], 5000));
});

test('an evicted member loses its tunnels at once', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  rig.clock.run(4000);
  const changes = [
    {
      op: 'gone' as const,
      clientId: bob.clientId,
      revocation: rig.cluster.revocation(net, bob),
    },
  ];
  nodes[0].fromServer({ t: 'delta', network: net, from: 1, to: 2, changes });
  nodes[1].fromServer({ t: 'removed', network: net, reason: 'evicted' });
  rig.clock.run(20);
  assert.equal(pathKind(nodes[0], bob), undefined);
  assert.equal(nodes[0].peers.size, 1);
  assert.equal(nodes[1].peers.size, 0);
  assert.equal(nodes[1].member.secrets.size, 0);
  assert.ok(
    nodes[1].outputs.some((out) => out.type === 'forget-network' && out.reason === 'evicted'),
  );
  assert.ok(!arrives(rig, nodes[1], nodes[0], 2000));
});

test('tunnels stay when the server is lost, and data keeps flowing', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  for (const node of nodes) node.disconnect();
  rig.clock.run(300_000);
  assert.ok(arrives(rig, nodes[0], nodes[1], 1000));
  assert.ok(arrives(rig, nodes[1], nodes[0], 1000));
});

test('a member that is shown as offline keeps its tunnel while it answers, and loses it when it does not', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  nodes[1].disconnect();
  rig.presence(net, bob.clientId, 'unconfirmed');
  rig.clock.run(60_000);
  rig.presence(net, bob.clientId, 'offline');
  rig.clock.run(60_000);
  assert.ok(
    arrives(rig, nodes[0], nodes[1], 1000),
    'it answers its peer, only the server is cut off',
  );
  rig.passes = () => false;
  rig.clock.run(60_000);
  assert.equal(nodes[0].peers.size, 0);
});

test('a peer that logs out is dropped soon after the server says so', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  rig.passes = () => false;
  rig.presence(net, bob.clientId, 'offline');
  rig.clock.run(10_000);
  assert.equal(nodes[0].peers.size, 0);
});

test('going offline in a network ends its tunnels at once, coming back restores them', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  const active = (value: boolean, from: number) =>
    nodes[0].fromServer({
      t: 'delta',
      network: net,
      ...{ from, to: from + 1, changes: [], active: value },
    });
  active(false, 1);
  rig.clock.run(20);
  assert.equal(nodes[0].peers.size, 0);
  active(true, 2);
  rig.clock.run(4000);
  assert.ok(arrives(rig, nodes[0], nodes[1], 2000));
});

test('a restarted member gets its tunnel back within seconds', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  for (const [restarted, other] of [
    [nodes[1], nodes[0]],
    [nodes[0], nodes[1]],
  ] as const) {
    const timestamps = restarted.outputs.flatMap((out) =>
      out.type === 'save-timestamp' ? [out.timestamp] : [],
    );
    const lastTimestamp = timestamps.at(-1);
    restarted.restart({
      secrets: secretsOf(net),
      ...(lastTimestamp === undefined ? {} : { lastTimestamp }),
    });
    restarted.connect();
    rig.clock.run(5000);
    assert.ok(arrives(rig, restarted, other, 2000), `${restarted.device.name} sends`);
    assert.ok(arrives(rig, other, restarted, 2000), `${restarted.device.name} receives`);
  }
});

test('a restarted member that lost its state, and with it its timestamps, gets its tunnel back too', () => {
  for (const order of [0, 1]) {
    const { rig, nodes } = rigOf([alice, bob]);
    const [lost, other] = order === 0 ? nodes : ([nodes[1], nodes[0]] as const);
    // The clock was ahead when the tunnel was made: what is sent later looks like a recording.
    rig.clock.stepWall(600_000);
    rig.clock.run(4000);
    assert.ok(arrives(rig, lost, other, 1000));
    rig.clock.stepWall(-600_000);
    lost.disconnect();
    rig.presence(net, lost.device.clientId, 'offline');
    rig.clock.run(300);
    lost.restart({ secrets: secretsOf(net) });
    lost.connect();
    rig.presence(net, lost.device.clientId, 'online');
    rig.clock.run(8000);
    assert.ok(arrives(rig, lost, other, 1000), `${lost.device.name} sends`);
    assert.ok(arrives(rig, other, lost, 1000), `${lost.device.name} receives`);
  }
});

test('a second common network changes the keys without a gap, and the older view still opens the tunnel', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  const view = rig.cluster.view(net2, [
    rig.cluster.member(net2, alice),
    rig.cluster.member(net2, bob),
  ]);
  rig.setView(view);
  // One side hears of it, the other one not yet.
  const joins = (node: MemberNode) => {
    node.feed({ type: 'secret', network: net2, secret: keyOf(net2) });
    node.fromServer(view);
  };
  joins(nodes[0]);
  for (let minute = 0; minute < 5; minute++) {
    rig.clock.run(60_000);
    assert.ok(arrives(rig, nodes[0], nodes[1], 1000));
  }
  joins(nodes[1]);
  rig.clock.run(200_000);
  assert.ok(arrives(rig, nodes[0], nodes[1], 10_000));
  assert.ok(arrives(rig, nodes[1], nodes[0], 1000));
});

test('members with different secrets never share a tunnel, and say why', () => {
  const rig = new MemberRig();
  rig.setView(
    rig.cluster.view(net, [rig.cluster.member(net, alice), rig.cluster.member(net, bob)]),
  );
  const a = rig.add(alice, { secrets: secretsOf(net) });
  const b = rig.add(bob, { secrets: new Map([[net, keyOf('another')]]) });
  for (const node of [a, b]) node.connect();
  rig.clock.run(30_000);
  assert.ok(!arrives(rig, a, b, 3000));
  assert.ok(!arrives(rig, b, a, 3000));
  const failures = [a, b].flatMap((node) =>
    [...node.member.manager.peers.values()].map(({ failure }) => failure),
  );
  assert.ok(failures.includes('psk-mismatch'));
  assert.ok(
    [a, b].some((node) =>
      node.outputs.some((out) => out.type === 'send' && out.message.t === 'resync'),
    ),
  );
});

test('an expired membership ends a live tunnel, after a warning', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  const hour = 3_600_000;
  const notAfter = rig.cluster.now + 26 * hour;
  const changes = [alice, bob].map((device) => {
    const statement = rig.cluster.statement(net, device, { notAfter });
    return { op: 'member' as const, member: rig.cluster.member(net, device, { statement }) };
  });
  for (const node of nodes) node.fromServer({ t: 'delta', network: net, from: 1, to: 2, changes });
  rig.clock.run(4000);
  for (const node of nodes) node.disconnect();
  const warned = () =>
    nodes[0].outputs.some((out) => out.type === 'notice' && out.code === 'membership-ending');
  rig.clock.run(hour);
  assert.ok(!warned());
  rig.clock.run(24 * hour);
  assert.ok(warned());
  assert.equal(nodes[0].peers.size, 1);
  rig.clock.run(hour);
  assert.equal(nodes[0].peers.size, 0);
});

test('a wall clock set back by a year does not mute a member or revive what expired', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  rig.clock.stepWall(-365 * 86_400_000);
  rig.clock.run(300_000);
  assert.ok(arrives(rig, nodes[0], nodes[1], 2000));
  assert.ok(arrives(rig, nodes[1], nodes[0], 2000));
});

test('signals of strangers, and a server that invents members, have no effect', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(4000);
  const sealed = new Uint8Array(200);
  nodes[0].fromServer({ t: 'signal', from: carol.clientId, sealed });
  nodes[0].fromServer({ t: 'signal', from: bob.clientId, sealed });
  const forged = rig.cluster.member(net, carol, {
    statement: rig.cluster.statement(net, carol, {}, carol.seed),
  });
  const changes = [{ op: 'member' as const, member: forged }];
  nodes[0].fromServer({ t: 'delta', network: net, from: 1, to: 2, changes });
  rig.clock.run(1000);
  assert.equal(nodes[0].peers.size, 1);
  const counters = nodes[0].member.counters();
  assert.equal(counters['signal-from-stranger'], 1);
  assert.equal(counters['signal-forged'], 1);
  assert.equal(counters['mesh-membership-forged'], 1);
});

test('a missing secret is said only when it has not come with the answer to the join', () => {
  const rig = new MemberRig();
  rig.setView(rig.cluster.view(net, [rig.cluster.member(net, alice)]));
  const node = rig.add(alice);
  const told = () =>
    node.outputs.flatMap((out) =>
      'code' in out && out.code === 'secret-missing' ? [out.type] : [],
    );
  node.connect();
  rig.clock.run(1000);
  node.feed({ type: 'server', message: rig.view(net) });
  rig.clock.run(2000);
  assert.deepEqual(told(), []);
  rig.clock.run(10_000);
  assert.deepEqual([...new Set(told())], ['notice']);
  node.feed({ type: 'secret', network: net, secret: keyOf(net) });
  rig.clock.run(1000);
  assert.equal(told().at(-1), 'clear-notice');
});
