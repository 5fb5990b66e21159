/** What members can do while no server answers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type TestDevice, testDevice } from '../../../test/support/cluster.ts';
import { type MemberNode, MemberRig, secretsOf } from '../../../test/support/member-rig.ts';

const net = '100-000-001';
const dayMs = 86_400_000;
const [alice, bob] = [testDevice(1, 'alice'), testDevice(2, 'bob')];

function rigOf(devices: readonly TestDevice[], seed?: string) {
  const rig = new MemberRig(seed);
  const members = devices.map((device) => rig.cluster.member(net, device));
  rig.setView(rig.cluster.view(net, members));
  const nodes = devices.map((device) => rig.add(device, { secrets: secretsOf(net) }));
  for (const node of nodes) node.connect();
  return { rig, nodes: nodes as [MemberNode, MemberNode, ...MemberNode[]] };
}

/** Everybody is behind a filter that lets in only those whom they have sent to within half a minute. */
function filter(rig: MemberRig): void {
  const sentAt = new Map<string, number>();
  rig.passes = (from, to) => {
    const now = rig.clock.now.monotonic;
    sentAt.set(`${from.device.name} ${to.device.name}`, now);
    const opened = sentAt.get(`${to.device.name} ${from.device.name}`);
    return opened !== undefined && now - opened < 30_000;
  };
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

/** The packet arrives, sent again until it does, within the time. */
function arrives(rig: MemberRig, from: MemberNode, to: MemberNode, withinMs: number): boolean {
  const text = `packet ${rig.clock.now.monotonic} of ${from.device.name}`;
  for (let waited = 0; waited < withinMs; waited += 100) {
    from.send(to.device.ipv4, text);
    rig.clock.run(100);
    if (to.inbox.includes(text)) return true;
  }
  return false;
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
