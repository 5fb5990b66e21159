import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MemberEntry, NetworkEntry, RelayView } from '#wire/local-api.ts';
import { networkTree } from './list.ts';
import { netcheckText } from './netcheck.ts';
import { networkText } from './network.ts';
import { peerText } from './peer.ts';
import { accessOf } from './set-access.ts';
import { statusText } from './status.ts';
import { plain } from './table.ts';
import { amount, duration, milliseconds, pathText, relayText, stateOf } from './view.ts';

function member(number: number, change: Partial<MemberEntry> = {}): MemberEntry {
  return {
    clientId: `100-000-00${number}`,
    nick: `n${number}`,
    ipv4: `100.64.0.${number}`,
    ipv6: `fd62:7572:6900::6440:${number}`,
    presence: 'online',
    self: false,
    path: { kind: 'none' },
    ...change,
  };
}

function network(members: MemberEntry[], change: Partial<NetworkEntry> = {}): NetworkEntry {
  return {
    id: '398-581-422',
    name: 'games',
    type: 'mesh',
    online: true,
    state: 'member',
    owner: '100-000-001',
    locked: false,
    approval: 'auto',
    password: true,
    pending: [],
    members,
    ...change,
  };
}

const direct = {
  kind: 'direct',
  transport: 'udp',
  endpoint: '203.0.113.7:4242',
  rttMs: 12.34,
} as const;

const home: RelayView = {
  ...{ id: 'node-1', held: true, home: true, draining: false },
  transport: 'udp',
  ...{ address: '203.0.113.9:3480', rttMs: 12 },
};

test('a relay is told by where it is, how, how far, and what is special about it', () => {
  assert.equal(relayText(home), '203.0.113.9:3480 by UDP 12.0 ms (home)');
  const other: RelayView = { ...home, transport: 'tcp', address: 'wss://a.example/v1/relay' };
  assert.equal(
    relayText({ ...other, home: false, draining: true }),
    'wss://a.example/v1/relay by TCP 12.0 ms (about to end)',
  );
  const listed = { id: 'node-2', held: false, home: false, draining: false };
  assert.equal(relayText({ ...listed, rttMs: 140 }), 'node-2 140 ms');
  assert.equal(relayText(listed), 'node-2 (no answer)');
});

test('the state of a member follows from presence and path', () => {
  const cases: readonly (readonly [Partial<MemberEntry>, ReturnType<typeof stateOf>])[] = [
    [{ self: true }, 'self'],
    [{ path: direct }, 'direct'],
    [{ path: { kind: 'relayed' } }, 'relayed'],
    [{ path: { kind: 'establishing' } }, 'connecting'],
    [{ path: { kind: 'none' } }, 'connecting'],
    [{ path: { kind: 'unreachable' } }, 'unreachable'],
    [{ presence: 'unconfirmed', path: direct }, 'unconfirmed'],
    [{ presence: 'unconfirmed', path: { kind: 'unreachable' } }, 'unreachable'],
    [{ presence: 'offline', path: direct }, 'offline'],
    [{ presence: 'offline', path: { kind: 'unreachable' } }, 'offline'],
  ];
  for (const [change, state] of cases) assert.equal(stateOf(member(1, change), true), state);
});

test('who takes no part in a network sees who is there, and misses no tunnel', () => {
  assert.equal(stateOf(member(2), false), 'online');
  assert.equal(stateOf(member(2, { presence: 'offline' }), false), 'offline');
  assert.equal(stateOf(member(2, { presence: 'unconfirmed' }), false), 'unconfirmed');
  const path = { kind: 'none', reason: 'you are offline in this network' } as const;
  const text = networkTree([network([member(2, { path })], { online: false })], plain);
  assert.match(text, /this computer is offline in it\n {2}\* .*online\n$/);
});

test('a list shows each network with its members: oneself, who is there, who is not, who asks', () => {
  const games = network(
    [
      member(4, { presence: 'offline' }),
      member(3, {
        path: {
          kind: 'relayed',
          transport: 'udp',
          rttMs: 140.6,
          reason: 'both NATs are symmetric',
        },
      }),
      member(2, { nick: '名前', path: direct }),
      member(1, { nick: 'anna', self: true }),
      member(5, { nick: 'z', path: { kind: 'unreachable', reason: 'UDP is blocked' } }),
    ],
    { pending: [{ clientId: '100-000-009', nick: 'eve' }], locked: true },
  );
  const waiting = network([], { name: 'a club', id: '111-111-111', state: 'pending' });
  assert.equal(
    networkTree([games, waiting], plain),
    `a club [111-111-111]  waits for the approval of its owner

games [398-581-422]  5 members, 4 online, owner: this computer, locked
  *  100-000-001  anna  100.64.0.1  fd62:7572:6900::6440:1  this computer
  *  100-000-003  n3    100.64.0.3  fd62:7572:6900::6440:3  relayed        UDP                   141 ms   (both NATs are symmetric)
  x  100-000-005  z     100.64.0.5  fd62:7572:6900::6440:5  unreachable                                   (UDP is blocked)
  *  100-000-002  名前  100.64.0.2  fd62:7572:6900::6440:2  direct         UDP 203.0.113.7:4242  12.3 ms
  -  100-000-004  n4    100.64.0.4  fd62:7572:6900::6440:4  offline
  +  100-000-009  eve                                       asks to join
`,
  );
});

test('no networks: the list says what to do', () => {
  assert.match(networkTree([], plain), /buri create NETWORK.*buri join NETWORK/);
});

test('hostile nicknames and names leave a list with one line for each member and no escape in it', () => {
  const evil = '\u001b]0;owned\u0007\u202e\r\nroot\u009b1A';
  const text = networkTree(
    [
      network([member(1, { nick: evil }), member(2, { path: { ...direct, reason: evil } })], {
        name: evil,
        owner: '100-000-001',
      }),
    ],
    plain,
  );
  assert.equal(text.split('\n').length, 4);
  assert.doesNotMatch(text.replaceAll('\n', ''), /[\u0000-\u001f\u007f-\u009f\u202e]/);
});

test('ten thousand members are ten thousand lines', () => {
  const members = Array.from({ length: 10_000 }, (_, i) =>
    member(2, { clientId: `${i}`, nick: `member ${i}`, path: direct }),
  );
  const text = networkTree([network(members)], plain);
  assert.equal(text.split('\n').length, 10_002);
});

test('one network shows its settings', () => {
  const text = networkText(
    network([member(1, { self: true })], {
      locked: true,
      approval: 'manual',
      password: false,
      owner: '999-999-999',
    }),
    plain,
  );
  assert.match(text, /^ {2}access +locked: nobody new$/m);
  assert.match(text, /^ {2}approval +by hand$/m);
  assert.match(text, /^ {2}password +none$/m);
  assert.match(text, /^ {2}owner +999-999-999$/m);
});

test('a peer shows its path, its tunnel and every address it was tried at', () => {
  const text = peerText(
    {
      clientId: '100-000-002',
      nick: 'bert',
      ipv4: '100.64.0.2',
      ipv6: 'fd62::2',
      presence: 'online',
      networks: ['games', 'red'],
      path: { ...direct, mtuBytes: 1240 },
      session: {
        established: true,
        suite: 'aes256gcm',
        lastHandshakeAgoMs: 61_000,
        sentBytes: 12_345_678,
        receivedBytes: 12,
      },
      candidates: [
        { kind: 'host', endpoint: '192.168.1.10:4000', state: 'failed' },
        { kind: 'reflexive', endpoint: '203.0.113.7:4242', state: 'proven', rttMs: 12.3 },
      ],
    },
    plain,
  );
  assert.match(text, /^ {2}path +direct UDP 203\.0\.113\.7:4242 12\.3 ms$/m);
  assert.match(text, /^ {2}path mtu +1240 bytes in one piece$/m);
  assert.match(text, /^ {2}tunnel +established, aes256gcm, keys 61 s old$/m);
  assert.match(text, /^ {2}sent +12\.3 MB$/m);
  assert.match(text, /^ {2}networks +games\n {13}red$/m);
  assert.match(text, /^ {4}reflexive {2}203\.0\.113\.7:4242 {3}proven {2}12\.3 ms$/m);
});

test('status before the first login says how to log in; a lost server says why and when', () => {
  const base = {
    version: '0.1.0',
    pid: 7,
    state: 'offline',
    clientId: null,
    nick: 'anna',
    ipv4: null,
    ipv6: null,
    device: null,
    port: null,
    server: { url: null, connected: false },
    nat: { mapping: 'unknown', filtering: 'unknown', publicEndpoints: [] },
    notices: [],
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
    lanRoutes: [],
    offloads: [],
    counters: {},
  } as const;
  assert.match(
    statusText(
      { ...base, relays: [], notices: [], nat: { ...base.nat, publicEndpoints: [] } },
      plain,
    ),
    /log in with: buri login/,
  );
  const lost = statusText(
    {
      ...base,
      relays: [home],
      state: 'connecting',
      nat: {
        mapping: 'endpoint-independent',
        filtering: 'unknown',
        publicEndpoints: ['203.0.113.7:1', '203.0.113.7:2'],
      },
      notices: [{ code: 'identity-in-use', message: 'this identity is in use elsewhere' }],
      server: {
        url: 'buri://vpn.example.org:8443#SECRETLESS',
        connected: false,
        error: { code: 'server-unreachable', message: 'connection refused' },
        retryInMs: 3_100,
      },
    },
    plain,
  );
  assert.match(
    lost,
    /buri:\/\/vpn\.example\.org:8443, not connected\n +connection refused\n +tries again in 3 s\n/,
  );
  assert.doesNotMatch(lost, /SECRETLESS/);
  assert.match(lost, /relays +203\.0\.113\.9:3480 by UDP 12\.0 ms \(home\)\n/);
  assert.match(lost, /notices +this identity is in use elsewhere/);
  assert.match(lost, /seen as +203\.0\.113\.7:1\n +203\.0\.113\.7:2\n/);
});

test('settings of set-access combine, unless they contradict each other', () => {
  assert.deepEqual(accessOf(['lock', 'manual']), { locked: true, approval: 'manual' });
  assert.deepEqual(accessOf(['unlock']), { locked: false });
  assert.deepEqual(accessOf(['auto', 'auto']), { approval: 'auto' });
  for (const words of [['lock', 'unlock'], ['manual', 'auto'], ['open'], ['toString'], ['']]) {
    assert.throws(() => accessOf(words), { code: 'usage' }, words.join(' '));
  }
});

test('numbers are written as people read them', () => {
  assert.equal(milliseconds(0.4), '0.4 ms');
  assert.equal(milliseconds(140.6), '141 ms');
  assert.equal(duration(900), '900 ms');
  assert.equal(duration(90_000), '90 s');
  assert.equal(duration(3_600_000), '60 min');
  assert.equal(duration(86_400_000), '24 h');
  assert.equal(duration(864_000_000), '10 days');
  assert.equal(amount(999), '999 B');
  assert.equal(amount(1_000), '1.0 kB');
  assert.equal(amount(2_560_000_000), '2.6 GB');
  assert.equal(pathText({ kind: 'establishing' }), 'connecting');
  assert.equal(pathText({ kind: 'none', reason: 'offline' }), '(offline)');
});

test('a check of the network says after each fact what it means', () => {
  const text = netcheckText(
    {
      udp: 'works',
      ipv4: { udp: 'works', publicEndpoint: '198.51.100.1:1234', rttMs: 40 },
      ipv6: null,
      nat: {
        mapping: 'address-and-port-dependent',
        filtering: 'unknown',
        hairpin: false,
        portPreserved: null,
        allocation: { pattern: 'block', block: { first: 30_208, size: 512 } },
        mappingLifetimeMs: 26_000,
      },
      portMapping: [
        { protocol: 'pcp', usable: true, externalEndpoint: '198.51.100.1:4242' },
        { protocol: 'upnp', usable: false, reason: 'refused' },
      ],
      httpProxy: null,
      relays: [home, { id: 'node-2', held: false, home: false, draining: false }],
      meaning: [{ about: 'hairpin', text: 'neighbours see each other locally' }],
    },
    plain,
  );
  assert.match(text, /IPv4 +seen as 198\.51\.100\.1:1234, 40\.0 ms to the server\n/);
  assert.match(text, /hairpin +no\n +neighbours see each other locally\n/);
  assert.match(text, /allocation +block of about 512 ports from 30208\n/);
  assert.match(text, /idle lifetime +more than 26 s\n/);
  assert.match(text, /port mapping +pcp \(198\.51\.100\.1:4242\), upnp \(refused\)\n/);
  assert.match(
    text,
    /relays +203\.0\.113\.9:3480 by UDP 12\.0 ms \(home\)\n +node-2 \(no answer\)\n/,
  );
  assert.doesNotMatch(text, /preserved/, 'what is unknown is left out');
});
