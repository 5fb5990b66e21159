/** What members can do while no server answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type CarriedSignal, encodeCarriedSignal, encodeRevocations } from '#wire/carried.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import { type TestDevice, testDevice } from '../../../test/support/cluster.ts';
import {
  arrives,
  type MemberNode,
  MemberRig,
  net,
  rigOf,
  secretsOf,
} from '../../../test/support/member-rig.ts';

const dayMs = 86_400_000;
const net2 = '100-000-002';
const [alice, bob, carol] = [testDevice(1, 'alice'), testDevice(2, 'bob'), testDevice(3, 'carol')];

/** All others are behind a filter that lets in only those whom they have sent to within half a minute. */
function filter(rig: MemberRig, ...open: readonly MemberNode[]): void {
  const sentAt = new Map<string, number>();
  rig.passes = (from, to) => {
    const now = rig.clock.now.monotonic;
    sentAt.set(`${from.address} ${to.address}`, now);
    if (open.includes(to)) return true;
    const opened = sentAt.get(`${to.address} ${from.address}`);
    return opened !== undefined && now - opened < 30_000;
  };
}

/** Everything passes again, and what one sends the other arrives within a minute. */
function heal(rig: MemberRig, from: MemberNode, to: MemberNode): void {
  rig.passes = () => true;
  let healedMs = 0;
  while (!arrives(rig, from, to, 100)) {
    healedMs += 100;
    assert.ok(healedMs < 60_000);
  }
}

/** Starts it anew with what is on its disk. */
function restart(rig: MemberRig, node: MemberNode): void {
  const saved = node.member.saved(net);
  const lastTimestamp = node.outputs
    .flatMap((out) => (out.type === 'save-timestamp' ? [out.timestamp] : []))
    .at(-1);
  node.restart({
    secrets: secretsOf(net),
    networks: saved === undefined ? [] : [saved],
    ways: node.member.ways(rig.clock.now),
    ...(lastTimestamp === undefined ? {} : { lastTimestamp }),
  });
}

test('two members who start anew while no server answers have their tunnel back', () => {
  for (const laterMs of [0, 500, 20_000, 120_000]) {
    const { rig, nodes } = rigOf([alice, bob]);
    filter(rig);
    rig.clock.run(6000);
    assert.ok(arrives(rig, nodes[0], nodes[1], 1000));
    for (const node of nodes) node.disconnect();
    restart(rig, nodes[0]);
    rig.clock.run(laterMs);
    restart(rig, nodes[1]);
    rig.clock.run(5000);
    assert.ok(arrives(rig, nodes[0], nodes[1], 1000), `${laterMs} ms apart`);
    assert.ok(arrives(rig, nodes[1], nodes[0], 1000), `${laterMs} ms apart`);
  }
});

test('one who had logged out before the server was lost is found by who went on, and the other way round', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  filter(rig);
  rig.clock.run(6000);
  nodes[1].disconnect();
  rig.presence(net, bob.clientId, 'offline');
  rig.passes = () => false;
  rig.clock.run(60_000);
  assert.equal(nodes[0].peers.size, 0, 'the server says that it is gone');
  filter(rig);
  nodes[0].disconnect();
  rig.clock.run(60_000);
  restart(rig, nodes[1]);
  rig.clock.run(5000);
  assert.ok(arrives(rig, nodes[0], nodes[1], 1000));
});

test('what is kept brings nobody back whose membership has ended', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(6000);
  for (const node of nodes) node.disconnect();
  rig.clock.stepWall(8 * dayMs);
  for (const node of nodes) restart(rig, node);
  rig.clock.run(10_000);
  assert.equal(nodes[0].peers.size, 0);
  assert.equal(arrives(rig, nodes[0], nodes[1], 1000), false);
});

test('a clock that is set back brings nobody back either: the server has told a later time', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(6000);
  for (const node of nodes) node.disconnect();
  const saved = nodes[0].member.saved(net)!;
  const ways = nodes[0].member.ways(rig.clock.now);
  const serverTimeMs = rig.clock.now.wall + 8 * dayMs;
  nodes[0].restart({ secrets: secretsOf(net), networks: [saved], ways, serverTimeMs });
  rig.clock.run(3000);
  assert.equal(nodes[0].peers.size, 0);
});

test('ways are written sparingly', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  rig.clock.run(6000);
  const writes = () => nodes[0].outputs.filter(({ type }) => type === 'save-ways').length;
  assert.equal(writes(), 1);
  rig.clock.run(1_800_000);
  assert.equal(writes(), 1, 'nothing changed');
  rig.clock.run(7_200_000);
  assert.ok(writes() <= 4);
  const { peers } = nodes[0].member.ways(rig.clock.now);
  assert.equal(peers.length, 1);
  assert.equal(peers[0]?.candidates[0]?.endpoint, `${nodes[1].address}:4000`);
});

const counter = (node: MemberNode, name: string) => node.member.counters()[name];
const peerOf = (node: MemberNode, { clientId }: TestDevice) =>
  node.member.manager.peers.byClientId(clientId);

test('a member that moves while no server answers is found through one that both have a tunnel with', () => {
  for (const inside of [undefined, '192.168.7.7']) {
    const { rig, nodes } = rigOf([alice, bob, carol]);
    const [a, b, c] = nodes as [MemberNode, MemberNode, MemberNode];
    filter(rig, b);
    rig.clock.run(6000);
    assert.ok(arrives(rig, a, c, 1000));
    for (const node of nodes) node.disconnect();
    rig.clock.run(5000);
    // Behind a NAT only the one that is reached can tell where it is now.
    c.move('203.0.113.9', inside);
    assert.ok(arrives(rig, c, b, 5000), 'the open one is reached without any signal');
    assert.ok(arrives(rig, a, c, 12_000), `inside ${inside ?? 'the same'}`);
    assert.ok(arrives(rig, c, a, 1000));
    assert.ok(counter(b, 'carried-passed-on')! > 0);
  }
});

test('without a common member it is not, because nobody knows where it is', () => {
  const { rig, nodes } = rigOf([alice, carol]);
  filter(rig);
  rig.clock.run(6000);
  for (const node of nodes) node.disconnect();
  nodes[1].move('203.0.113.9');
  assert.equal(arrives(rig, nodes[0], nodes[1], 30_000), false);
});

test('whom the server believes gone is found by a signal that members carry', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [a, b, c] = nodes as [MemberNode, MemberNode, MemberNode];
  filter(rig, b);
  rig.clock.run(6000);
  c.disconnect();
  const blocked = rig.passes;
  rig.passes = (from, to) => ![from, to].includes(c) && blocked(from, to);
  rig.presence(net, carol.clientId, 'unconfirmed');
  rig.clock.run(61_000);
  rig.presence(net, carol.clientId, 'offline');
  rig.clock.run(10_000);
  assert.equal(peerOf(a, carol), undefined);
  assert.equal(peerOf(b, carol), undefined);
  // Bob comes back first: it is open.
  rig.passes = blocked;
  b.disconnect();
  b.connect();
  rig.presence(net, carol.clientId, 'unconfirmed');
  a.fromServer({ t: 'presence', network: net, clientId: carol.clientId, presence: 'offline' });
  rig.clock.run(3000);
  assert.ok(arrives(rig, c, b, 20_000));
  assert.ok(arrives(rig, c, a, 40_000));
  rig.passes = (from, to) => ![from, to].includes(c) && blocked(from, to);
  rig.clock.run(60_000);
  assert.equal(peerOf(a, carol), undefined, 'it is given up when it does not answer any more');
});

test('a signal goes over one member, from its sender, to a member of a common network', () => {
  const rig = new MemberRig();
  const members = (network: string, ...devices: readonly TestDevice[]) =>
    rig.setView(
      rig.cluster.view(
        network,
        devices.map((device) => rig.cluster.member(network, device)),
      ),
    );
  members(net, alice, bob);
  members(net2, bob, carol);
  const [a, b, c] = [
    rig.add(alice, { secrets: secretsOf(net) }),
    rig.add(bob, { secrets: secretsOf(net, net2) }),
    rig.add(carol, { secrets: secretsOf(net2) }),
  ];
  for (const node of [a, b, c]) node.connect();
  rig.clock.run(6000);
  const number = (device: TestDevice) => Number(device.clientId.replaceAll('-', ''));
  const sealed = new Uint8Array(100);
  const say = (signal: Partial<CarriedSignal>) => {
    const parts = { from: number(alice), to: number(carol), isPassedOn: false, sealed };
    const bytes = encodeCarriedSignal({ ...parts, ...signal });
    b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes });
  };
  say({});
  assert.equal(counter(b, 'carried-undeliverable'), 1, 'they share no network');
  say({ isPassedOn: true });
  assert.equal(counter(b, 'carried-too-far'), 1);
  say({ from: number(carol), to: number(bob) });
  assert.equal(counter(b, 'carried-not-theirs'), 1);
  say({ to: 999_999_999 });
  assert.equal(counter(b, 'carried-undeliverable'), 2);
  say({ to: 0xffff_ffff });
  assert.equal(counter(b, 'carried-undeliverable'), 3);
  say({ from: 0xffff_ffff, to: number(bob), isPassedOn: true });
  assert.equal(counter(b, 'carried-malformed'), 1);
  say({ to: number(bob) });
  assert.equal(counter(b, 'signal-forged'), 1);
  b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes: new Uint8Array([2, 0, 0]) });
  assert.equal(counter(b, 'carried-malformed'), 2);
  assert.equal(counter(b, 'carried-passed-on'), 0);
});

test('what a member passes on is bounded', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [, b] = nodes;
  rig.clock.run(6000);
  const number = (device: TestDevice) => Number(device.clientId.replaceAll('-', ''));
  const bytes = encodeCarriedSignal({
    ...{ from: number(alice), to: number(carol), isPassedOn: false },
    sealed: new Uint8Array(1000),
  });
  for (let second = 0; second < 10; second++) {
    for (let i = 0; i < 100; i++) {
      b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes });
    }
    rig.clock.run(1000);
  }
  const passed = counter(b, 'carried-passed-on')!;
  assert.ok(passed > 40 && passed <= 16 + 4 * 10, `${passed}`);
  assert.equal(counter(b, 'carried-limited'), 1000 - passed);
});

/** The server evicts carol, and tells those who are connected. */
function evict(rig: MemberRig, revocation = rig.cluster.revocation(net, carol)): Uint8Array {
  for (const node of rig.nodes.values()) {
    node.fromServer({
      t: 'delta',
      ...{ network: net, from: 1, to: 2 },
      changes: [{ op: 'gone', clientId: carol.clientId, revocation }],
    });
  }
  return revocation;
}

const holds = (node: MemberNode, { clientId }: TestDevice) =>
  node.member.networks.get(net)?.members.has(clientId) === true;

test('an eviction that one member hears of takes effect with those who have no server, and with whom it is about', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [a, b, c] = nodes as [MemberNode, MemberNode, MemberNode];
  rig.clock.run(6000);
  b.disconnect();
  c.disconnect();
  rig.clock.run(2000);
  assert.ok(arrives(rig, c, b, 1000));
  evict(rig);
  rig.clock.run(100);
  for (const node of [a, b]) {
    assert.equal(holds(node, carol), false, node.device.name);
    assert.equal(peerOf(node, carol), undefined, node.device.name);
  }
  assert.equal(c.member.networks.size, 0, 'it is told that it is out');
  assert.ok(arrives(rig, a, b, 1000));
  const told = counter(a, 'revocations-told')!;
  rig.clock.run(600_000);
  assert.ok(counter(a, 'revocations-told')! - told <= 3, 'it is not told for ever');
  assert.equal(counter(b, 'revocations-learnt'), 1);
  // The network is kept as it is now.
  restart(rig, b);
  rig.clock.run(6000);
  assert.equal(holds(b, carol), false);
});

test('who was away when it was told hears it within a second of coming back', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [a, b, c] = nodes as [MemberNode, MemberNode, MemberNode];
  rig.clock.run(6000);
  rig.passes = (from, to) => ![from, to].includes(a) || from === to;
  b.disconnect();
  c.disconnect();
  rig.presence(net, bob.clientId, 'unconfirmed');
  evict(rig);
  rig.clock.run(40_000);
  assert.ok(arrives(rig, c, b, 1000), 'on their side of the partition it goes on');
  heal(rig, a, b);
  rig.clock.run(900);
  assert.equal(peerOf(b, carol), undefined, 'a second after the first packet');
});

test('an eviction that a member hears of by a view is told on, like one of a delta', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [a, b, c] = nodes as [MemberNode, MemberNode, MemberNode];
  rig.clock.run(6000);
  for (const node of nodes) node.disconnect();
  rig.clock.run(2000);
  assert.ok(arrives(rig, c, b, 1000));
  // It happened while nobody had a server. One of them has one again; the log does not reach back.
  const members = [alice, bob].map((device) => rig.cluster.member(net, device));
  const revocations = [rig.cluster.revocation(net, carol)];
  rig.setView(rig.cluster.view(net, members, { revision: 9000, revocations }));
  a.connect();
  rig.clock.run(900);
  for (const node of [a, b]) {
    assert.equal(holds(node, carol), false, node.device.name);
    assert.equal(peerOf(node, carol), undefined, node.device.name);
  }
  assert.equal(c.member.networks.size, 0, 'it is told that it is out');
  const told = counter(a, 'revocations-told');
  a.fromServer(rig.cluster.view(net, members, { revision: 9001, revocations }));
  rig.clock.run(60_000);
  assert.ok(counter(a, 'revocations-told')! - told! <= 3, 'what is known is not told again');
});

test('revocations that are forged, old, of other networks or far too many have no effect', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [a, b] = nodes;
  rig.clock.run(6000);
  const say = (...documents: readonly Uint8Array[]) => {
    const { bytes } = encodeRevocations(documents)!;
    b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes });
  };
  say(rig.cluster.revocation(net, carol, {}, alice.seed));
  say(rig.cluster.revocation(net2, carol));
  say(rig.cluster.revocation(net, carol, { serial: 0 }));
  say(rig.cluster.revocation(net, bob, { serial: 0 }));
  say(new Uint8Array(100));
  b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes: new Uint8Array([3, 2, 0, 0]) });
  rig.clock.run(1000);
  assert.ok(holds(b, carol) && holds(b, bob));
  assert.equal(counter(b, 'revocations-malformed'), 1);
  assert.equal(counter(b, 'mesh-revocation-forged'), 1);
  for (let i = 0; i < 200; i++) say(rig.cluster.revocation(net, carol, { serial: 50 }, bob.seed));
  assert.ok(counter(b, 'revocations-limited')! > 100);
  assert.ok(counter(b, 'mesh-revocation-forged')! < 80);
  assert.ok(holds(b, carol));
  const { bytes } = encodeRevocations([rig.cluster.revocation(net, alice)])!;
  rig.clock.run(10_000);
  b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes });
  rig.clock.run(1000);
  assert.equal(holds(b, alice), false, 'also one about whoever passes it on');
  assert.equal(holds(a, alice), false);
});

test('a member that has joined again is not thrown out by the revocation of its earlier membership', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [, b] = nodes;
  rig.clock.run(6000);
  const earlier = evict(rig);
  rig.clock.run(100);
  assert.equal(holds(b, carol), false);
  const member = rig.cluster.member(net, carol);
  for (const node of nodes) {
    node.fromServer({
      t: 'delta',
      ...{ network: net, from: 2, to: 3, changes: [{ op: 'member', member }] },
    });
  }
  rig.clock.run(100);
  assert.ok(holds(b, carol));
  const { bytes } = encodeRevocations([earlier])!;
  b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes });
  rig.clock.run(3000);
  assert.ok(holds(b, carol));
});

/** The server deletes the network, and tells those who are connected. */
function deleteNetwork(rig: MemberRig, deletion = rig.cluster.deletion(net)): Uint8Array {
  for (const node of rig.nodes.values()) {
    node.fromServer({ t: 'removed', network: net, reason: 'deleted', deletion });
  }
  return deletion;
}

test('that a network was deleted takes effect with those who have no server, and a cold start does not bring it back', () => {
  const { rig, nodes } = rigOf([alice, bob, carol]);
  const [, b, c] = nodes as [MemberNode, MemberNode, MemberNode];
  filter(rig);
  rig.clock.run(6000);
  b.disconnect();
  c.disconnect();
  rig.clock.run(2000);
  assert.ok(arrives(rig, c, b, 1000));
  const before = b.member.saved(net)!;
  deleteNetwork(rig);
  rig.clock.run(900);
  for (const node of nodes) {
    assert.equal(node.member.networks.size, 0, node.device.name);
    assert.equal(node.member.manager.peers.size, 0, node.device.name);
    assert.equal(node.outputs.filter(({ type }) => type === 'forget-network').length, 1);
  }
  assert.equal(arrives(rig, c, b, 1000), false);
  // Killed before the network was taken off the disk.
  const ways = b.member.ways(rig.clock.now);
  assert.equal(ways.deletions.length, 1);
  b.restart({ secrets: secretsOf(net), networks: [before], ways });
  rig.clock.run(3000);
  assert.equal(b.member.networks.size, 0);
  assert.equal(b.member.manager.peers.size, 0);
});

test('who was away when a network was deleted hears of it from a member of another one', () => {
  const rig = new MemberRig();
  for (const id of [net, net2]) {
    const members = [alice, bob].map((device) => rig.cluster.member(id, device));
    rig.setView(rig.cluster.view(id, members));
  }
  const secrets = secretsOf(net, net2);
  const [a, b] = [rig.add(alice, { secrets }), rig.add(bob, { secrets })];
  for (const node of [a, b]) node.connect();
  rig.clock.run(6000);
  rig.passes = () => false;
  b.disconnect();
  rig.presence(net2, bob.clientId, 'unconfirmed');
  deleteNetwork(rig);
  rig.clock.run(30_000);
  heal(rig, a, b);
  rig.clock.run(1000);
  assert.deepEqual([...b.member.networks.keys()], [net2]);
  assert.ok(arrives(rig, a, b, 1000), 'the other network goes on');
});

test('deletions that are forged, old, of other networks or made of something else have no effect', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  const [, b] = nodes;
  rig.clock.run(6000);
  const say = (document: Uint8Array) => {
    const { bytes } = encodeRevocations([document])!;
    b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes });
  };
  // The owner was evicted, perhaps, but has a key of its own only.
  say(rig.cluster.deletion(net, {}, alice.seed));
  say(rig.cluster.deletion(net2));
  say(rig.cluster.deletion(net, { serial: 0 }));
  const { p } = decodeCbor(rig.cluster.deletion(net), 5000) as { p: Uint8Array };
  const { s } = decodeCbor(rig.cluster.revocation(net, carol), 5000) as { s: Uint8Array };
  say(encodeCbor({ p, s }));
  rig.clock.run(1000);
  assert.ok(holds(b, alice) && holds(b, bob));
  assert.equal(counter(b, 'mesh-deletion-forged'), 2);
  assert.ok(arrives(rig, nodes[0], b, 1000));
});

test('a network of the same name made anew is not touched by the deletion of the earlier one', () => {
  const { rig, nodes } = rigOf([alice, bob]);
  const [a, b] = nodes;
  rig.clock.run(6000);
  const deletion = deleteNetwork(rig);
  const members = [alice, bob].map((device) => rig.cluster.member(net2, device));
  for (const node of nodes) {
    node.feed({ type: 'secret', network: net2, secret: secretsOf(net2).get(net2)! });
    node.fromServer(rig.cluster.view(net2, members));
  }
  rig.clock.run(6000);
  const { bytes } = encodeRevocations([deletion])!;
  b.feed({ type: 'message', peer: peerOf(b, alice)!.index, bytes });
  assert.ok(arrives(rig, a, b, 1000));
});
