/**
 * What does a client send while nobody talks? One client and its PEERS peers, each behind a port-restricted NAT of its own, a server
 * and two relays, in the world simulation: the real machines under virtual time. All peers have talked to the client, directly; then
 * nothing is said. After SETTLE virtual minutes packets of the client are counted for HOURS virtual hours.
 *
 *   node bench/idle.ts [--peers 1,64] [--hours 2] [--settle 30] [--json FILE]
 *
 * Of the control connection (WebSocket over TLS over TCP) its frames are counted; TCP's own acknowledgements are not.
 */
import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { ControlWire } from '../sim/world/control-wire.ts';
import type { Daemon } from '../sim/world/daemon.ts';
import { People } from '../sim/world/people.ts';
import { World } from '../sim/world.ts';
import { table } from './figures.ts';

const { values } = parseArgs({
  options: {
    peers: { type: 'string', default: '1,64' },
    hours: { type: 'string', default: '2' },
    settle: { type: 'string', default: '30' },
    json: { type: 'string' },
  },
});
const hourMs = 3_600_000;
const hours = Number(values.hours);
const settleMs = Number(values.settle) * 60_000;
/** Long enough for tunnels and direct paths: each side speaks so often, with a second in between. */
const rounds = 30;

const parties = ['STUN', 'relays', 'peers', 'control'] as const;
type Party = (typeof parties)[number];
type Counts = Record<Party, { sent: number; received: number; bytes: number }>;

interface Idle {
  readonly peers: number;
  /** To so many of them the path is direct in the end. */
  readonly direct: number;
  readonly counts: Counts;
}

const results: Idle[] = [];
for (const text of values.peers.split(',')) {
  const peers = Number(text);
  console.error(`${peers} peers`);
  results.push(await idle(peers));
}
console.log(table([header(), ...results.map(row)]));
if (values.json !== undefined) writeFileSync(values.json, JSON.stringify({ hours, results }));

async function idle(peers: number): Promise<Idle> {
  await using world = await World.open({
    ...{ seed: 'idle', members: peers + 1, everywhere: 'port-restricted' },
  });
  const [client, ...others] = world.daemons as [Daemon, ...Daemon[]];
  await meet(world, client, others);
  await world.advance(settleMs);
  const counts = fresh();
  countDatagrams(world, client, counts);
  const stop = countFrames(client, counts.control);
  await world.advance(hours * hourMs);
  stop();
  return { peers, counts, direct: directPaths(client) };
}

async function meet(world: World, client: Daemon, others: readonly Daemon[]): Promise<void> {
  const people = new People(world);
  for (const daemon of world.daemons) daemon.start();
  await world.advance(3000);
  people.gather();
  await world.advance(500);
  for (const other of others) {
    people.joinFirst(other);
    await world.advance(50);
  }
  for (let round = 0; round < rounds; round++) {
    for (const other of others) {
      world.say(client, other);
      world.say(other, client);
    }
    await world.advance(1000);
  }
}

function countDatagrams(world: World, { site }: Daemon, counts: Counts): void {
  const { network } = world;
  const { onPacket } = network;
  network.onPacket = (packet, realm) => {
    onPacket?.(packet, realm);
    if (realm !== network.internet) return;
    const isSent = site.owns(packet.source.address);
    if (!isSent && !site.owns(packet.destination.address)) return;
    const { address } = isSent ? packet.destination : packet.source;
    const count = counts[partyAt(address)];
    count[isSent ? 'sent' : 'received'] += 1;
    count.bytes += packet.bytes.length;
  };
}

function partyAt(address: string): Party {
  if (address === '203.0.113.1') return 'STUN';
  return address.startsWith('203.0.113.') ? 'relays' : 'peers';
}

/** What passes the control connection, from now on. @returns what ends that */
function countFrames(client: Daemon, count: Counts['control']): () => void {
  const { send, ping } = ControlWire.prototype;
  ControlWire.prototype.send = function (from, bytes) {
    if (this === client.link?.wire) {
      count[from === 'client' ? 'sent' : 'received'] += 1;
      count.bytes += bytes.length;
    }
    send.call(this, from, bytes);
  };
  ControlWire.prototype.ping = function (from) {
    if (this === client.link?.wire) {
      count.sent += 1;
      count.received += 1;
    }
    ping.call(this, from);
  };
  return () => Object.assign(ControlWire.prototype, { send, ping });
}

function directPaths({ member }: Daemon): number {
  const peers = [...(member?.manager.peers.values() ?? [])];
  return peers.filter((peer) => member?.manager.pathView(peer).kind === 'direct').length;
}

function fresh(): Counts {
  const none = () => ({ sent: 0, received: 0, bytes: 0 });
  return { STUN: none(), relays: none(), peers: none(), control: none() };
}

function header(): string[] {
  const columns = parties.map((party) => `${party}, sent / received`);
  return ['peers', 'of these direct', ...columns, 'packets an hour', 'UDP bytes an hour'];
}

function row({ peers, counts, direct }: Idle): string[] {
  const hourly = (value: number) => `${Math.round(value / hours)}`;
  const cells = parties.map((party) => {
    const { sent, received } = counts[party];
    return `${hourly(sent)} / ${hourly(received)}`;
  });
  const all = parties.reduce((sum, party) => sum + counts[party].sent + counts[party].received, 0);
  const bytes = counts.STUN.bytes + counts.relays.bytes + counts.peers.bytes;
  return [`${peers}`, `${direct}`, ...cells, hourly(all), hourly(bytes)];
}
