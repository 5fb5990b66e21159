import assert from 'node:assert/strict';
import { type SpawnOptions, spawn } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { localApi, type MemberEntry, type NetworkEntry, type Verb } from '#wire/local-api.ts';
import { FakeDaemon } from './fake-daemon.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const buri = join(root, 'bin', 'buri');

interface Result {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

interface RunOptions {
  readonly input?: string | Buffer;
  readonly env?: Record<string, string>;
  readonly spawn?: SpawnOptions;
}

function run(args: readonly string[], { input = '', env = {}, ...rest }: RunOptions = {}) {
  const { BURI_SOCKET: _, NO_COLOR: __, FORCE_COLOR: ___, ...inherited } = process.env;
  const child = spawn(buri, args, { env: { ...inherited, ...env }, ...rest.spawn });
  const text = { stdout: '', stderr: '' };
  child.stdout?.on('data', (chunk) => {
    text.stdout += chunk;
  });
  child.stderr?.on('data', (chunk) => {
    text.stderr += chunk;
  });
  child.stdin?.on('error', () => {});
  child.stdin?.end(input);
  const result = new Promise<Result>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, ...text }));
  });
  return Object.assign(result, { child });
}

/** Runs a command on a terminal of its own; `keys` are typed when it asks for a password. */
async function onTerminal(command: string, env: Record<string, string>, keys?: string) {
  const { NO_COLOR: _, ...inherited } = process.env;
  const child = spawn('script', ['-qefc', command, '/dev/null'], { env: { ...inherited, ...env } });
  let text = '';
  child.stdout.on('data', (chunk) => {
    text += chunk;
    if (keys !== undefined && text.includes('Password: ')) child.stdin.write(keys);
    if (text.includes('Password: ')) keys = undefined;
  });
  const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
  return { code, text };
}

const direct = {
  kind: 'direct',
  transport: 'udp',
  endpoint: '203.0.113.7:4242',
  rttMs: 1.5,
} as const;
const anna: MemberEntry = {
  clientId: '100-000-001',
  nick: 'anna',
  ipv4: '100.64.0.1',
  ipv6: 'fd62:7572:6900::6440:1',
  presence: 'online',
  self: true,
  path: { kind: 'none' },
};
const bert: MemberEntry = {
  clientId: '100-000-002',
  nick: 'bert',
  ipv4: '100.64.0.2',
  ipv6: 'fd62:7572:6900::6440:2',
  presence: 'online',
  self: false,
  path: direct,
};
const games: NetworkEntry = {
  id: '398-581-422',
  name: 'games',
  type: 'mesh',
  online: true,
  state: 'member',
  owner: anna.clientId,
  locked: false,
  approval: 'auto',
  password: true,
  pending: [],
  members: [anna, bert],
};
const done = { ok: true };
const joined = { ok: true, id: games.id, name: games.name, state: 'member' };
const loggedIn = { ok: true, clientId: anna.clientId, ipv4: anna.ipv4, ipv6: anna.ipv6 };
const status = {
  version: '0.1.0',
  pid: 42,
  state: 'online',
  clientId: anna.clientId,
  nick: 'anna',
  ipv4: anna.ipv4,
  ipv6: anna.ipv6,
  device: 'buri0',
  mode: 'tun',
  portMapping: {
    enabled: false,
    pcp: { state: 'idle' },
    natPmp: { state: 'idle' },
    upnp: { state: 'idle' },
    external: null,
    protocol: null,
    lifetimeSeconds: null,
    renewInSeconds: null,
    gateways: [],
  },
  relays: [],
  lanRoutes: [],
  offloads: ['vnet-hdr', 'vaes'],
  port: 41641,
  server: { url: 'buri://vpn.example.org:8443#KEY', connected: true },
  nat: {
    mapping: 'endpoint-independent',
    filtering: 'address-and-port-dependent',
    publicEndpoints: ['203.0.113.9:41641'],
  },
  notices: [],
  counters: { 'udp-received': 7 },
};
const check = {
  udp: 'works',
  ipv4: { udp: 'works', publicEndpoint: '198.51.100.1:1234', rttMs: 41.2 },
  ipv6: null,
  nat: {
    mapping: 'address-and-port-dependent',
    filtering: 'address-and-port-dependent',
    hairpin: false,
    portPreserved: false,
    allocation: { pattern: 'sequential', step: 1 },
    mappingLifetimeMs: null,
  },
  portMapping: [],
  httpProxy: null,
  relays: [],
  meaning: [{ about: 'udp', text: 'tunnels can be made' }],
};

const peer = {
  ...bert,
  networks: ['games'],
  session: { established: true, suite: 'aes256gcm', sentBytes: 1, receivedBytes: 2 },
  candidates: [{ kind: 'host', endpoint: '192.168.1.10:4242', state: 'proven', rttMs: 1.5 }],
};

/** Every verb: a command line, the request that it must become, an answer, and what a person must see of it. */
const verbs: readonly {
  verb: Verb;
  args: string[];
  body: unknown;
  answer: unknown;
  shows: RegExp;
  input?: string;
}[] = [
  {
    verb: 'status',
    args: ['status'],
    body: {},
    answer: status,
    shows: /state +online\n.*100-000-001/s,
  },
  {
    verb: 'login',
    args: ['login', 'buri://h:1#K', '--nick', 'anna', '--token', 'T', '--wait', '5'],
    body: { url: 'buri://h:1#K', nick: 'anna', token: 'T', waitSeconds: 5 },
    answer: loggedIn,
    shows: /logged in\n +client id +100-000-001\n/,
  },
  {
    verb: 'login',
    args: ['login'],
    body: {},
    answer: { ...loggedIn, pinnedKey: 'PINNED' },
    shows: /PINNED\n.*[Cc]ompare/s,
  },
  { verb: 'logout', args: ['logout'], body: {}, answer: done, shows: /logged out/ },
  {
    verb: 'create',
    args: ['create', 'games', '-'],
    input: 'secret word\n',
    body: { network: 'games', password: 'secret word' },
    answer: joined,
    shows: /created games \[398-581-422\]\n.*buri join games -/s,
  },
  {
    verb: 'create',
    args: ['create', 'games'],
    body: { network: 'games' },
    answer: joined,
    shows: /buri join games\n/,
  },
  {
    verb: 'join',
    args: ['join', '--wait', '1.5', 'games', 'pw'],
    body: { network: 'games', password: 'pw', waitSeconds: 1.5 },
    answer: joined,
    shows: /joined games/,
  },
  {
    verb: 'join',
    args: ['join', 'games'],
    body: { network: 'games' },
    answer: { ...joined, state: 'pending' },
    shows: /owner has to approve/,
  },
  {
    verb: 'leave',
    args: ['leave', 'games'],
    body: { network: 'games' },
    answer: done,
    shows: /left games/,
  },
  {
    verb: 'delete',
    args: ['delete', 'games'],
    body: { network: 'games' },
    answer: done,
    shows: /deleted games/,
  },
  {
    verb: 'evict',
    args: ['evict', 'games', 'bert'],
    body: { network: 'games', clientId: 'bert' },
    answer: done,
    shows: /evicted bert from games/,
  },
  {
    verb: 'approve',
    args: ['approve', 'games', '100-000-002'],
    body: { network: 'games', clientId: '100-000-002' },
    answer: done,
    shows: /100-000-002 is a member of games/,
  },
  {
    verb: 'reject',
    args: ['reject', 'games', 'bert'],
    body: { network: 'games', clientId: 'bert' },
    answer: done,
    shows: /turned down bert/,
  },
  {
    verb: 'transfer',
    args: ['transfer', 'games', 'bert'],
    body: { network: 'games', clientId: 'bert' },
    answer: done,
    shows: /bert owns games now/,
  },
  {
    verb: 'set-nick',
    args: ['set-nick', 'Anna at work'],
    body: { nick: 'Anna at work' },
    answer: done,
    shows: /Anna at work/,
  },
  {
    verb: 'set-pass',
    args: ['set-pass', 'games', '-'],
    input: 'new\r\n',
    body: { network: 'games', password: 'new' },
    answer: done,
    shows: /games has a new password/,
  },
  {
    verb: 'set-pass',
    args: ['set-pass', 'games'],
    body: { network: 'games' },
    answer: done,
    shows: /no password now/,
  },
  {
    verb: 'set-access',
    args: ['set-access', 'games', 'lock', 'manual'],
    body: { network: 'games', locked: true, approval: 'manual' },
    answer: done,
    shows: /games: locked, approves members by hand/,
  },
  {
    verb: 'go-online',
    args: ['go-online', 'games'],
    body: { network: 'games' },
    answer: done,
    shows: /online in games/,
  },
  {
    verb: 'go-offline',
    args: ['go-offline', 'games'],
    body: { network: 'games' },
    answer: done,
    shows: /offline in games/,
  },
  {
    verb: 'list',
    args: ['list'],
    body: {},
    answer: { networks: [games] },
    shows:
      /^games \[398-581-422\] (?:.*\n)+.*100-000-002 +bert .*direct +UDP 203\.0\.113\.7:4242 +1\.5 ms\n/m,
  },
  {
    verb: 'network',
    args: ['network', 'games'],
    body: { network: 'games' },
    answer: games,
    shows: /owner +this computer\n/,
  },
  {
    verb: 'peer',
    args: ['peer', 'bert'],
    body: { clientId: 'bert' },
    answer: peer,
    shows: /path +direct UDP 203\.0\.113\.7:4242 1\.5 ms\n/,
  },
  {
    verb: 'doctor',
    args: ['doctor'],
    body: {},
    answer: {
      healthy: false,
      checks: [
        { id: 'clock', status: 'ok', side: 'here', title: 'the clock agrees' },
        {
          ...{ id: 'firewall', status: 'problem', side: 'here', title: 'it drops everything' },
          ...{ detail: 'NAT has nothing to do with it', todo: 'ufw allow in on buri0' },
        },
      ],
    },
    shows:
      /ok {7}the clock agrees\nPROBLEM {2}it drops everything \[this computer\]\n {9}NAT.*\n {9}→ ufw.*\n\n1 problem, 0 warnings\.\n$/,
  },
  {
    verb: 'netcheck',
    args: ['netcheck'],
    body: {},
    answer: check,
    shows: /UDP +works\n +tunnels can be made\n(?:.*\n)+ +allocation +sequential, step 1\n/,
  },
];

test('every verb sends the request it means and shows the answer, as a table and as one line of JSON', async (t) => {
  const tried = new Set(verbs.map(({ verb }) => verb));
  assert.deepEqual([...tried].sort(), Object.keys(localApi).sort());
  for (const { verb, args, body, answer, shows, input = '' } of verbs) {
    await t.test(`buri ${args.join(' ')}`, async () => {
      await using daemon = await FakeDaemon.start();
      daemon.answers[verb] = { body: answer };
      const flag = ['--socket', daemon.socketPath];
      const text = await run([...args, ...flag], { input });
      assert.deepEqual([text.code, text.stderr], [0, '']);
      assert.match(text.stdout, shows);
      assert.ok(text.stdout.endsWith('\n'));
      assert.doesNotMatch(text.stdout, /\u001b/, 'no colour without a terminal');
      // Flags before the arguments, and the socket from the environment.
      const [name = '', ...rest] = args;
      const json = await run([name, '--json', ...rest], {
        input,
        env: { BURI_SOCKET: daemon.socketPath },
      });
      assert.deepEqual([json.code, json.stderr], [0, '']);
      assert.equal(json.stdout, `${JSON.stringify(answer)}\n`);
      assert.deepEqual(daemon.received, [
        { verb, body },
        { verb, body },
      ]);
    });
  }
});

test('a refusal is one line on stderr and exit code 1; with --json its code on stdout', async () => {
  await using daemon = await FakeDaemon.start();
  const error = {
    code: 'wrong-password',
    message: 'the password of games\nis \u001b[1manother one',
  };
  daemon.answers.join = { status: 403, body: { error } };
  const flag = ['--socket', daemon.socketPath];
  const text = await run(['join', 'games', 'x', ...flag]);
  assert.deepEqual(
    [text.code, text.stdout, text.stderr],
    [1, '', 'buri: the password of games is \u{fffd}[1manother one\n'],
  );
  const json = await run(['join', 'games', 'x', '--json', ...flag]);
  assert.deepEqual([json.code, json.stderr], [1, '']);
  assert.equal(json.stdout.indexOf('\n'), json.stdout.length - 1);
  assert.equal(JSON.parse(json.stdout).error.code, 'wrong-password');
  const before = await run(['--json', '--socket', daemon.socketPath, 'join', 'games', 'x']);
  assert.equal(before.stdout, json.stdout);
});

test('wrong usage is exit code 2, one line that says what is wrong, and nothing reaches the daemon', async (t) => {
  await using daemon = await FakeDaemon.start();
  const env = { BURI_SOCKET: daemon.socketPath };
  const cases: readonly { args: string[]; says: RegExp; input?: string | Buffer }[] = [
    { args: ['lsit'], says: /unknown command 'lsit'.*Did you mean list/ },
    { args: ['join'], says: /missing required argument 'network'/ },
    { args: ['status', 'extra'], says: /too many arguments/ },
    { args: ['status', '--jsn'], says: /unknown option '--jsn'.*Did you mean --json/ },
    { args: ['evict', 'games'], says: /missing required argument 'client'/ },
    { args: ['join', 'games', '--wait', 'soon'], says: /--wait takes a number/ },
    { args: ['join', 'games', '--wait', '-1'], says: /--wait|argument missing/ },
    { args: ['join', 'games', '--wait', '601'], says: /from 0 to 600/ },
    { args: ['join', ''], says: /argument is empty/ },
    { args: ['create', 'games', '-'], says: /the password is empty/ },
    { args: ['create', 'games', '-'], input: '\nsecond line\n', says: /the password is empty/ },
    { args: ['create', 'games', ''], says: /the password is empty/ },
    { args: ['create', 'games', '-'], input: 'x'.repeat(1_001), says: /longer than 1000/ },
    { args: ['create', 'games', '-'], input: 'x'.repeat(9_000), says: /too long/ },
    { args: ['create', 'games', '-'], input: Buffer.from([0xff, 0x0a]), says: /not UTF-8/ },
    { args: ['create', 'games', '-secret'], says: /unknown option/ },
    { args: ['set-access', 'games'], says: /missing required argument 'setting'/ },
    { args: ['set-access', 'games', 'lock', 'unlock'], says: /contradicts/ },
    { args: ['set-access', 'games', 'open'], says: /lock, unlock, manual, auto/ },
    { args: ['status', '--socket', ''], says: /--socket needs/ },
    { args: ['status', '--socket', `/tmp/${'x'.repeat(200)}`], says: /Unix allows 107/ },
    { args: ['server', 'nothing'], says: /'server' has no command 'nothing'; it has: .*url, / },
    { args: ['daemon', '--mode', 'bridge'], says: /--mode takes tun or tap/ },
    {
      args: ['daemon', '--engine-threads', '17'],
      says: /--engine-threads takes a number from 1 to/,
    },
    { args: ['help', 'nothing'], says: /no command 'nothing'/ },
    { args: ['--socket', 'x', 'daemon'], says: /--socket must stand after 'daemon'/ },
  ];
  for (const { args, says, input = '' } of cases) {
    await t.test(`buri ${args.join(' ').slice(0, 60)}`, async () => {
      const text = await run(args, { env, input });
      assert.match(text.stderr, says);
      assert.deepEqual([text.code, text.stdout], [2, '']);
      assert.equal(text.stderr.trimEnd().split('\n').length, 1);
      if (args.includes('--json')) return;
      const json = await run([...args, '--json'], { env, input });
      assert.deepEqual([json.code, json.stderr], [2, '']);
      assert.equal(JSON.parse(json.stdout).error.code, 'usage');
      assert.equal(json.stdout.indexOf('\n'), json.stdout.length - 1);
    });
  }
  assert.deepEqual(daemon.received, []);
});

test('without a daemon every verb says how to start it', async () => {
  const missing = join(tmpdir(), `buri-none-${process.pid}.sock`);
  const text = await run(['status', '--socket', missing]);
  assert.deepEqual([text.code, text.stdout], [1, '']);
  assert.match(text.stderr, /does not answer at .*start it with 'systemctl start buri'/);
  const json = await run(['status', '--socket', missing, '--json']);
  assert.equal(JSON.parse(json.stdout).error.code, 'daemon-not-running');
  const file = await run(['status', '--socket', join(root, 'package.json'), '--json']);
  assert.equal(JSON.parse(file.stdout).error.code, 'daemon-not-running');
});

test('a socket that one may not use: the group to join is named', {
  skip: process.getuid?.() === 0 ? false : 'needs root, to be somebody else',
}, async () => {
  await using daemon = await FakeDaemon.start();
  chmodSync(join(daemon.socketPath, '..'), 0o755);
  chmodSync(daemon.socketPath, 0o600);
  const result = await run(['status', '--json', '--socket', daemon.socketPath], {
    spawn: { uid: 65_534, gid: 65_534 },
  });
  assert.equal(result.code, 1);
  const { error } = JSON.parse(result.stdout);
  assert.equal(error.code, 'socket-forbidden');
  assert.match(error.message, /group.*buri/);
});

test('whatever else answers on the socket is not taken for the daemon', async (t) => {
  const cases: readonly [name: string, bytes: string, code: string][] = [
    ['not HTTP', 'SSH-2.0-OpenSSH_9.9\r\n', 'not-a-daemon'],
    ['no JSON', 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi', 'not-a-daemon'],
    ['no object', 'HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull', 'not-a-daemon'],
    [
      'a failure without a reason',
      'HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n{}',
      'not-a-daemon',
    ],
    [
      'an answer cut short',
      'HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n{"ok',
      'connection-lost',
    ],
    ['no answer', '', 'connection-lost'],
  ];
  const directory = mkdtempSync(join(tmpdir(), 'buri-cli-'));
  try {
    for (const [name, bytes, code] of cases) {
      await t.test(name, async () => {
        const path = join(directory, 'other.sock');
        const server = createServer((socket) => {
          socket.on('error', () => {});
          socket.once('data', () => socket.end(bytes));
        });
        await new Promise<void>((resolve) => server.listen(path, resolve));
        const result = await run(['status', '--json', '--socket', path]);
        await new Promise((resolve) => server.close(resolve));
        assert.equal(result.code, 1);
        assert.equal(JSON.parse(result.stdout).error.code, code, result.stdout);
      });
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('hostile names from the daemon do not reach the terminal, and survive --json', async () => {
  await using daemon = await FakeDaemon.start();
  const nick = '\u001b]0;owned\u0007\u009b2J\u202eabc\r\nroot';
  const answer = { networks: [{ ...games, members: [anna, { ...bert, nick }] }] };
  daemon.answers.list = { body: answer };
  const flag = ['--socket', daemon.socketPath];
  const text = await run(['list', ...flag]);
  assert.equal(text.stdout.split('\n').length, 4);
  assert.doesNotMatch(text.stdout.replaceAll('\n', ''), /[\u0000-\u001f\u007f-\u009f\u202e]/);
  const json = await run(['list', '--json', ...flag]);
  assert.doesNotMatch(json.stdout.slice(0, -1), /[\u0000-\u001f\u007f-\u009f\u202e]/);
  assert.deepEqual(JSON.parse(json.stdout), answer);
});

test('a huge list arrives whole through a pipe', async () => {
  await using daemon = await FakeDaemon.start();
  const members = Array.from({ length: 16_000 }, (_, i) => ({ ...bert, nick: `member ${i}` }));
  daemon.answers.list = { body: { networks: [{ ...games, members: [anna, ...members] }] } };
  const flag = ['--socket', daemon.socketPath];
  const text = await run(['list', ...flag]);
  assert.equal(text.code, 0);
  assert.equal(text.stdout.split('\n').length, 16_003);
  const json = await run(['list', '--json', ...flag]);
  assert.equal(JSON.parse(json.stdout).networks[0].members.length, 16_001);
});

test('a reader that goes away ends the output without a complaint', async () => {
  await using daemon = await FakeDaemon.start();
  const members = Array.from({ length: 16_000 }, () => bert);
  daemon.answers.list = { body: { networks: [{ ...games, members }] } };
  for (const json of [[], ['--json']]) {
    const listing = run(['list', '--socket', daemon.socketPath, ...json]);
    listing.child.stdout?.once('data', () => listing.child.stdout?.destroy());
    const { code, signal, stderr } = await listing;
    assert.deepEqual([code, signal, stderr], [0, null, '']);
  }
});

test('an answer that cannot be written is a failure', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.answers.status = { body: status };
  const full = openSync('/dev/full', 'w');
  const result = await run(['status', '--json', '--socket', daemon.socketPath], {
    spawn: { stdio: ['ignore', full, 'pipe'] },
  });
  assert.equal(result.code, 1);
  assert.match(result.stderr, /cannot write the answer/);
});

test('a request too large for the daemon is not sent', async () => {
  await using daemon = await FakeDaemon.start();
  const args = ['set-nick', 'x'.repeat(70_000), '--json', '--socket', daemon.socketPath];
  const result = await run(args);
  assert.equal(result.code, 1);
  assert.equal(JSON.parse(result.stdout).error.code, 'request-too-large');
  assert.deepEqual(daemon.received, []);
});

test('an interrupt ends a waiting verb at once and quietly', async () => {
  await using daemon = await FakeDaemon.start();
  const waiting = Promise.withResolvers<void>();
  daemon.answers.join = () => waiting.resolve();
  const joining = run(['join', 'games', '--wait', '60', '--socket', daemon.socketPath]);
  await waiting.promise;
  joining.child.kill('SIGINT');
  const { signal, stdout, stderr } = await joining;
  assert.deepEqual([signal, stdout, stderr], ['SIGINT', '', '']);
});

test('help names every command, and the help of every command has examples', async (t) => {
  const all = await run(['help']);
  assert.deepEqual([all.code, all.stderr], [0, '']);
  for (const verb of [...Object.keys(localApi), 'server', 'daemon']) {
    assert.match(all.stdout, new RegExp(`^  ${verb} `, 'm'));
  }
  for (const verb of Object.keys(localApi)) {
    await t.test(verb, async () => {
      const one = await run([verb, '--help']);
      assert.equal(one.code, 0);
      assert.match(one.stdout, new RegExp(`\\nExamples:\\n.*buri ${verb}`, 's'));
      assert.match(one.stdout, /--socket <path>.*--json/s);
    });
  }
});

test('on a terminal the password is asked for without echo, and tables are coloured', {
  skip: existsSync('/usr/bin/script') ? false : "needs 'script' (Debian: bsdutils)",
}, async () => {
  await using daemon = await FakeDaemon.start();
  daemon.answers.create = { body: joined };
  daemon.answers.list = { body: { networks: [games] } };
  const env = { BURI_SOCKET: daemon.socketPath, TERM: 'xterm' };
  const typed = await onTerminal(`${buri} create games -`, env, 'sec\u00e9X\u007fret\r');
  assert.equal(typed.code, 0, typed.text);
  assert.deepEqual(daemon.received.at(-1)?.body, { network: 'games', password: 'sec\u00e9ret' });
  assert.doesNotMatch(typed.text, /sec|ret/);
  const interrupted = await onTerminal(`${buri} create games -`, env, 'abc\u0003');
  assert.equal(interrupted.code, 130);
  assert.equal(daemon.received.length, 1);
  const coloured = await onTerminal(`${buri} list`, env);
  assert.match(coloured.text, /\u001b\[32mdirect\u001b\[39m/);
  const plain = await onTerminal(`${buri} list`, { ...env, NO_COLOR: '1' });
  assert.doesNotMatch(plain.text, /\u001b/);
});

test('a verb loads no library but the one that reads command lines', async () => {
  await using daemon = await FakeDaemon.start();
  daemon.answers.status = { body: status };
  const directory = mkdtempSync(join(tmpdir(), 'buri-cli-'));
  try {
    const args = ['status', '--socket', daemon.socketPath];
    const { code } = await run(args, { env: { NODE_V8_COVERAGE: directory } });
    assert.equal(code, 0);
    const scripts = readdirSync(directory).flatMap((name) => {
      const { result } = JSON.parse(readFileSync(join(directory, name), 'utf8'));
      return result.map(({ url }: { url: string }) => url);
    });
    assert.ok(scripts.some((url: string) => url.endsWith('/src/cli/status.ts')));
    const packages = scripts
      .map((url: string) => /\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1])
      .filter((name: string | undefined) => name !== undefined);
    assert.deepEqual([...new Set(packages)], ['commander']);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('without a command the help is printed, as wrong usage', async () => {
  const result = await run([]);
  assert.deepEqual([result.code, result.stdout], [2, '']);
  assert.match(result.stderr, /Usage: buri <command>/);
});

test('the program runs through a symlink, from a directory with spaces, and says its version', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'buri with spaces '));
  try {
    const link = join(directory, 'a link');
    symlinkSync(buri, link);
    const child = spawn(link, ['--version'], { cwd: directory });
    let text = '';
    for await (const chunk of child.stdout) text += chunk;
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    assert.equal(text, `${version}\n`);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
