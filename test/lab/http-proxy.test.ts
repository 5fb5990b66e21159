/** A member whose only way out is an HTTP proxy. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriDaemon, BuriServer, type VerbError } from '../../lab/buri.ts';
import { Home } from '../../lab/home.ts';
import { confine, HttpProxy } from '../../lab/http-proxy.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

const user = 'anna';
const password = 'geheim';

describe('a company network', { skip: labSkipReason() || HttpProxy.skipReason() }, () => {
  let lab: Lab;
  let internet: Internet;
  let office: Home;
  let server: BuriServer;
  let proxy: HttpProxy;
  let url: string;

  const start = (env: Record<string, string>) => BuriDaemon.start(office.host('anna'), { env });
  const refusalOf = (attempt: Promise<unknown>): Promise<VerbError> =>
    attempt.then(
      () => assert.fail('it logged in'),
      (error) => error as VerbError,
    );

  before(async () => {
    lab = await Lab.create();
    internet = await Internet.create(lab);
    server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    url = await server.url();
    const hosts = ['anna', 'proxy'];
    office = await Home.create(internet, { name: 'office', nat: 'port-restricted', hosts });
    await confine(office, office.host('anna'));
    proxy = await HttpProxy.start(office.host('proxy'), { user, password });
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('without the proxy there is no way to the server', async () => {
    await using daemon = await start({});
    const ping = await office.host('anna').ping(server.host.ipv4, { timeoutMs: 300 });
    assert.equal(ping.received, 0);
    const refusal = await refusalOf(daemon.verb('login', [url]));
    assert.match(refusal.code, /^(login-timeout|server-unreachable)$/);
  });

  test('with the proxy of the environment it logs in, and the password shows nowhere', async () => {
    await using daemon = await start({ https_proxy: proxy.url(`${user}:${password}`) });
    await daemon.verb('login', ['--wait', '20', url]);
    const status = await daemon.verb('status');
    assert.equal(status.state, 'online');
    assert.equal(status.server.proxy, proxy.url());
    await daemon.verb('create', ['office']);
    const output = daemon.process.tail;
    assert.ok(output.includes('ready'));
    assert.ok(!`${output}${JSON.stringify(status)}`.includes(password), output);
    await daemon.stop();
  });

  test('a wrong password is said to be wrong', async () => {
    await using daemon = await start({ BURI_PROXY: proxy.url(`${user}:falsch`) });
    const refusal = await refusalOf(daemon.verb('login', [url]));
    assert.equal(refusal.code, 'proxy-authentication', refusal.message);
    assert.ok(!refusal.message.includes('falsch'));
  });

  test('a proxy that comes back is used again', async () => {
    const spare = await HttpProxy.start(await office.addHost('spare'));
    await using daemon = await start({ BURI_PROXY: spare.url() });
    await daemon.verb('login', ['--wait', '20', url]);
    await spare.process.stop('SIGKILL');
    await waitFor('the loss', async () => {
      const { server } = await daemon.verb('status');
      return server.error?.code === 'proxy-unreachable';
    });
    await HttpProxy.start(spare.host);
    await waitFor('the way back', async () => (await daemon.verb('status')).state === 'online', {
      timeoutMs: 30_000,
    });
  });

  test('members are reached by a relay over TCP, through the proxy, and the doctor says so', async () => {
    await using anna = await start({ https_proxy: proxy.url(`${user}:${password}`) });
    const { clientId } = await anna.verb('login', ['--nick', 'anna', '--wait', '20', url]);
    await using bert = await BuriDaemon.start(await internet.host('bert'));
    const { ipv4 } = await bert.verb('login', ['--nick', 'bert', '--wait', '20', url]);
    await anna.verb('create', ['relayed', '-'], 'a password\n');
    await bert.verb('join', ['relayed', '-', '--wait', '30'], 'a password\n');
    const path = async () => {
      const { networks } = await anna.verb('list');
      const network = networks.find(({ name }) => name === 'relayed');
      return network?.members.find((member) => member.clientId !== clientId)?.path;
    };
    await waitFor('a relayed path', async () => (await path())?.kind === 'relayed', {
      timeoutMs: 30_000,
    });
    assert.equal((await path())?.transport, 'tcp');
    await waitFor('an answer', async () => (await anna.host.ping(ipv4)).received === 1);
    assert.equal((await anna.host.ping(ipv4, { count: 20, sizeBytes: 1300 })).received, 20);
    const { checks } = await anna.verb('doctor');
    const about = (id: string) => checks.find((check) => check.id === id);
    assert.equal(about('udp')?.status, 'problem', JSON.stringify(checks));
    assert.match(about('relay')?.title ?? '', /by TCP/);
    assert.match(about('peer')?.title ?? '', /by a relay over TCP/);
  });
});
