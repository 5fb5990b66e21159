/** What local programs may send to the daemon's socket, and what the running programs say of secrets. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { createConnection, type Socket } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, before, describe, test } from 'node:test';
import { type BuriDaemon, VerbError } from '../../lab/buri.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { withinMs } from '../../lab/wait.ts';
import { admissionKeys } from '../../src/client/admission.ts';
import { nodeCrypto as crypto } from '../../src/crypto/node-crypto.ts';
import { HostileWorld, homePassword, memoryMb, privateKeys } from '../support/hostile-world.ts';

const skip = labSkipReason();
const otherPassword = 'Tr0ub4dor&3 wrong guess';
const laterPassword = 'later password of the same network';

let world: HostileWorld;
let anna: BuriDaemon;
let bert: BuriDaemon;

before(async () => {
  if (skip !== false) return;
  world = await HostileWorld.create();
  anna = await world.device('anna');
  bert = await world.device('bert');
});

after(async () => await world?.[Symbol.asyncDispose]());

interface Answer {
  readonly status: number;
  readonly code: string | undefined;
}

function post(path: string, body: string | Uint8Array, headers = {}, method = 'POST') {
  return new Promise<Answer>((resolve, reject) => {
    const request = httpRequest({
      socketPath: anna.socket,
      path,
      method,
      agent: false,
      headers: { 'content-type': 'application/json', ...headers },
    });
    request.on('error', reject);
    request.on('response', async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const value = JSON.parse(Buffer.concat(chunks).toString()) as { error?: { code: string } };
      resolve({ status: response.statusCode ?? 0, code: value.error?.code });
    });
    request.end(body);
  });
}

/** Writes bytes as they are, and returns what came back until the daemon closed. */
async function raw(bytes: string | Uint8Array): Promise<string> {
  const socket = createConnection({ path: anna.socket });
  let text = '';
  socket.on('data', (data: Buffer) => {
    text = (text + data.toString('latin1')).slice(0, 10_000);
  });
  socket.on('error', () => {});
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.end(bytes);
  await withinMs('the daemon to close', 10_000, closed);
  return text;
}

const serves = async () => assert.equal((await post('/v1/status', '{}')).status, 200);

describe('the local socket', { skip }, () => {
  test('refuses what is no request of its own, each with a reason', async () => {
    const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
    for (const [path, body, status, code] of [
      ['/v1/no-such-verb', '{}', 404, 'unknown-verb'],
      ['/v1/', '{}', 404, 'unknown-verb'],
      ['/v1/__proto__', '{}', 404, 'unknown-verb'],
      ['/v1/constructor', '{}', 404, 'unknown-verb'],
      ['/v1/../v1/%73tatus%00', '{}', 404, 'unknown-verb'],
      ['/v1/status', '{', 400, 'bad-request'],
      ['/v1/status', 'null', 400, 'bad-request'],
      ['/v1/status', '[]', 400, 'bad-request'],
      ['/v1/status', '"status"', 400, 'bad-request'],
      ['/v1/status', '{"unknown":1}', 400, 'bad-request'],
      ['/v1/status', '{"__proto__":{"x":1}}', 400, 'bad-request'],
      ['/v1/status', deep, 400, 'bad-request'],
      [
        '/v1/status',
        Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x31, 0x7d]),
        400,
        'bad-request',
      ],
      ['/v1/create', '{}', 400, 'bad-request'],
      ['/v1/create', '{"network":5}', 400, 'bad-request'],
      ['/v1/create', '{"network":["home"]}', 400, 'bad-request'],
      ['/v1/create', '{"network":{"toString":1}}', 400, 'bad-request'],
      ['/v1/create', `{"network":"${'n'.repeat(10_240)}"}`, 400, 'bad-request'],
      ['/v1/join', '{"network":"home","password":7}', 400, 'bad-request'],
      ['/v1/join', '{"network":"home","waitSeconds":1e9}', 400, 'bad-request'],
      ['/v1/join', '{"network":"home","waitSeconds":-1}', 400, 'bad-request'],
      ['/v1/set-access', '{"network":"home","approval":"maybe"}', 400, 'bad-request'],
      ['/v1/set-nick', `{"nick":"${'n'.repeat(10_240)}"}`, 400, 'bad-request'],
      ['/v1/login', '{"url":"file:///etc/shadow"}', 409, 'bad-server-url'],
      ['/v1/create', '{"network":"evil\\u001b[2J"}', 409, 'invalid-name'],
      ['/v1/set-nick', '{"nick":"a\\u202eb"}', 409, 'invalid-name'],
    ] as const) {
      const what = `${path} ${body.toString().slice(0, 60)}`;
      const answer = await post(path, body);
      assert.deepEqual(answer, { status, code }, what);
    }
    assert.equal((await post('/v1/status', '', {}, 'GET')).code, 'unknown-verb');
    assert.equal((await post('/v1/status', '{}', {}, 'PUT')).code, 'unknown-verb');
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    assert.deepEqual(await post('/v1/logout', 'x=1', form), { status: 415, code: 'bad-request' });
    await serves();
  });

  test('takes no body that is too long, announced or not', async () => {
    const announced = 'POST /v1/status HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n';
    // Only its beginning is sent: the daemon closes, and whoever still writes may find out before having read why.
    const long = `content-length: 1048576\r\n\r\n${' '.repeat(1_000)}`;
    assert.match(await raw(`${announced}${long}`), /^HTTP\/1.1 413/);
    assert.match(await raw(`${announced}content-length: 99999999999\r\n\r\n{`), /^HTTP\/1.1 4/);
    const chunk = `10000\r\n${' '.repeat(0x10000)}\r\n`;
    const text = await raw(`${announced}transfer-encoding: chunked\r\n\r\n${chunk.repeat(2)}`);
    assert.match(text, /^HTTP\/1.1 413/);
    await serves();
  });

  test('survives what is no HTTP at all', async () => {
    const head = 'POST /v1/status HTTP/1.1\r\nhost: x\r\n';
    for (const bytes of [
      '',
      '\0\0\0\0',
      'hello\r\n\r\n',
      'GET',
      `GET /${'a'.repeat(100_000)} HTTP/1.1\r\n\r\n`,
      `${head}${'x: y\r\n'.repeat(10_000)}\r\n`,
      `${head}content-length: -1\r\n\r\n{}`,
      `${head}content-length: 2\r\ncontent-length: 3\r\n\r\n{}`,
      `${head}content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}`,
      `${head}transfer-encoding: chunked\r\n\r\nzz\r\n`,
      'POST /v1/status HTTP/9.9\r\n\r\n',
      ...Array.from({ length: 200 }, (_, n) => randomBytes(n * 7)),
    ]) {
      const answer = await raw(bytes);
      assert.doesNotMatch(answer, /^HTTP\/1.1 (2|5)/, bytes.toString().slice(0, 60));
    }
    await serves();
  });

  test('serves others while hundreds hold connections and say nothing', async () => {
    const idle: Socket[] = [];
    try {
      for (let n = 0; n < 400; n++) {
        const socket = createConnection({ path: anna.socket });
        socket.on('error', () => {});
        socket.write('POST /v1/status HTTP/1.1\r\n');
        idle.push(socket);
      }
      await serves();
      assert.equal((await anna.verb('status')).state, 'online');
    } finally {
      for (const socket of idle) socket.destroy();
    }
  });

  test('is none the worse for thousands of bad requests', async () => {
    await serves();
    const beforeMb = memoryMb(anna);
    for (let round = 0; round < 20; round++) {
      const bad = Array.from({ length: 100 }, () => raw(randomBytes(200)));
      await Promise.all(bad);
    }
    await serves();
    const grownMb = memoryMb(anna) - beforeMb;
    assert.ok(grownMb < 64, `memory grew by ${grownMb.toFixed(1)} MB`);
  });
});

describe('secrets', { skip }, () => {
  test('are in no log and in no file that others may read, whatever goes wrong', async () => {
    const refused = async (code: string, attempt: Promise<unknown>) =>
      assert.rejects(attempt, (error) => error instanceof VerbError && error.code === code);
    await anna.verb('create', ['home', '-'], `${homePassword}\n`);
    await refused('invalid-password', bert.verb('join', ['home', '-'], `${otherPassword}\n`));
    await refused('network-not-found', bert.verb('join', ['nowhere', '-'], `${otherPassword}\n`));
    await refused('name-taken', bert.verb('create', ['home', '-'], `${otherPassword}\n`));
    await bert.verb('join', ['home', '-', '--wait', '20'], `${homePassword}\n`);
    await anna.verb('set-pass', ['home', '-'], `${laterPassword}\n`);
    const wrongToken = 'A'.repeat(world.token.length);
    await bert.verb('logout');
    await bert.verb('login', ['--token', wrongToken]);
    const outsider = await world.host('outsider');
    await assert.rejects(world.device('outsider', outsider, wrongToken), VerbError);

    const secrets = new Map<string, string | Uint8Array>([
      ['password', homePassword],
      ['wrong password', otherPassword],
      ['later password', laterPassword],
      ['token', world.token],
      ['wrong token', wrongToken],
    ]);
    for (const daemon of [anna, bert]) {
      for (const [name, key] of Object.entries(privateKeys(daemon))) {
        secrets.set(`${daemon.host.name}'s ${name} key`, key);
      }
      const state = JSON.parse(readFileSync(join(daemon.directory, 'state.json'), 'utf8'));
      const ends = Object.values(state.secrets as Record<string, string>);
      assert.ok(ends.length > 0, 'it keeps the secret of the network');
      for (const end of ends) secrets.set('end-to-end secret', Buffer.from(end, 'base64url'));
    }
    for (const [name, value] of await serverSecrets()) secrets.set(name, value);
    const logs = [world.server, anna, bert].map(({ process }) => process.lines.join('\n'));
    const log = logs.join('\n');
    assert.match(log, /ready/);
    for (const [name, secret] of secrets) {
      for (const form of formsOf(secret)) {
        assert.ok(!log.includes(form), `the log contains the ${name}`);
      }
    }
    for (const directory of [world.server.directory, anna.directory, bert.directory]) {
      for (const file of readdirSync(directory, { recursive: true }) as string[]) {
        const stat = statSync(join(directory, file));
        if (stat.isFile()) assert.equal(stat.mode & 0o777, 0o600, file);
      }
    }
  });
});

/** Keys of the server, and the verifiers and wrapping keys that the passwords give with its salt. */
async function serverSecrets(): Promise<[string, Uint8Array][]> {
  const { directory } = world.server;
  const found: [string, Uint8Array][] = [];
  for (const name of ['cluster.key', 'node.key']) {
    const text = readFileSync(join(directory, name), 'utf8').trim();
    found.push([name, Buffer.from(text, 'base64url')]);
  }
  using database = new DatabaseSync(join(directory, 'buri.db'), { readOnly: true });
  const row = database.prepare("select * from networks where name = 'home'").get() as {
    salt: Uint8Array;
    verifier_hash: Uint8Array;
    wrapped_secret: Uint8Array;
  };
  const argon2 = { memoryKib: 65_536, passes: 3, parallelism: 1 };
  for (const password of [laterPassword, otherPassword]) {
    const keys = await admissionKeys(crypto, password, row.salt, argon2);
    found.push([`verifier of ${password}`, keys.verifier]);
    found.push([`wrapping key of ${password}`, keys.wrappingKey]);
  }
  const whole = readFileSync(join(directory, 'buri.db'));
  const wal = readFileSync(join(directory, 'buri.db-wal'));
  for (const [name, secret] of found.slice(2)) {
    for (const form of [Buffer.from(secret), ...formsOf(secret)]) {
      assert.ok(!whole.includes(form) && !wal.includes(form), `the database contains the ${name}`);
    }
  }
  return [...found, ['hash of the verifier', row.verifier_hash], ['wrap', row.wrapped_secret]];
}

function formsOf(secret: string | Uint8Array): string[] {
  const bytes = Buffer.from(secret as Uint8Array);
  const encoded = (['hex', 'base64', 'base64url'] as const).map((form) => bytes.toString(form));
  const listed = [...bytes].join(',');
  return typeof secret === 'string' ? [secret, ...encoded] : [...encoded, listed];
}
