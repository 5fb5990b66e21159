import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DoctorFacts, PeerFacts } from './facts.ts';
import { judge } from './judge.ts';

const accepts = { verdict: 'accepts' } as const;
const drops = { verdict: 'drops', by: 'inet filter input' } as const;

const bert: PeerFacts = {
  clientId: '100-000-002',
  nick: 'bert',
  kind: 'direct',
  transport: 'udp',
  established: true,
  inbound: 'open',
};

const healthy: DoctorFacts = {
  loggedIn: true,
  server: { url: 'buri://vpn:8443', connected: true, proxy: undefined, resolves: true },
  clockAheadMs: 300,
  device: {
    name: 'buri0',
    wanted: true,
    exists: true,
    ipv4: '100.64.0.1',
    addresses: ['100.64.0.1', 'fd62::1'],
    trouble: [],
  },
  poolRoute: { dev: 'buri0', text: '100.64.0.2 dev buri0' },
  overlap: undefined,
  firewall: { ping: accepts, tcp: accepts, udp: accepts },
  port: 41_641,
  nat: { mapping: 'endpoint-independent', filtering: 'unknown', publicEndpoints: 1, asked: true },
  uplinkMtuBytes: 1500,
  relays: [{ relay: 'node-1', transport: 'udp' }],
  peers: [bert],
};

const lost = (code: string) => ({
  ...healthy.server,
  connected: false,
  error: { code, message: 'why' },
});

test('a healthy member has nothing but good findings', () => {
  for (const check of judge(healthy)) assert.equal(check.status, 'ok', check.title);
});

test('each trouble is found, on its side, and with something to do', () => {
  const peer = (change: Partial<PeerFacts>): Partial<DoctorFacts> => ({
    peers: [{ ...bert, ...change }],
  });
  const device = (change: Partial<DoctorFacts['device']>): Partial<DoctorFacts> => ({
    device: { ...healthy.device, ...change },
  });
  const firewall = (change: Partial<DoctorFacts['firewall']>): Partial<DoctorFacts> => ({
    firewall: { ...healthy.firewall, ...change },
  });
  const cases: [Partial<DoctorFacts>, string, string, string, RegExp][] = [
    [{ loggedIn: false }, 'server', 'problem', 'here', /not logged in/],
    [{ server: lost('server-unreachable') }, 'server', 'problem', 'server', /why.*running/s],
    [{ server: lost('proxy-authentication') }, 'server', 'problem', 'here', /password/],
    [{ server: lost('proxy-refused') }, 'server', 'problem', 'network', /--proxy/],
    [{ server: lost('server-certificate-invalid') }, 'server', 'problem', 'server', /clock/],
    [{ server: { ...lost(''), resolves: false } }, 'dns', 'problem', 'network', /looked up/],
    [{ clockAheadMs: 3_600_000 }, 'clock', 'problem', 'here', /60 minutes ahead/],
    [{ clockAheadMs: -90_000 }, 'clock', 'warning', 'here', /90 s behind/],
    [{ clockAheadMs: undefined }, 'clock', 'unknown', 'here', /not compared/],
    [device({ exists: false }), 'device', 'problem', 'here', /not there/],
    [device({ addresses: [] }), 'device', 'problem', 'here', /lost its address/],
    [device({ trouble: ['no permission'] }), 'device', 'problem', 'here', /no permission/],
    [
      { overlap: { pool: '100.64.0.0/10', route: '100.64.0.0/10 dev tailscale0' } },
      'routes',
      'problem',
      'here',
      /tailscale0/,
    ],
    [{ poolRoute: { dev: 'wg0', text: '100.64.0.2 dev wg0' } }, 'routes', 'problem', 'here', /wg0/],
    [
      firewall({ ping: drops, tcp: drops }),
      'firewall',
      'problem',
      'here',
      /drops everything.*buri0.*no port forwarding/s,
    ],
    [firewall({ tcp: drops }), 'firewall', 'problem', 'here', /drops connections/],
    [firewall({ ping: drops }), 'firewall', 'problem', 'here', /drops pings/],
    [
      firewall({ tcp: { verdict: 'unknown', by: 'x' } }),
      'firewall',
      'unknown',
      'here',
      /not understood/,
    ],
    [firewall({ unread: 'nft is missing' }), 'firewall', 'unknown', 'here', /nft is missing/],
    [firewall({ udp: drops }), 'firewall-udp', 'warning', 'here', /41641/],
    [
      { nat: { ...healthy.nat, publicEndpoints: 0 } },
      'udp',
      'problem',
      'network',
      /UDP is blocked/,
    ],
    [
      { nat: { ...healthy.nat, publicEndpoints: 0, asked: false } },
      'udp',
      'unknown',
      'network',
      /not known/,
    ],
    [
      { relays: [{ relay: 'r', transport: undefined, error: 'silence' }] },
      'relay',
      'warning',
      'network',
      /silence/,
    ],
    [{ uplinkMtuBytes: 1280 }, 'mtu', 'warning', 'here', /1280/],
    [
      peer({ kind: 'unreachable', reason: 'two symmetric NATs' }),
      'peer',
      'problem',
      'network',
      /symmetric/,
    ],
    [
      peer({ kind: 'relayed', transport: 'tcp', reason: 'UDP blocked' }),
      'peer',
      'warning',
      'network',
      /over TCP/,
    ],
    [peer({ inbound: 'closed' }), 'peer', 'problem', 'peer', /closed ports.*firewall/s],
  ];
  for (const [change, id, status, side, words] of cases) {
    const checks = judge({ ...healthy, ...change });
    const bad = checks.filter((check) => check.status !== 'ok' && check.id === id);
    assert.equal(bad.length, 1, `${id} ${status}`);
    const [check] = bad;
    assert.deepEqual([check?.status, check?.side], [status, side], `${check?.title}`);
    assert.match(`${check?.title}\n${check?.detail}\n${check?.todo}`, words);
    assert.ok(status === 'unknown' || check?.todo !== undefined, 'something to do');
  }
});

test('a member is not blamed for what was not tested, nor shown when it is away', () => {
  const peers: PeerFacts[] = [
    { ...bert, inbound: 'untested' },
    { ...bert, kind: 'none' },
  ];
  const about = judge({ ...healthy, peers }).filter(({ id }) => id === 'peer');
  assert.deepEqual(
    about.map(({ status }) => status),
    ['ok'],
  );
});
