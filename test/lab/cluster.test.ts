/**
 * Tunnels over a cluster: three nodes over a real PostgreSQL and NATS, and members at each of them.
 *
 *     node1, node2, node3 ── Internet ── relay1, a machine of its own
 *     anna, bert: symmetric NATs ┘ └ carl, open
 *
 * Anna and Bert have a tunnel over the relay, each of them a direct one with Carl.
 */
import assert from 'node:assert/strict';
import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import type { FlowEnd } from '../../lab/flow.ts';
import { GridRelays } from '../../lab/grid-relays.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { Numbers, type WayAccount } from '../../lab/numbers.ts';
import { waitFor } from '../../lab/wait.ts';
import { natsSkip } from '../support/nats.ts';
import { PostgresProcess, postgresSkip } from '../support/postgres.ts';

const network = 'cluster';
const password = 'whichever node\n';
const perSecond = 50;
const drainMs = 1_500;
/** After that a node that is not heard is doubted, and so is whoever is still connected to it. */
const silentMs = 5_000;

interface Member extends FlowEnd {
  readonly daemon: BuriDaemon;
  readonly clientId: string;
}

const skip = [labSkipReason(), postgresSkip, natsSkip].find((reason) => reason !== false) ?? false;

describe('members of a cluster of three nodes', { skip }, () => {
  const stack = new AsyncDisposableStack();
  const nodes: BuriServer[] = [];
  const members: Member[] = [];
  let numbers: Numbers;

  async function startNodes(internet: Internet): Promise<void> {
    const postgres = stack.use(await PostgresProcess.start());
    // A socket of the file system: the same from every namespace.
    const store = `postgres://buri@/${(await postgres.database()).split('/').at(-1)}?host=${postgres.directory}&port=${postgres.port}`;
    const fabric = await internet.host('fabric');
    await fabric.spawn('nats-server', ['-a', fabric.ipv4, '-p', '4222']).line(/Server is ready/);
    const clusterKey = () => join(nodes[0]!.directory, 'cluster.key');
    for (const name of ['node1', 'node2', 'node3']) {
      const host = await internet.host(name);
      const directory = host.lab.temporaryDirectory(host.name);
      if (nodes.length > 0) copyFileSync(clusterKey(), join(directory, 'cluster.key'));
      nodes.push(
        await BuriServer.start(host, {
          ...{ directory, enrol: 'open' },
          args: argsOf(store, fabric),
        }),
      );
    }
  }

  async function enter(host: Host, node: BuriServer): Promise<void> {
    const daemon = await BuriDaemon.start(host, { args: ['--hard-nat', 'off'] });
    const login = ['--nick', host.name, '--wait', '60', await node.url()];
    const { clientId, ipv4 } = await daemon.verb('login', login);
    await daemon.verb(members.length === 0 ? 'create' : 'join', [network, '-'], password);
    members.push({ host, daemon, clientId, ipv4 });
  }

  before(async () => {
    const lab = stack.use(await Lab.create());
    const internet = await Internet.create(lab);
    await startNodes(internet);
    await GridRelays.start(internet, nodes[1]!, 1, () => {});
    for (const [i, name] of ['anna', 'bert'].entries())
      await enter((await Home.create(internet, { name, nat: 'symmetric' })).firstHost, nodes[i]!);
    await enter(await internet.host('carl'), nodes[2]!);
    await tunnels();
    numbers = await Numbers.create(members);
  });
  after(() => stack.disposeAsync());

  /** How each member sees each other one, in order. */
  async function seen() {
    const views = await Promise.all(
      members.map(async ({ clientId, daemon }) => {
        const others = (await daemon.verb('list')).networks[0]?.members ?? [];
        return members
          .filter((other) => other.clientId !== clientId)
          .map((other) => others.find((one) => one.clientId === other.clientId));
      }),
    );
    return views.flat();
  }

  const tunnels = () =>
    waitFor(
      'all tunnels',
      async () => {
        const kinds = (await seen()).map((member) => member?.path.kind);
        assert.deepEqual(kinds, ['relayed', 'direct', 'relayed', 'direct', 'direct', 'direct']);
        return true;
      },
      { timeoutMs: 60_000, intervalMs: 500 },
    );

  const online = (member: Member) =>
    waitFor(
      `${member.host.name} to be online`,
      async () => (await member.daemon.verb('status')).state === 'online',
      { timeoutMs: 30_000, intervalMs: 200 },
    );

  /** Numbered datagrams in every tunnel while `work` is done: none may be lost, none come twice, and nobody be seen offline. */
  async function undisturbed(work: () => Promise<void>): Promise<void> {
    numbers.start(perSecond);
    await sleep(500);
    await work();
    const presences = new Set((await seen()).map((member) => member?.presence));
    await sleep(1_000);
    numbers.pause();
    await sleep(drainMs);
    const troubled = (await numbers.accounts()).filter(isTroubled);
    assert.deepEqual(troubled, []);
    assert.ok(!presences.has('offline'), [...presences].join());
  }

  /** How the nodes list the relay. */
  const listed = async (node: BuriServer) =>
    (JSON.parse(await node.operate(['relays', '--json'])).relays as { state: string }[])[0]?.state;

  test('a node is killed: its clients and its relay go on to others, and no datagram is lost', async () => {
    await undisturbed(async () => {
      await nodes[1]!.stop('SIGKILL');
      await sleep(500);
      for (const member of members) await online(member);
      await sleep(silentMs);
      await waitFor('the relay to be at another node', async () => {
        const states = await Promise.all([nodes[0]!, nodes[2]!].map(listed));
        return states.every((state) => state === 'listed');
      });
    });
    await tunnels();
  });

  test('all nodes are killed: tunnels go on', async () => {
    await undisturbed(async () => {
      await Promise.all(nodes.map((node) => node.stop('SIGKILL')));
      await sleep(5_000);
    });
    await tunnels();
  });
});

const argsOf = (store: string, fabric: Host): string[] => [
  ...['--roles', 'control,stun', '--store', store],
  ...['--fabric', `nats://${fabric.ipv4}:4222`],
];

const isTroubled = ({ lost, again }: WayAccount) => lost > 0 || again > 0;
