/**
 * A server that means harm, as a program of its own: it runs in the namespace of the daemon that logs in to it.
 *
 *   node hostile-server.ts MODE        prints its URL; see `modes`
 */
import { randomBytes } from 'node:crypto';
import { encodeCbor } from '#wire/cbor.ts';
import { encodeMessage, type ServerMessage } from '#wire/control.ts';
import { keyOf, TestCluster, testDevice } from './cluster.ts';
import {
  clusterKey,
  type FakeConnection,
  FakeControlServer,
  type FakeServerOptions,
  helloReply,
  nodeCertificate,
  welcome,
} from './fake-control-server.ts';

const network = '100-000-001';
const hourMs = 3_600_000;
/** The last moment of the year 9999. */
const endOfTimeMs = 253_402_300_799_999;

const afterWelcome =
  (attack: (connection: FakeConnection) => void): Required<FakeServerOptions>['onLogin'] =>
  (connection) => {
    connection.send(welcome());
    connection.send({ t: 'synchronised', networks: [] });
    attack(connection);
  };

const welcomeWith = (change: object): FakeServerOptions => ({
  onLogin: ({ send }) => send({ ...welcome(), ...change } as ServerMessage),
});

const rawFrames = (frames: (connection: FakeConnection) => Iterable<Uint8Array>) =>
  ((connection: FakeConnection) => {
    for (const frame of frames(connection)) connection.socket.send(frame);
  }) satisfies FakeServerOptions['onLogin'];

export const modes = {
  'another version': { reply: encodeCbor({ t: 'unsupported', versions: [7, 8] }) },
  'random hello': { reply: randomBytes(300) },
  'cut hello': { reply: helloReply().subarray(0, 60) },
  'hello without bytes': { reply: new Uint8Array(0) },
  'certificate of another key': {
    reply: helloReply({ certificate: nodeCertificate({}, keyOf('another')) }),
  },
  'expired certificate': { reply: helloReply({ certificate: nodeCertificate({ notAfter: 1 }) }) },
  'random handshake': { noise: randomBytes(48) },
  'cut handshake': { noise: randomBytes(20) },
  'random frames': {
    onLogin: rawFrames(() => Array.from({ length: 50 }, (_, n) => randomBytes(n * 11))),
  },
  'cut frames': {
    onLogin: rawFrames(({ channel }) =>
      channel.seal(encodeMessage(welcome())).map((frame) => frame.subarray(0, -3)),
    ),
  },
  'sealed noise': { onLogin: rawFrames(({ channel }) => channel.seal(randomBytes(500))) },
  'no welcome': { onLogin: ({ send }) => send({ t: 'ping', id: 1, serverTime: 5 }) },
  'pool that is none': welcomeWith({ pool4: 'everything' }),
  'pool of everything': welcomeWith({ pool4: '0.0.0.0/0' }),
  'address with commands': welcomeWith({ pool4: '1.2.3.4/10 dev lo' }),
  'time beyond all reason': welcomeWith({ serverTime: Number.MAX_SAFE_INTEGER }),
  'message without end': {
    onLogin: afterWelcome(({ channel, socket }) => {
      const whole = channel.seal(new Uint8Array(12 * 1024 * 1024));
      for (const frame of whole) socket.send(frame);
    }),
  },
  'time that runs away': {
    onLogin: afterWelcome(({ send }) => send({ t: 'ping', id: 1, serverTime: endOfTimeMs })),
  },
  'flood of everything': { onLogin: afterWelcome(floodOfEverything) },
} as const satisfies Readonly<Record<string, FakeServerOptions>>;

export type HostileMode = keyof typeof modes;

/** Well-formed, and nothing of it true. */
function floodOfEverything({ send }: FakeConnection): void {
  const cluster = new TestCluster(Date.now());
  const signed = cluster.member(network, testDevice(2));
  const unsigned = { ...signed, statement: randomBytes(200), certificate: randomBytes(200) };
  for (let n = 1; n <= 2_000; n++) {
    const id = `${100 + (n % 900)}-000-00${n % 10}`;
    send({ t: 'ping', id: n, serverTime: n % 2 === 0 ? 0 : Date.now() + hourMs });
    send({ t: 'notice', code: `notice-${n}`, message: `\x1b[2J${'n'.repeat(500)}` });
    send({ t: 'signal', from: id, sealed: randomBytes(200), punchInMs: 1 });
    send({ t: 'punch', peer: id, punchInMs: 0 });
    send({ t: 'presence', network: id, clientId: id, presence: 'online' });
    send({ t: 'response', id: n, result: { ok: true, network: id, state: 'member' } });
    send({ t: 'delta', network, from: n, to: n + 5, changes: [] });
    if (n % 100 === 0) send({ ...cluster.view(id, Array(200).fill(unsigned)), active: true });
  }
}

if (process.argv[1] === import.meta.filename) {
  const server = await FakeControlServer.start(modes[process.argv[2] as HostileMode]);
  console.log(`${server.url}#${Buffer.from(clusterKey).toString('base64url')}`);
}
