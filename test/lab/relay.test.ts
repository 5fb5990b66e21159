/** Where no direct path exists, or not yet: homes behind NATs, a server that relays, and a relay beside it. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriServer, buriProgram } from '../../lab/buri.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import type { LabProcess } from '../../lab/process.ts';
import { waitFor } from '../../lab/wait.ts';
import { arrive, type Person, pathTo } from '../support/people.ts';

const password = 'one private LAN';

describe('homes behind NATs', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let server: BuriServer;
  let relay: LabProcess;
  let relayHost: Host;
  let internet: Internet;
  let anna: Person;
  let bert: Person;
  const homes: Home[] = [];

  before(async () => {
    lab = await Lab.create();
    internet = await Internet.create(lab);
    server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    const url = await server.url();
    relayHost = await internet.host('relay');
    const token = await server.createToken(['--relay']);
    const data = lab.temporaryDirectory('relay');
    const args = ['relay', '--data', data, '--server', url, '--token', token];
    relay = relayHost.spawn(buriProgram, args);
    await relay.line(/\bready\b/, { timeoutMs: 30_000 });
    for (const name of ['anna', 'bert']) {
      homes.push(await Home.create(internet, { name, nat: 'symmetric' }));
    }
    anna = await arrive('anna', homes[0]!.firstHost, url);
    bert = await arrive('bert', homes[1]!.firstHost, url);
    await anna.daemon.verb('create', ['home', '-'], `${password}\n`);
    await bert.daemon.verb('join', ['home', '-', '--wait', '20'], `${password}\n`);
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('a relay with addresses of both families is listed with both', async () => {
    const listed = await server.operate(['relays']);
    const { ipv4, ipv6 } = relayHost;
    assert.match(listed, new RegExp(`standalone +${ipv4}:3480 +\\[${ipv6}\\]:3480`));
  });

  test('talk over a relay where both are symmetric, and are told why', async () => {
    await waitFor('a relayed tunnel', async () => (await pathTo(anna, bert))?.kind === 'relayed');
    const path = await waitFor('the reason', async () => {
      const seen = await pathTo(anna, bert);
      return seen?.reason?.includes('symmetric') === true ? seen : undefined;
    });
    assert.equal(path.transport, 'udp');
    const ping = await anna.host.ping(bert.ipv4, { count: 20 });
    assert.equal(ping.received, 20);
  });

  test('lose nothing when a direct path takes over from the relay', async () => {
    const url = await server.url();
    const easy: Home[] = [];
    for (const name of ['carl', 'dora']) {
      easy.push(await Home.create(internet, { name, nat: 'port-restricted' }));
    }
    const [carl, dora] = [
      await arrive('carl', easy[0]!.firstHost, url),
      await arrive('dora', easy[1]!.firstHost, url),
    ];
    const away = easy[0]!.publicIpv4;
    await dora.host.nft(`table inet apart {
      chain out { type filter hook output priority 0; ip daddr ${away} meta l4proto udp drop; }
      chain in { type filter hook input priority 0; ip saddr ${away} meta l4proto udp drop; }
    }`);
    await carl.daemon.verb('create', ['easy', '-'], `${password}\n`);
    await dora.daemon.verb('join', ['easy', '-', '--wait', '20'], `${password}\n`);
    assert.equal((await pathTo(carl, dora))?.kind, 'relayed');
    // Numbered packets all the while, both ways: an echo is one of either.
    const pings = carl.host.ping(dora.ipv4, { count: 900, intervalMs: 50 });
    await dora.host.nft('delete table inet apart');
    const isDirect = async (a: Person, b: Person) => (await pathTo(a, b))?.kind === 'direct';
    await waitFor(
      'a direct path',
      async () => (await isDirect(carl, dora)) && (await isDirect(dora, carl)),
      { timeoutMs: 40_000 },
    );
    const { sent, received } = await pings;
    assert.equal(received, sent);
  });

  test('go on over the other relay within seconds when theirs is killed', async () => {
    const { endpoint } = (await pathTo(anna, bert))!;
    const isServers = endpoint?.startsWith(server.host.ipv4) === true;
    if (isServers) await server.stop('SIGKILL');
    else await relay.stop('SIGKILL');
    await waitFor('packets to pass', async () => {
      const ping = await anna.host.ping(bert.ipv4, { count: 1 });
      return ping.received === 1;
    });
    const ping = await anna.host.ping(bert.ipv4, { count: 20 });
    assert.equal(ping.received, 20);
    const path = await pathTo(anna, bert);
    assert.equal(path?.kind, 'relayed');
    assert.notEqual(path?.endpoint, endpoint);
  });
});
