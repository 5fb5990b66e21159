/**
 *            server
 *              ║
 *   ═══════ Internet ═══════        what is for many reaches those who share a network with the sender
 *   NAT    NAT     ║      ║
 *    ║      ║      ║      ║
 *   anna   bert  carol   dora       games: anna, bert, carol; music: anna, carol; work: carol, dora
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { pinnedNode } from '../../lab/exec.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { missingPrograms } from '../../lab/lan-programs.ts';
import { labSkipReason } from '../../lab/needs.ts';
import type { LabProcess } from '../../lab/process.ts';
import { waitFor } from '../../lab/wait.ts';

const directed = '100.127.255.255';
const port = 5000;
/** Every network's members but the one who asks have a tunnel within this. */
const tunnelsMs = 30_000;

interface Member {
  readonly nick: string;
  readonly daemon: BuriDaemon;
  readonly ipv4: string;
}

/** Groups of the link need an interface over IPv6, as each has its own. */
const isOfLink = (group: string): boolean => group.startsWith('ff02:');

/** A program that receives what comes for the port, bound to no address; with a group, joined on no interface in particular. */
async function listen({ daemon }: Member, group?: string): Promise<LabProcess> {
  const v6 = group?.includes(':') === true;
  const join = v6
    ? `,ipv6-join-group=[${group}]:${isOfLink(group) ? 'buri0' : 0}`
    : `,ip-add-membership=${group}:0.0.0.0`;
  const options = `${port},reuseaddr${group === undefined ? '' : join}`;
  const address = v6 ? `UDP6-RECV:${options}` : `UDP4-RECV:${options}`;
  const process = daemon.host.spawn('socat', ['-dd', '-u', address, 'STDOUT']);
  await process.line(/starting data transfer loop/);
  return process;
}

/** Sends lines as datagrams to broadcast or a group, by a program that names no interface. */
async function say({ daemon }: Member, to: string, ...lines: readonly string[]): Promise<void> {
  const scoped = isOfLink(to) ? `${to}%buri0` : to;
  const target = to.includes(':')
    ? `UDP6-DATAGRAM:[${scoped}]:${port}`
    : `UDP4-DATAGRAM:${to}:${port}`;
  const args = ['-u', '-b', '100', 'STDIN', `${target}${to.includes(':') ? '' : ',broadcast'}`];
  for (const line of lines) await daemon.host.check('socat', args, { input: `${line}\n` });
}

const heard = ({ lines }: LabProcess, text: string): number =>
  lines.filter((line) => line === text).length;

const countersOf = async ({ daemon }: Member): Promise<Readonly<Record<string, number>>> =>
  (await daemon.verb('status')).counters;

/** Broadcasts as fast as it can for two seconds, then prints how often. */
const stormScript = `
  const socket = require('node:dgram').createSocket('udp4');
  const end = performance.now() + 2000;
  let sent = 0;
  const next = () => {
    if (performance.now() > end) return socket.close(() => console.log(sent));
    sent++;
    socket.send(Buffer.alloc(100), 9, '255.255.255.255', next);
  };
  socket.bind(() => { socket.setBroadcast(true); next(); });`;

describe('broadcast and multicast', { skip: labSkipReason() || missingPrograms('socat') }, () => {
  let lab: Lab;
  let anna: Member;
  let bert: Member;
  let carol: Member;
  let dora: Member;

  before(async () => {
    lab = await Lab.create();
    const internet = await Internet.create(lab);
    const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    const url = await server.url();
    const start = async (nick: string, host: Host, ...args: string[]): Promise<Member> => {
      const daemon = await BuriDaemon.start(host, { args });
      const { ipv4 } = await daemon.verb('login', ['--nick', nick, url]);
      return { nick, daemon, ipv4 };
    };
    const homes: Home[] = [];
    for (const name of ['anna', 'bert']) {
      homes.push(await Home.create(internet, { name, nat: 'port-restricted' }));
    }
    anna = await start('anna', homes[0]!.firstHost);
    bert = await start('bert', homes[1]!.firstHost);
    carol = await start('carol', await internet.host('carol'));
    dora = await start('dora', await internet.host('dora'), '--lan-routes', 'off');
    await anna.daemon.verb('create', ['games', 'pw']);
    for (const { daemon } of [bert, carol]) {
      await daemon.verb('join', ['games', 'pw', '--wait', '30']);
    }
    await anna.daemon.verb('create', ['music', 'pw']);
    await carol.daemon.verb('join', ['music', 'pw', '--wait', '30']);
    await dora.daemon.verb('create', ['work', 'pw']);
    await carol.daemon.verb('join', ['work', 'pw', '--wait', '30']);
    const wanted = new Map([
      [anna, 3],
      [bert, 2],
      [carol, 4],
      [dora, 1],
    ]);
    for (const [{ nick, daemon }, tunnels] of wanted) {
      await waitFor(
        `${nick} to have ${tunnels} tunnels`,
        async () => {
          const { networks } = await daemon.verb('list');
          const others = networks.flatMap(({ members }) => members).filter(({ self }) => !self);
          return others.filter(({ path }) => path.kind === 'direct').length === tunnels;
        },
        { timeoutMs: tunnelsMs },
      );
    }
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('broadcast arrives once at each member of a common network, and at nobody else', async () => {
    const listeners: [Member, LabProcess][] = [];
    for (const member of [anna, bert, carol, dora]) listeners.push([member, await listen(member)]);
    const byNick = (nick: string) => listeners.find(([member]) => member.nick === nick)![1];
    for (const address of ['255.255.255.255', directed]) {
      await say(anna, address, `to ${address}`);
      for (const nick of ['bert', 'carol']) await byNick(nick).line(new RegExp(`to ${address}`));
    }
    // Carol's own reaches dora, after whatever of anna's could have.
    await say(carol, '255.255.255.255', 'from carol');
    for (const nick of ['anna', 'bert', 'dora']) await byNick(nick).line(/from carol/);
    for (const address of ['255.255.255.255', directed]) {
      for (const nick of ['bert', 'carol']) assert.equal(heard(byNick(nick), `to ${address}`), 1);
      assert.equal(heard(byNick('dora'), `to ${address}`), 0, 'dora shares no network with anna');
    }
    for (const [, process] of listeners) await process.stop();
  });

  test('who is offline in the network gets nothing of it, and again when back', async () => {
    const listener = await listen(bert);
    const witness = await listen(carol);
    const { clientId } = await bert.daemon.verb('status');
    const pathOfBert = async () => {
      const { networks } = await anna.daemon.verb('list');
      const members = networks.flatMap((network) => network.members);
      return members.find((member) => member.clientId === clientId)?.path.kind;
    };
    await bert.daemon.verb('go-offline', ['games']);
    // The others send to him until his tunnel is known to be dead; he takes nothing any more.
    await say(anna, '255.255.255.255', 'too late for bert');
    await waitFor('anna to have no tunnel to bert', async () => (await pathOfBert()) === 'none');
    const before = await countersOf(anna);
    await say(anna, '255.255.255.255', 'without bert');
    await witness.line(/without bert/);
    const later = await countersOf(anna);
    assert.equal(later['out-group']! - before['out-group']!, 1);
    assert.equal(later['out-group-copies']! - before['out-group-copies']!, 1, 'carol alone');
    await bert.daemon.verb('go-online', ['games']);
    await waitFor('the tunnel', async () => (await pathOfBert()) === 'direct');
    await waitFor('bert to be reached', async () => {
      await say(anna, '255.255.255.255', 'with bert');
      return heard(listener, 'with bert') > 0;
    });
    for (const text of ['too late for bert', 'without bert']) {
      assert.equal(heard(listener, text), 0);
      assert.equal(heard(witness, text), 1);
    }
    for (const process of [listener, witness]) await process.stop();
  });

  for (const group of ['239.1.2.3', 'ff05::1234', 'ff15::cafe']) {
    test(`${group} reaches those who joined it, from when they join to when they leave`, async () => {
      /** What 20 packets cost, when nothing else is sent to many meanwhile. */
      const stream = async () => {
        const [before, carolBefore] = [await countersOf(anna), await countersOf(carol)];
        await say(anna, group, ...Array.from({ length: 20 }, () => 'stream'));
        const [later, carolLater] = [await countersOf(anna), await countersOf(carol)];
        return {
          packets: later['out-group']! - before['out-group']!,
          copies: later['out-group-copies']! - before['out-group-copies']!,
          atCarol: carolLater['in-group']! - carolBefore['in-group']!,
        };
      };
      const costs = (copies: number) =>
        waitFor(`20 packets to be sent ${copies} times`, async () => {
          assert.deepEqual(await stream(), { packets: 20, copies, atCarol: 0 });
          return true;
        });
      await costs(0);
      const listener = await listen(bert, group);
      await costs(20);
      await say(anna, group, 'for those who joined');
      await listener.line(/for those who joined/);
      assert.equal(heard(listener, 'for those who joined'), 1);
      // Who ends has left.
      await listener.stop();
      await costs(0);
    });
  }

  test("the link's own groups and SSDP reach everybody, joined or not", async () => {
    for (const group of ['224.0.0.251', '239.255.255.250', 'ff02::fb', 'ff05::c']) {
      const before = [await countersOf(anna), await countersOf(carol)];
      const listener = await listen(anna, group);
      await say(bert, group, 'who is there');
      await listener.line(/who is there/);
      assert.equal(heard(listener, 'who is there'), 1);
      for (const [i, member] of [anna, carol].entries()) {
        await waitFor(`${member.nick} to get what is for ${group}`, async () => {
          return (await countersOf(member))['in-group']! > before[i]!['in-group']!;
        });
      }
      await listener.stop();
    }
  });

  test('status shows the routes with their reasons; with --lan-routes off there are none', async () => {
    const { lanRoutes } = await anna.daemon.verb('status');
    assert.deepEqual(
      lanRoutes.map(({ destination }) => destination),
      ['255.255.255.255/32', '224.0.0.0/4', 'ff00::/8'],
    );
    for (const { destination, metric } of lanRoutes) {
      const table = destination.includes(':')
        ? ['-6', 'route', 'show', 'table', 'local']
        : ['route'];
      const routes = await anna.daemon.host.check('ip', table);
      const line = routes.split('\n').find((text) => text.includes(`metric ${metric}`));
      assert.ok(line?.includes('dev buri0'), routes);
    }
    assert.match(lanRoutes[2]!.why, /no longer to ff00::\/8 dev \w+ with metric 256/);
    assert.deepEqual((await dora.daemon.verb('status')).lanRoutes, []);
    assert.doesNotMatch(await dora.daemon.host.check('ip', ['route']), /224\.0\.0\.0|255\.255/);
    await anna.daemon.verb('logout');
    assert.doesNotMatch(await anna.daemon.host.check('ip', ['route']), /224\.0\.0\.0|255\.255/);
    await anna.daemon.verb('login', ['--wait', '20']);
  });

  test('a storm is capped and counted, and other traffic goes on', async () => {
    const before = { bert: await countersOf(bert), carol: await countersOf(carol) };
    const startedAt = performance.now();
    const storm = bert.daemon.host.check(pinnedNode, ['-e', stormScript], { timeoutMs: 60_000 });
    const pings = await Promise.all([
      anna.daemon.host.ping(carol.ipv4, { count: 20, intervalMs: 80 }),
      bert.daemon.host.ping(carol.ipv4, { count: 20, intervalMs: 80 }),
    ]);
    const offered = Number(await storm);
    const later = { bert: await countersOf(bert), carol: await countersOf(carol) };
    const seconds = (performance.now() - startedAt) / 1000;
    const rise = (who: 'bert' | 'carol', name: string) => later[who][name]! - before[who][name]!;
    assert.ok(pings[0].received >= 15, pings[0].output);
    // His own wait behind the storm in the queue of his interface, which drops when it is full.
    assert.ok(pings[1].received >= 10, pings[1].output);
    const sent = rise('bert', 'out-group');
    assert.ok(offered > 10_000, `${offered} datagrams in two seconds`);
    assert.ok(rise('bert', 'out-group-limited') > 1000, `${sent} of ${offered} were sent`);
    // A second's worth at once, then a second's worth a second.
    assert.ok(sent >= 1000 && sent <= 1000 * (1 + seconds) + 10, `${sent} in ${seconds} s`);
    assert.ok(rise('carol', 'in-group') <= sent);
  });
});
