/**
 *            server
 *              ║
 *   ═══════ Internet ═══════      every verb through the real command line, daemons and server
 *     ║         ║         ║
 *    anna      bert     carol
 */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { BuriDaemon, BuriServer, buriProgram, VerbError } from '../../lab/buri.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

const skip = labSkipReason();
let lab: Lab;
let server: BuriServer;
let anna: BuriDaemon;
let bert: BuriDaemon;
let carol: BuriDaemon;

before(async () => {
  if (skip !== false) return;
  lab = await Lab.create();
  const internet = await Internet.create(lab);
  server = await BuriServer.start(await internet.host('server'));
  anna = await BuriDaemon.start(await internet.host('anna'));
  bert = await BuriDaemon.start(await internet.host('bert'));
  carol = await BuriDaemon.start(await internet.host('carol'));
});

after(async () => {
  await lab?.[Symbol.asyncDispose]();
});

/** The verb must be refused with this code. */
async function refused(code: string, attempt: Promise<unknown>): Promise<void> {
  await assert.rejects(attempt, (error) => {
    assert.ok(error instanceof VerbError, String(error));
    assert.equal(error.code, code, error.message);
    return true;
  });
}

/** How a member sees another one in the network; undefined when it does not. */
async function seen(by: BuriDaemon, nick: string, network = 'games') {
  const { networks } = await by.verb('list');
  const found = networks.find(({ name }) => name === network);
  return found?.members.find((member) => member.nick === nick);
}

const sees = (by: BuriDaemon, nick: string, presence: string) =>
  waitFor(`${nick} to be seen ${presence}`, async () => {
    assert.equal((await seen(by, nick))?.presence, presence);
    return true;
  });

const isOutOf = (who: BuriDaemon, network: string) =>
  waitFor(`${network} to be gone`, async () => {
    const { networks } = await who.verb('list');
    return networks.every(({ name }) => name !== network);
  });

test('logging in needs a token, which counts its uses; a wrong key is refused', {
  skip,
}, async () => {
  const url = await server.url();
  await refused('not-logged-in', anna.verb('create', ['games', 'pw']));
  await refused('token-required', anna.verb('login', [url]));
  const token = await server.createToken(['--uses', '2']);
  const { clientId } = await anna.verb('login', [url, '--nick', 'anna', '--token', token]);
  assert.match(clientId, /^\d{3}-\d{3}-\d{3}$/);
  const status = await anna.verb('status');
  assert.equal(status.state, 'online');
  assert.equal(status.clientId, clientId);
  const wrong = url.replace(/#.*/, `#${'A'.repeat(43)}`);
  await refused('server-key-mismatch', bert.verb('login', [wrong, '--token', token]));
  const unpinned = url.replace(/#.*/, '');
  const login = await bert.verb('login', [unpinned, '--nick', 'bert', '--token', token]);
  assert.equal(login.pinnedKey, url.replace(/.*#/, ''));
  await refused('token-used-up', carol.verb('login', [url, '--token', token]));
  const another = await server.createToken();
  await carol.verb('login', [url, '--nick', 'carol', '--token', another, '--wait', '20']);
});

test('a password lets members in, names are taken once, and join waits for tunnels', {
  skip,
}, async () => {
  const { id } = await anna.verb('create', ['games', '-'], 'pw\n');
  await refused('name-taken', bert.verb('create', ['games', 'x']));
  await refused('network-not-found', bert.verb('join', ['nothing', 'x']));
  await refused('password-required', bert.verb('join', ['games']));
  await refused('invalid-password', bert.verb('join', ['games', 'wrong']));
  const joined = await bert.verb('join', ['games', '-', '--wait', '20'], 'pw\n');
  assert.deepEqual([joined.id, joined.state], [id, 'member']);
  assert.equal((await seen(bert, 'anna'))?.path.kind, 'direct');
  await refused('already-member', bert.verb('join', ['games', 'pw']));
});

test('names that could deceive are refused', { skip }, async () => {
  for (const name of ['\u001b[2J', 'two\nlines', ' space', 'x'.repeat(65), '\u202ebackwards']) {
    await refused('invalid-name', anna.verb('set-nick', [name]));
    await refused('invalid-name', anna.verb('create', [name]));
  }
  await assert.rejects(anna.verb('create', ['x'.repeat(10_000)]), VerbError);
});

test('the owner approves by hand, rejects, locks, and changes the password', { skip }, async () => {
  await anna.verb('set-access', ['games', 'manual']);
  assert.equal((await carol.verb('join', ['games', 'pw'])).state, 'pending');
  await waitFor('the request to arrive', async () => {
    const { pending } = await anna.verb('network', ['games']);
    return pending[0]?.nick === 'carol';
  });
  await anna.verb('reject', ['games', 'carol']);
  await isOutOf(carol, 'games');
  await carol.verb('join', ['games', 'pw']);
  await waitFor('the request to be approved', async () => {
    await anna.verb('approve', ['games', 'carol']);
    return true;
  });
  await sees(carol, 'bert', 'online');
  await anna.verb('evict', ['games', 'carol']);
  await isOutOf(carol, 'games');
  await anna.verb('set-access', ['games', 'lock', 'auto']);
  await refused('network-locked', carol.verb('join', ['games', 'pw']));
  await anna.verb('set-access', ['games', 'unlock']);
  await anna.verb('set-pass', ['games', '-'], 'new\n');
  await refused('invalid-password', carol.verb('join', ['games', 'pw']));
  await carol.verb('join', ['games', 'new', '--wait', '20']);
  assert.equal((await seen(carol, 'bert'))?.path.kind, 'direct');
});

test('only the owner manages; a network is transferred before its owner leaves', {
  skip,
}, async () => {
  await refused('not-owner', bert.verb('set-pass', ['games', 'x']));
  await refused('not-owner', bert.verb('evict', ['games', 'anna']));
  await refused('not-owner', bert.verb('delete', ['games']));
  await refused('you-are-owner', anna.verb('leave', ['games']));
  await anna.verb('transfer', ['games', 'bert']);
  await refused('not-owner', anna.verb('set-access', ['games', 'lock']));
  await anna.verb('leave', ['games']);
  await isOutOf(anna, 'games');
  await waitFor('bert to see it', async () => (await seen(bert, 'anna')) === undefined);
});

test('a nickname reaches the others, and a peer is found by it', { skip }, async () => {
  await bert.verb('set-nick', ['Bert II']);
  await sees(carol, 'Bert II', 'online');
  const peer = await carol.verb('peer', ['Bert II']);
  assert.deepEqual(peer.networks, ['games']);
  assert.equal(peer.path.kind, 'direct');
  assert.ok(peer.candidates.length > 0);
  await refused('client-unknown', carol.verb('peer', ['bert']));
});

test('who goes offline in a network is offline there, and comes back', { skip }, async () => {
  await carol.verb('go-offline', ['games']);
  await sees(bert, 'carol', 'offline');
  await carol.verb('go-online', ['games']);
  await sees(bert, 'carol', 'online');
});

test('a logout is offline for the others at once, not a loss to be confirmed', {
  skip,
}, async () => {
  const seenOnTheWay = new Set<string | undefined>();
  await carol.verb('logout');
  await waitFor('carol to be offline', async () => {
    const presence = (await seen(bert, 'carol'))?.presence;
    seenOnTheWay.add(presence);
    return presence === 'offline';
  });
  assert.ok(!seenOnTheWay.has('unconfirmed'));
  assert.deepEqual((await carol.verb('list')).networks, []);
  await carol.verb('login', ['--wait', '20']);
  await sees(bert, 'carol', 'online');
});

test('a daemon that ends politely is offline for the others at once', { skip }, async () => {
  const { directory, host } = carol;
  assert.equal(await carol.stop(), 0);
  await sees(bert, 'carol', 'offline');
  carol = await BuriDaemon.start(host, { directory });
  await sees(bert, 'carol', 'online');
});

test('a deleted network is gone everywhere', { skip }, async () => {
  await bert.verb('delete', ['games']);
  await isOutOf(bert, 'games');
  await isOutOf(carol, 'games');
  const networks = await server.operate(['networks', '--json']);
  assert.deepEqual(JSON.parse(networks).networks, []);
});

test('what a person sees is said in words, with exit code 1 and nothing on standard output', {
  skip,
}, async () => {
  const args = ['join', 'nothing', '--socket', carol.socket];
  const { code, stdout, stderr } = await carol.host.run(buriProgram, args);
  assert.deepEqual([code, stdout], [1, '']);
  assert.match(stderr, /^buri: .*no network.*\n$/);
});
