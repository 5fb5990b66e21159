/** The main job end to end: a server on the Internet, two homes behind port-restricted NATs, and a host without one. */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { pinnedNode, repositoryRoot } from '../../lab/exec.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

const name = 'two homes';
const password = 'one private LAN';
/** A client lost without goodbye is unconfirmed this long. */
const graceSeconds = 6;
/** Idle mappings of the homes' routers live this long. */
const mappingSeconds = 30;
const fileBytes = 16 * 1024 * 1024;
const tool = join(repositoryRoot, 'lab', 'tcp-tool.ts');

class Person {
  readonly nick: string;
  readonly host: Host;
  daemon!: BuriDaemon;
  clientId = '';
  ipv4 = '';
  ipv6 = '';

  constructor(nick: string, host: Host) {
    this.nick = nick;
    this.host = host;
  }

  async start(directory?: string): Promise<void> {
    this.daemon = await BuriDaemon.start(this.host, directory === undefined ? {} : { directory });
  }

  async sees(other: Person) {
    const { networks } = await this.daemon.verb('list');
    return networks[0]?.members.find(({ clientId }) => clientId === other.clientId);
  }

  async reaches(other: Person): Promise<boolean> {
    const [ping4, ping6] = await Promise.all([
      this.host.ping(other.ipv4, { count: 3 }),
      this.host.ping(other.ipv6, { count: 3 }),
    ]);
    return ping4.received === 3 && ping6.received === 3;
  }
}

describe('two homes behind NATs and a host without one', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let server: BuriServer;
  let anna: Person;
  let bert: Person;
  let carol: Person;
  let people: Person[];
  const homes: Home[] = [];

  const pairs = () =>
    people.flatMap((a) => people.filter((b) => b !== a).map((b) => [a, b] as const));
  const direct = async (a: Person, b: Person) => {
    const entry = await a.sees(b);
    if (entry?.path.kind !== 'direct')
      throw new Error(`${a.nick} → ${b.nick}: ${JSON.stringify(entry)}`);
    return true;
  };
  const presence = (watcher: Person, other: Person, expected: string, timeoutMs = 15_000) =>
    waitFor(
      `${watcher.nick} to see ${other.nick} ${expected}`,
      async () => (await watcher.sees(other))?.presence === expected,
      { timeoutMs },
    );
  const startServer = async (host: Host, directory?: string) => {
    const args = ['--grace', `${graceSeconds}`];
    server = await BuriServer.start(host, {
      ...{ enrol: 'open', args },
      ...(directory === undefined ? {} : { directory }),
    });
  };

  before(async () => {
    lab = await Lab.create();
    const internet = await Internet.create(lab);
    await startServer(await internet.host('server'));
    for (const home of ['anna', 'bert']) {
      const options = { name: home, timeoutSeconds: mappingSeconds };
      homes.push(await Home.create(internet, { ...options, nat: 'port-restricted' }));
    }
    anna = new Person('anna', homes[0]!.firstHost);
    bert = new Person('bert', homes[1]!.firstHost);
    carol = new Person('carol', await internet.host('carol'));
    people = [anna, bert, carol];
    const url = await server.url();
    for (const person of people) {
      await person.start();
      const login = ['--nick', person.nick, '--wait', '20', url];
      Object.assign(person, await person.daemon.verb('login', login));
    }
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('join waits until every member has a direct tunnel, through both NATs', async () => {
    await anna.daemon.verb('create', [name, '-'], `${password}\n`);
    await bert.daemon.verb('join', [name, '-', '--wait', '20'], `${password}\n`);
    await carol.daemon.verb('join', [name, '-', '--wait', '20'], `${password}\n`);
    for (const [a, b] of pairs()) await waitFor('a direct tunnel', () => direct(a, b));
    const { nat } = await anna.daemon.verb('status');
    assert.deepEqual(
      [nat.mapping, nat.filtering],
      ['endpoint-independent', 'address-and-port-dependent'],
    );
    assert.equal((await anna.sees(bert))?.path.endpoint?.split(':')[0], homes[1]!.publicIpv4);
  });

  test('everybody reaches everybody by IPv4 and IPv6', async () => {
    for (const [a, b] of pairs()) assert.ok(await a.reaches(b), `${a.nick} → ${b.nick}`);
  });

  test('a file arrives as it was sent', async () => {
    const directory = lab.temporaryDirectory('file');
    const content = randomBytes(fileBytes);
    writeFileSync(join(directory, 'sent'), content);
    const expected = createHash('sha256').update(content).digest('hex');
    const end = [bert.ipv4, '5001'];
    const receiver = bert.host.spawn(pinnedNode, [tool, 'receive', ...end, join(directory, 'got')]);
    await receiver.line(/^listening$/);
    await anna.host.check(pinnedNode, [tool, 'send', ...end, join(directory, 'sent')], {
      timeoutMs: 120_000,
    });
    const line = await receiver.line(/^\d+ [0-9a-f]{64}$/, { timeoutMs: 60_000 });
    assert.equal(line, `${fileBytes} ${expected}`);
  });

  test('who goes offline in the network is seen so, is reached by nobody, and comes back', async () => {
    await carol.daemon.verb('go-offline', [name]);
    await presence(anna, carol, 'offline');
    assert.equal((await anna.host.ping(carol.ipv4, { timeoutMs: 500 })).received, 0);
    await carol.daemon.verb('go-online', [name]);
    await presence(anna, carol, 'online');
    await waitFor('the way back', () => anna.reaches(carol), { timeoutMs: 15_000 });
  });

  test('a killed daemon is unconfirmed, then offline; started again it has its tunnels back', async () => {
    const { directory } = bert.daemon;
    await bert.daemon.stop('SIGKILL');
    await presence(anna, bert, 'unconfirmed', 5000);
    await presence(anna, bert, 'offline', graceSeconds * 1000 + 10_000);
    assert.equal((await anna.sees(bert))?.path.kind, 'none');
    assert.ok(await anna.reaches(carol), 'the others go on');
    await bert.start(directory);
    await presence(anna, bert, 'online');
    for (const other of [anna, carol]) {
      await waitFor('the tunnel', () => direct(bert, other), { timeoutMs: 15_000 });
      assert.ok(await other.reaches(bert));
    }
  });

  test('without the server the tunnels stay, longer than an idle mapping and beyond the grace period', async () => {
    const pings = bert.host.spawn('ping', ['-n', '-i', '0.2', carol.ipv4]);
    await pings.line(/bytes from/);
    await server.stop('SIGKILL');
    const deadAt = performance.now();
    await waitFor('anna to notice', async () => {
      return !(await anna.daemon.verb('status')).server.connected;
    });
    // Nothing is sent between the homes: only keepalives hold their mappings open.
    const quietMs = (mappingSeconds + 5) * 1000;
    await waitFor('the mappings to be old', () => performance.now() - deadAt > quietMs, {
      timeoutMs: quietMs + 5000,
      intervalMs: 500,
    });
    for (const [a, b] of pairs()) assert.ok(await a.reaches(b), `${a.nick} → ${b.nick}`);
    await pings.stop('SIGINT');
    assert.match(pings.lines.find((line) => line.includes('packet loss')) ?? '', / 0% packet loss/);
  });

  test('members who start anew while the server is dead have their tunnels back within ten seconds', async () => {
    for (const person of [anna, bert]) {
      const { directory } = person.daemon;
      await person.daemon.stop('SIGKILL');
      await person.start(directory);
    }
    const startedAt = performance.now();
    await waitFor('the tunnel', () => anna.reaches(bert), { timeoutMs: 20_000, intervalMs: 100 });
    const tookMs = performance.now() - startedAt;
    assert.ok(tookMs < 10_000, `${Math.round(tookMs)} ms`);
    for (const [a, b] of pairs()) await waitFor('a direct tunnel', () => direct(a, b));
    const pings = bert.host.spawn('ping', ['-n', '-i', '0.2', carol.ipv4]);
    await pings.line(/bytes from/);
    const { directory, host } = server;
    await startServer(host, directory);
    for (const { daemon } of people) {
      await waitFor('the login', async () => (await daemon.verb('status')).state === 'online', {
        timeoutMs: 70_000,
      });
    }
    for (const [a, b] of pairs()) await presence(a, b, 'online');
    await pings.stop('SIGINT');
    assert.match(pings.lines.find((line) => line.includes('packet loss')) ?? '', / 0% packet loss/);
  });

  test('a home that gets another public address is found again by the other one', async () => {
    const before = (await anna.sees(bert))?.path.endpoint;
    // Each side sends: whoever only listens learns of it no sooner than by a keepalive.
    const pings = bert.host.spawn('ping', ['-n', '-i', '0.2', anna.ipv4]);
    await homes[1]!.changePublicAddress();
    await waitFor('the way back', () => anna.reaches(bert), { timeoutMs: 20_000 });
    await waitFor('the new address', async () => {
      const path = (await anna.sees(bert))?.path;
      return path?.kind === 'direct' && path.endpoint !== before;
    });
    await pings.stop('SIGINT');
  });

  test('an evicted member has no tunnel within a second', async () => {
    const pings = anna.host.spawn('ping', ['-n', '-D', '-i', '0.05', bert.ipv4]);
    await pings.line(/bytes from/);
    await anna.daemon.verb('evict', [name, 'bert']);
    const evictedAt = Date.now();
    await waitFor('bert to be out', async () => {
      return (await bert.daemon.verb('list')).networks.length === 0;
    });
    assert.equal((await anna.host.ping(bert.ipv4, { timeoutMs: 300 })).received, 0);
    await pings.stop('SIGINT');
    const last = pings.lines.findLast((line) => line.includes('bytes from')) ?? '';
    const lastAt = 1000 * Number(/^\[([0-9.]+)\]/.exec(last)?.[1]);
    assert.ok(lastAt > 0 && lastAt < evictedAt + 1000, `${lastAt - evictedAt} ms later`);
    assert.ok(await anna.reaches(carol));
  });
});
