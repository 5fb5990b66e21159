/** `buri doctor` on members in real trouble: it says what is wrong, and on which side. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { DoctorCheck } from '#wire/local-api.ts';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

/** Half an hour ahead, in one process alone. */
const wrongClock = '--import=data:text/javascript,const{now}=Date;Date.now=()=>now()+1800000';

describe('a doctor', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let internet: Internet;
  let server: BuriServer;
  let url: string;
  let anna: BuriDaemon;
  let bert: BuriDaemon;

  const checks = async (daemon: BuriDaemon, id: string): Promise<DoctorCheck[]> =>
    (await daemon.verb('doctor')).checks.filter((check) => check.id === id);
  const finds = async (daemon: BuriDaemon, id: string, expected: string) => {
    const [check] = await checks(daemon, id);
    assert.equal(`${check?.status} ${check?.side}`, expected, JSON.stringify(check));
    return check;
  };
  const login = async (host: Host, nick: string, env: Record<string, string> = {}) => {
    const daemon = await BuriDaemon.start(host, { env });
    await daemon.verb('login', ['--nick', nick, '--wait', '20', url]);
    return daemon;
  };

  before(async () => {
    lab = await Lab.create();
    internet = await Internet.create(lab);
    server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    url = await server.url();
    anna = await login(await internet.host('anna'), 'anna');
    bert = await login(await internet.host('bert'), 'bert');
    await anna.verb('create', ['home']);
    await bert.verb('join', ['home', '--wait', '20']);
    await waitFor('a tunnel', async () => {
      const { networks } = await anna.verb('list');
      return networks[0]?.members.some(({ path }) => path.kind === 'direct') === true;
    });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('finds nothing wrong where nothing is', async () => {
    const view = await anna.verb('doctor');
    for (const { status, title } of view.checks) {
      assert.ok(status === 'ok' || status === 'unknown', `${status}: ${title}`);
    }
    assert.ok(view.healthy);
    const ids = new Set(view.checks.filter(({ status }) => status === 'ok').map(({ id }) => id));
    for (const id of [
      'server',
      'clock',
      'device',
      'routes',
      'firewall',
      'firewall-udp',
      'udp',
      'mtu',
      'peer',
    ])
      assert.ok(ids.has(id), id);
    const text = await anna.host.check('bin/buri', ['doctor', '--socket', anna.socket]);
    assert.match(text, /Nothing is wrong\.\n$/);
  });

  test('tells a firewall on the interface from NAT trouble, from both sides', async () => {
    await bert.host.nft(`table inet strict {
      chain input {
        type filter hook input priority filter; policy accept;
        ct state established,related accept
        iifname "buri0" drop
      }
    }`);
    const own = await finds(bert, 'firewall', 'problem here');
    assert.match(own?.title ?? '', /drops everything .* buri0 \(chain inet strict input\)/);
    await finds(bert, 'udp', 'ok here');
    const seen = await finds(anna, 'peer', 'problem peer');
    assert.match(seen?.title ?? '', /bert has closed ports: the tunnel works/);
    assert.equal((await anna.verb('doctor')).healthy, false);
    await finds(anna, 'firewall', 'ok here');
    await bert.host.nft('delete table inet strict');
    await finds(anna, 'peer', 'ok peer');
  });

  test('sees that unasked UDP to the tunnel port is dropped', async () => {
    await bert.host.setFirewall(true);
    await finds(bert, 'firewall-udp', 'warning here');
    await finds(bert, 'firewall', 'ok here');
    await bert.host.setFirewall(false);
    await finds(bert, 'firewall-udp', 'ok here');
  });

  test('sees that UDP is blocked', async () => {
    const cafe = await Home.create(internet, { name: 'cafe', nat: 'udp-blocked' });
    await using carol = await login(cafe.firstHost, 'carol');
    const check = await finds(carol, 'udp', 'problem network');
    assert.match(check?.title ?? '', /UDP is blocked/);
    await finds(carol, 'server', 'ok here');
  });

  test('sees a clock that is wrong', async () => {
    await using dora = await login(await internet.host('dora'), 'dora', {
      NODE_OPTIONS: wrongClock,
    });
    const check = await finds(dora, 'clock', 'problem here');
    assert.match(check?.title ?? '', /30 minutes ahead/);
  });

  test('sees routes that are not what they should be', async () => {
    await anna.host.ip(
      'route add 100.64.0.0/10 dev eth0 metric 1 table 7',
      'rule add pref 10 to 100.64.0.0/10 lookup 7',
    );
    const routes = await checks(anna, 'routes');
    assert.equal(routes[0]?.status, 'problem', JSON.stringify(routes));
    await anna.host.ip('rule del pref 10', 'route flush table 7');
    await finds(anna, 'routes', 'ok here');
  });

  test('sees that the server is gone, and that members are reached all the same', async () => {
    await server.stop();
    await waitFor('the loss', async () => !(await anna.verb('status')).server.connected);
    await waitFor('a reason', async () => {
      const [check] = await checks(anna, 'server');
      return check?.status === 'problem' && check.side === 'server';
    });
    await finds(anna, 'peer', 'ok peer');
  });
});
