import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { Verb } from '#wire/local-api.ts';
import { BuriDaemon, BuriServer, VerbError } from '../../lab/buri.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

const password = 'correct horse';

/** A member with its daemon, on a host of the Internet. */
interface Person {
  readonly host: Host;
  readonly daemon: BuriDaemon;
  readonly clientId: string;
  readonly ipv4: string;
}

describe('a daemon and a server', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let internet: Internet;
  let server: BuriServer;
  let url: string;
  let anna: Person;
  let bert: Person;

  const enter = async (nick: string): Promise<Person> => {
    const host = await internet.host(nick);
    const daemon = await BuriDaemon.start(host);
    const { clientId, ipv4 } = await daemon.verb('login', [url, '--nick', nick, '--wait', '20']);
    return { host, daemon, clientId, ipv4 };
  };
  const refused = (person: Pick<Person, 'daemon'>, verb: Verb, words: string[], code: string) =>
    assert.rejects(
      person.daemon.verb(verb, words),
      (error) => error instanceof VerbError && error.code === code && error.message.length < 500,
      `${verb} ${words.join(' ').slice(0, 60)} → ${code}`,
    );
  const network = (person: Person, name: string) => person.daemon.verb('network', [name]);
  const isDirect = async (from: Person, to: Person) => {
    const { networks } = await from.daemon.verb('list');
    return networks.some(({ members }) =>
      members.some(({ clientId, path }) => clientId === to.clientId && path.kind === 'direct'),
    );
  };

  before(async () => {
    lab = await Lab.create();
    internet = await Internet.create(lab);
    server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    url = await server.url();
    anna = await enter('anna');
    bert = await enter('bert');
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('status says who, where and how', async () => {
    const status = await anna.daemon.verb('status');
    assert.equal(status.state, 'online');
    assert.equal(status.nick, 'anna');
    assert.equal(status.device, 'buri0');
    assert.equal(status.server.connected, true);
    assert.match(status.clientId ?? '', /^[0-9]{3}-[0-9]{3}-[0-9]{3}$/);
    assert.match(status.ipv6 ?? '', /^fd62:7572:6900::/);
    assert.deepEqual(status.notices, []);
  });

  test('the interface has both addresses, the pool’s routes and MTU 1400', async () => {
    const [entry] = JSON.parse(await anna.host.check('ip', ['-j', 'addr', 'show', 'buri0']));
    assert.equal(entry.mtu, 1400);
    const addresses = entry.addr_info.map(
      (info: { local: string; prefixlen: number }) => `${info.local}/${info.prefixlen}`,
    );
    assert.ok(addresses.includes(`${anna.ipv4}/10`), addresses.join());
    assert.match(await anna.host.check('ip', ['route', 'get', '100.127.1.1']), /dev buri0/);
    assert.match(await anna.host.check('ip', ['route', 'get', 'fd62:7572:6900::1']), /dev buri0/);
  });

  test('create and join with a password; wrong ones, wrong names and taken names are refused', async () => {
    const { id } = await anna.daemon.verb('create', ['lan', password]);
    assert.equal((await network(anna, id)).password, true);
    await refused(bert, 'join', ['lan', 'wrong'], 'invalid-password');
    await refused(bert, 'join', ['lan'], 'password-required');
    await refused(bert, 'join', ['lam', password], 'network-not-found');
    await refused(bert, 'create', ['LAN', 'x'], 'name-taken');
    const joined = await bert.daemon.verb('join', ['lan', password, '--wait', '20']);
    assert.deepEqual(joined, { ok: true, id, name: 'lan', state: 'member' });
    assert.ok(await isDirect(bert, anna));
    await refused(bert, 'join', ['lan', password], 'already-member');
  });

  test('names with control characters, at the wrong length or of nothing are refused', async () => {
    for (const name of ['a\u0007b', 'a\u001b[2Jb', ' x', 'x'.repeat(10_000), 'a\u202eb']) {
      for (const verb of ['create', 'join'] as const) {
        await assert.rejects(anna.daemon.verb(verb, [name, 'pw']), VerbError, verb);
      }
      await assert.rejects(anna.daemon.verb('set-nick', [name]), VerbError);
    }
    assert.equal((await anna.daemon.verb('status')).nick, 'anna');
  });

  test('both families and both directions are carried', async () => {
    await waitFor('a tunnel', () => isDirect(anna, bert), { timeoutMs: 15_000 });
    const { ipv6 } = await bert.daemon.verb('status');
    assert.equal((await anna.host.ping(bert.ipv4, { count: 3 })).received, 3);
    assert.equal((await anna.host.ping(ipv6 ?? '', { count: 3 })).received, 3);
    assert.equal((await bert.host.ping(anna.ipv4, { count: 3 })).received, 3);
    const peer = await anna.daemon.verb('peer', ['bert']);
    assert.equal(peer.session.established, true);
    assert.ok(peer.session.sentBytes > 0 && peer.session.receivedBytes > 0);
    assert.deepEqual(peer.networks, ['lan']);
    await refused(anna, 'peer', ['nobody'], 'client-unknown');
  });

  test('the owner locks, admits by hand, rejects, hands over; others may not', async () => {
    const carol = await enter('carol');
    await refused(bert, 'set-access', ['lan', 'lock'], 'not-owner');
    await anna.daemon.verb('set-access', ['lan', 'lock']);
    await refused(carol, 'join', ['lan', password], 'network-locked');
    await anna.daemon.verb('set-access', ['lan', 'unlock', 'manual']);
    for (const answer of ['reject', 'approve'] as const) {
      const { state } = await carol.daemon.verb('join', ['lan', password]);
      assert.equal(state, 'pending');
      assert.equal((await network(carol, 'lan')).state, 'pending');
      await waitFor('the request', async () => (await network(anna, 'lan')).pending.length === 1);
      await anna.daemon.verb(answer, ['lan', 'carol']);
      await waitFor(`the ${answer}`, async () => {
        const { networks } = await carol.daemon.verb('list');
        return answer === 'reject' ? networks.length === 0 : networks[0]?.state === 'member';
      });
    }
    await waitFor('a tunnel', () => isDirect(carol, anna), { timeoutMs: 15_000 });
    await anna.daemon.verb('transfer', ['lan', 'carol']);
    await waitFor('the new owner', async () => {
      return (await network(bert, 'lan')).owner === carol.clientId;
    });
    await refused(anna, 'evict', ['lan', 'bert'], 'not-owner');
    await refused(carol, 'leave', ['lan'], 'you-are-owner');
    await carol.daemon.verb('transfer', ['lan', 'anna']);
    await carol.daemon.verb('leave', ['lan']);
    assert.deepEqual((await carol.daemon.verb('list')).networks, []);
    await carol.daemon.stop();
  });

  test('a new password lets newcomers in by it alone, and disturbs no tunnel', async () => {
    await anna.daemon.verb('set-access', ['lan', 'auto']);
    const before = await anna.daemon.verb('peer', ['bert']);
    await anna.daemon.verb('set-pass', ['lan', 'another']);
    const dora = await enter('dora');
    await refused(dora, 'join', ['lan', password], 'invalid-password');
    await dora.daemon.verb('join', ['lan', 'another', '--wait', '20']);
    assert.ok(await isDirect(dora, bert));
    assert.equal((await dora.host.ping(bert.ipv4)).received, 1);
    const now = await anna.daemon.verb('peer', ['bert']);
    const handshakeAgo = (peer: typeof now) => peer.session.lastHandshakeAgoMs ?? 0;
    assert.ok(handshakeAgo(now) > handshakeAgo(before), 'no new handshake was needed');
    await dora.daemon.verb('leave', ['lan']);
    await dora.daemon.stop();
  });

  test('nicknames change for everybody', async () => {
    await bert.daemon.verb('set-nick', ['Bert the Second']);
    await waitFor('the new nick', async () => {
      const { members } = await network(anna, 'lan');
      return members.some(({ nick }) => nick === 'Bert the Second');
    });
    await bert.daemon.verb('set-nick', ['bert']);
  });

  test('logout takes everything down and stays; login brings it back without a URL', async () => {
    await bert.daemon.verb('logout');
    assert.equal((await bert.daemon.verb('status')).state, 'offline');
    assert.equal((await bert.host.run('ip', ['link', 'show', 'buri0'])).code, 1);
    await refused(bert, 'create', ['x'], 'not-logged-in');
    await waitFor('anna to notice', async () => {
      const { members } = await network(anna, 'lan');
      return members.find(({ clientId }) => clientId === bert.clientId)?.presence === 'offline';
    });
    await bert.daemon.verb('login', ['--wait', '20']);
    await waitFor('the tunnel', () => isDirect(bert, anna), { timeoutMs: 15_000 });
    assert.equal((await bert.host.ping(anna.ipv4)).received, 1);
  });

  test('a daemon that was killed comes back by itself, on the same port', async () => {
    const { port } = await bert.daemon.verb('status');
    await bert.daemon.stop('SIGKILL');
    const daemon = await BuriDaemon.start(bert.host, { directory: bert.daemon.directory });
    bert = { ...bert, daemon };
    await waitFor('bert to be online', async () => {
      const status = await daemon.verb('status');
      return status.state === 'online' && status.port === port;
    });
    await waitFor('the tunnel', async () => (await bert.host.ping(anna.ipv4)).received === 1, {
      timeoutMs: 15_000,
    });
  });

  test('a daemon that ends says goodbye and leaves nothing behind', async () => {
    const dirk = await enter('dirk');
    await dirk.daemon.verb('join', ['lan', 'another', '--wait', '20']);
    assert.equal(await dirk.daemon.stop('SIGTERM'), 0);
    assert.equal((await dirk.host.run('ip', ['link', 'show', 'buri0'])).code, 1);
    assert.doesNotMatch(await dirk.host.check('ip', ['route']), /100[.]64/);
    assert.throws(() => statSync(dirk.daemon.socket));
    await waitFor('anna to notice', async () => {
      const { members } = await network(anna, 'lan');
      return members.find(({ nick }) => nick === 'dirk')?.presence === 'offline';
    });
  });

  test('an interface that somebody removes is made again', async () => {
    await bert.host.ip('link delete buri0');
    await waitFor('the interface', async () => {
      return (await bert.host.ping(anna.ipv4, { timeoutMs: 500 })).received === 1;
    });
  });

  test('a pool that overlaps a local route is refused, naming the route', async () => {
    const emil = await internet.host('emil');
    await emil.ip('link add lan0 type bridge', 'link set lan0 up');
    await emil.ip('route add 100.70.0.0/16 dev lan0');
    const daemon = await BuriDaemon.start(emil);
    await assert.rejects(
      daemon.verb('login', [url]),
      (error) =>
        error instanceof VerbError &&
        error.code === 'pool-overlap' &&
        /100[.]70[.]0[.]0\/16 dev lan0/.test(error.message),
    );
    assert.equal((await daemon.verb('status')).state, 'offline');
    await emil.ip('route del 100.70.0.0/16 dev lan0');
    await daemon.verb('login', [url]);
    await daemon.stop();
  });

  test('a wrong key in the URL, an unreachable server and a damaged URL are told apart', async () => {
    const host = await internet.host('fritz');
    const daemon = await BuriDaemon.start(host);
    const [address, key = ''] = url.split('#');
    const other = `${key.startsWith('A') ? 'B' : 'A'}${key.slice(1)}`;
    await refused({ daemon }, 'login', [`${address}#${other}`], 'server-key-mismatch');
    await refused({ daemon }, 'login', ['buri://198.51.100.1:9#'], 'bad-server-url');
    await refused({ daemon }, 'login', ['buri://127.0.0.1:9'], 'server-unreachable');
    await refused({ daemon }, 'login', [], 'no-server-url');
    assert.equal((await daemon.verb('status')).state, 'offline');
    const { pinnedKey } = await daemon.verb('login', [address ?? '']);
    assert.equal(pinnedKey, key);
    const { notices } = await daemon.verb('status');
    assert.ok(notices.some(({ code }) => code === 'key-pinned'));
    await daemon.stop();
  });

  test('a copied identity is told so, and so is the original', async () => {
    const host = await internet.host('gerd');
    const copy = lab.temporaryDirectory('copy');
    cpSync(anna.daemon.directory, copy, {
      recursive: true,
      filter: (source) => !source.endsWith('.sock'),
    });
    const daemon = await BuriDaemon.start(host, { directory: copy });
    await waitFor('the copy to be told', async () => {
      const { server: link } = await daemon.verb('status');
      return link.error?.code === 'identity-in-use';
    });
    await waitFor('the original to be told', async () => {
      const { notices } = await anna.daemon.verb('status');
      return notices.some(({ code }) => code === 'identity-in-use');
    });
    assert.equal((await anna.daemon.verb('status')).state, 'online');
    await daemon.stop();
  });

  test('the socket belongs to root and the group buri; a stale one is replaced', async (t) => {
    const socket = statSync(anna.daemon.socket);
    const hasGroup = spawnSync('getent', ['group', 'buri']).status === 0;
    assert.equal(socket.mode & 0o777, hasGroup ? 0o660 : 0o600);
    const host = await internet.host('ida');
    const directory = lab.temporaryDirectory('stale');
    const first = await BuriDaemon.start(host, { directory });
    await first.stop('SIGKILL');
    assert.ok(statSync(first.socket).isSocket());
    const second = await BuriDaemon.start(host, { directory });
    assert.equal((await second.verb('status')).state, 'offline');
    await second.stop();
    t.diagnostic(hasGroup ? 'the group buri exists' : 'there is no group buri here');
  });

  test('a damaged state is set aside; identity and addresses stay, the secret is had back by joining again', async () => {
    const { directory } = bert.daemon;
    await bert.daemon.stop();
    writeFileSync(join(directory, 'state.json'), '{"version":1,"nick"');
    const daemon = await BuriDaemon.start(bert.host, { directory });
    bert = { ...bert, daemon };
    const { notices } = await daemon.verb('status');
    assert.ok(notices.some(({ code }) => code === 'state-corrupt'));
    const { clientId, ipv4 } = await daemon.verb('login', [url, '--nick', 'bert', '--wait', '20']);
    assert.equal(clientId, bert.clientId);
    assert.equal(ipv4, bert.ipv4);
    await waitFor('the missing secret to be named', async () => {
      const { notices: now } = await daemon.verb('status');
      return now.some(({ code }) => code === 'secret-missing');
    });
    await refused(bert, 'join', ['lan', 'wrong'], 'invalid-password');
    await daemon.verb('join', ['lan', 'another', '--wait', '20']);
    assert.equal((await bert.host.ping(anna.ipv4)).received, 1);
  });

  test('an evicted member has no tunnel a second later, and may come again', async () => {
    const pings = anna.host.spawn('ping', ['-n', '-D', '-i', '0.05', bert.ipv4]);
    await pings.line(/bytes from/);
    await anna.daemon.verb('evict', ['lan', 'bert']);
    const evictedAt = Date.now();
    await waitFor('the tunnels to be down', async () => {
      const views = [await anna.daemon.verb('list'), await bert.daemon.verb('list')];
      const members = views[0]?.networks[0]?.members ?? [];
      return !members.some(({ nick }) => nick === 'bert') && views[1]?.networks.length === 0;
    });
    await pings.stop('SIGINT');
    const last = pings.lines.findLast((line) => line.includes('bytes from')) ?? '';
    const lastAt = 1000 * Number(/^\[([0-9.]+)\]/.exec(last)?.[1]);
    assert.ok(lastAt > 0 && lastAt < evictedAt + 1000, `${lastAt - evictedAt} ms later`);
    assert.equal((await anna.host.ping(bert.ipv4, { timeoutMs: 300 })).received, 0);
    assert.equal((await bert.host.ping(anna.ipv4, { timeoutMs: 300 })).received, 0);
    await bert.daemon.verb('join', ['lan', 'another', '--wait', '20']);
    assert.equal((await bert.host.ping(anna.ipv4)).received, 1);
  });

  test('a server that restarts finds everybody as they were, and tunnels never stop', async () => {
    const pings = anna.host.spawn('ping', ['-n', '-i', '0.1', bert.ipv4]);
    await server.stop('SIGKILL');
    await waitFor('anna to notice', async () => {
      const { server: link } = await anna.daemon.verb('status');
      return !link.connected && link.error !== undefined;
    });
    assert.equal((await anna.host.ping(bert.ipv4, { count: 3 })).received, 3);
    const { directory } = server;
    server = await BuriServer.start(server.host, { directory, enrol: 'open' });
    for (const { daemon } of [anna, bert]) {
      await waitFor('the login', async () => (await daemon.verb('status')).state === 'online', {
        timeoutMs: 20_000,
      });
    }
    await pings.stop('SIGINT');
    const summary = pings.lines.find((line) => line.includes('packet loss')) ?? '';
    assert.match(summary, / 0% packet loss/);
  });

  test('a deleted network is gone for everybody', async () => {
    await anna.daemon.verb('delete', ['lan']);
    await waitFor('bert to notice', async () => {
      return (await bert.daemon.verb('list')).networks.length === 0;
    });
    mkdirSync(join(bert.daemon.directory, 'still-there'));
    assert.equal((await bert.daemon.verb('status')).state, 'online');
  });
});
