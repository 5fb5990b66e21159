/**
 *        server            victim         A hundred members of one network, on one machine here, whose liar tells each of them every two
 *          ║                 ║            seconds that it is at ever new ports of the victim's address.
 *   ═══════════ Internet ═══════════
 *                  ║
 *              the crowd
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  firstBurstProbes,
  firstBurstsPerAddress,
  unprovenProbesPerMinute,
} from '#core/path/limits.ts';
import { probeBytes } from '#wire/probe.ts';
import { BuriServer } from '../../lab/buri.ts';
import { pinnedNode } from '../../lab/exec.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';

const program = fileURLToPath(new URL('../support/aimed-members.ts', import.meta.url));
const members = 100;
const seconds = 8;
/** Of each member in its first minute, whatever it is told (protocol §7). */
const mostProbes = firstBurstsPerAddress * firstBurstProbes + unprovenProbesPerMinute;
/** What else comes along a cable: neighbour discovery, and errors that the victim's own machine sends for closed ports. */
const otherPackets = 20;
const ipAndUdpBytes = 28 + 14;

const skip = labSkipReason();

test('a hundred members that are told to probe a victim send it no more than the budget of each', {
  skip,
}, async () => {
  await using lab = await Lab.create();
  const internet = await Internet.create(lab);
  const args = ['--roles', 'control,stun'];
  const server = await BuriServer.start(await internet.host('server'), { enrol: 'open', args });
  const victim = await internet.host('victim');
  const crowd = await internet.host('crowd');
  const url = await server.url();
  const order = [program, url, victim.ipv4, `${members}`, `${seconds}`];
  const node = ['--disable-warning=ExperimentalWarning', ...order];
  const running = crowd.spawn(pinnedNode, node, { name: 'aimed members' });
  await running.line(/^ready$/, { timeoutMs: 60_000 });
  const before = await victim.counters();
  await running.line(/^told \d+$/, { timeoutMs: 60_000 });
  const after = await victim.counters();
  const told = Number(/told (\d+)/.exec(running.lines.join('\n'))?.[1]);
  assert.ok(told >= members, `${told} signals arrived`);
  const packets = after.rxPackets - before.rxPackets;
  const bytes = after.rxBytes - before.rxBytes;
  assert.ok(
    packets >= members * firstBurstProbes,
    `only ${packets} packets came: nothing is tried`,
  );
  assert.ok(packets <= members * mostProbes + otherPackets, `${packets} packets came`);
  assert.ok(bytes <= (members * mostProbes + otherPackets) * (probeBytes + ipAndUdpBytes));
});
