/**
 *            server
 *              ║
 *   ═══════ Internet ═══════      programs that find each other on a LAN, each across two NATs
 *    ║      ║      ║      ║
 *   anna   bert  carol   dora     (TUN, TUN, Ethernet, Ethernet)
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { Home } from '../../lab/home.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import * as lan from '../../lab/lan-programs.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

/** The directed broadcast address of the default pool. */
const broadcast = '100.127.255.255';

interface Member {
  readonly nick: string;
  readonly mode: 'tun' | 'tap';
  readonly daemon: BuriDaemon;
  readonly ipv4: string;
}

describe('programs that find each other on a LAN', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let members: Record<'anna' | 'bert' | 'carol' | 'dora', Member>;

  before(async () => {
    lab = await Lab.create();
    const internet = await Internet.create(lab);
    const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    const url = await server.url();
    const start = async (nick: string, mode: 'tun' | 'tap'): Promise<Member> => {
      const home = await Home.create(internet, { name: nick, nat: 'port-restricted' });
      const daemon = await BuriDaemon.start(home.firstHost, { mode });
      const { ipv4 } = await daemon.verb('login', ['--nick', nick, url]);
      return { nick, mode, daemon, ipv4 };
    };
    members = {
      anna: await start('anna', 'tun'),
      bert: await start('bert', 'tun'),
      carol: await start('carol', 'tap'),
      dora: await start('dora', 'tap'),
    };
    const { anna, ...others } = members;
    await anna.daemon.verb('create', ['games', 'pw']);
    for (const { daemon } of Object.values(others)) {
      await daemon.verb('join', ['games', 'pw', '--wait', '30']);
    }
    await waitFor('anna to have three tunnels', async () => {
      const { networks } = await anna.daemon.verb('list');
      const kinds = networks[0]?.members.filter((member) => !member.self).map((m) => m.path.kind);
      assert.deepEqual(kinds, ['direct', 'direct', 'direct']);
      return true;
    });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  /** Runs a scenario from seeker to keeper: TUN to TUN, Ethernet to Ethernet, and from one to the other. */
  const eachPair = async (scenario: (seeker: Member, keeper: Member) => Promise<void>) => {
    const { anna, bert, carol, dora } = members;
    const pairs = [
      [anna, bert],
      [carol, dora],
      [anna, dora],
    ] as const;
    for (const [seeker, keeper] of pairs) {
      await scenario(seeker, keeper).catch((error: Error) => {
        const modes = `${seeker.mode} to ${keeper.mode}`;
        throw new Error(`${modes}: ${error.message}`, { cause: error });
      });
    }
  };

  test(
    'mDNS: a service published on one member is browsed and resolved on another',
    {
      skip: lan.missingPrograms('avahi-daemon', 'avahi-browse', 'dbus-daemon'),
    },
    () =>
      eachPair(async (seeker, keeper) => {
        const pointToPoint = (member: Member) => ({ pointToPoint: member.mode === 'tun' });
        const { host } = keeper.daemon;
        await using _publisher = await lan.publish(host, 'game room', pointToPoint(keeper));
        await using browser = lan.browse(seeker.daemon.host, pointToPoint(seeker));
        const found = await browser.line(/^=;buri0;IPv4;game\\032room;/, { timeoutMs: 20_000 });
        assert.ok(found.includes(`;${keeper.nick}.local;${keeper.ipv4};4242;`), found);
      }),
  );

  test(
    'NetBIOS: nmblookup finds a name by directed broadcast',
    {
      skip: lan.missingPrograms('nmbd', 'nmblookup'),
    },
    () =>
      eachPair(async (seeker, keeper) => {
        await using _server = await lan.netbiosServer(keeper.daemon.host, 'KITCHEN', keeper.ipv4);
        await waitFor(
          'the name to be found',
          async () => {
            const answer = await lan.netbiosLookup(seeker.daemon.host, 'KITCHEN', broadcast);
            assert.match(answer, new RegExp(`^${keeper.ipv4} KITCHEN<00>`, 'm'));
            return true;
          },
          { timeoutMs: 30_000 },
        );
      }),
  );

  test(
    'SSDP: a search bound to no interface finds the device and talks to it',
    {
      skip: lan.missingPrograms('miniupnpd', 'upnpc'),
    },
    () =>
      eachPair(async (seeker, keeper) => {
        await using _server = await lan.gatewayDevice(keeper.daemon.host);
        await waitFor(
          'the device to be found',
          async () => {
            const answer = await lan.ssdpSearch(seeker.daemon.host);
            assert.ok(answer.includes(`http://${keeper.ipv4}:5000/`), answer);
            assert.match(answer, /Found valid IGD/);
            return true;
          },
          { timeoutMs: 30_000 },
        );
      }),
  );

  test(
    "a game's LAN list is filled by broadcast",
    {
      skip: lan.missingPrograms('chocolate-server'),
    },
    () =>
      eachPair(async (seeker, keeper) => {
        await using _server = await lan.doomServer(keeper.daemon.host);
        const list = await lan.doomServers(seeker.daemon.host);
        assert.ok(list.includes(keeper.ipv4), list);
        assert.match(list, /1 server\(s\) found/);
      }),
  );
});
