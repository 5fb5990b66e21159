/**
 * One end of a tunnel with keys fixed on the command line: the packet engine alone, without server, handshake or daemon. What
 * `bench/tunnel.ts` measures, and handy to try the data plane by hand:
 *
 *   node bench/static-peer.ts --side a --secret S --device bA --inner 10.9.0.1 --peer-inner 10.9.0.2 \
 *     --port 41641 --remote 192.0.2.2:41641 [--suite aes256gcm] [--portable] [--without tso4,uso4] [--mtu 1400] \
 *     [--engine-threads 2]
 *
 * Keys come from the secret, one for each direction; they never change, so the secret is for one run only.
 * Prints `ready` when packets flow, and its counters as JSON when it ends (SIGTERM, SIGINT).
 */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import type { AeadSuite } from '#core/crypto.ts';
import type { EngineEvents } from '#engine/engine.ts';
import type { OffloadName } from '#engine/offloads.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { familyOf, parseEndpoint } from '#wire/endpoint.ts';

const { values } = parseArgs({
  options: {
    side: { type: 'string', default: 'a' },
    secret: { type: 'string', default: '' },
    device: { type: 'string', default: 'buri0' },
    inner: { type: 'string', multiple: true, default: [] },
    'peer-inner': { type: 'string', multiple: true, default: [] },
    /** Number of the session, where one end has several. */
    index: { type: 'string', default: '1' },
    port: { type: 'string', default: '0' },
    remote: { type: 'string', default: '' },
    suite: { type: 'string', default: 'aes256gcm' },
    mtu: { type: 'string', default: '1400' },
    prefix: { type: 'string', default: '' },
    portable: { type: 'boolean', default: false },
    without: { type: 'string', default: '' },
    'engine-threads': { type: 'string', default: '1' },
    events: { type: 'boolean', default: false },
  },
});

const PEER = 0;
const remote = parseEndpoint(values.remote);
if (remote === undefined || values.secret === '') {
  console.error('static-peer: --remote HOST:PORT and --secret TEXT are needed');
  process.exit(2);
}

const log = (name: string, ...details: unknown[]): void => {
  if (values.events) console.log(JSON.stringify({ event: name, details }));
};
const events: EngineEvents = {
  onDatagram: (kind, bytes, socket, from) => log('datagram', kind, bytes.length, socket, from),
  onWantSession: (peer) => log('want-session', peer),
  onActivity: (activity) => log('activity', activity),
  onRoam: (peer, socket, from) => log('roam', peer, socket, from),
  onConfirmed: (peer, localIndex) => log('confirmed', peer, localIndex),
  onRekeyLimit: (peer, localIndex) => log('rekey-limit', peer, localIndex),
  onGroupsChanged: () => log('groups-changed'),
  onMessage: (peer, bytes) => log('message', peer, bytes.length),
  onDeviceLost: (reason) => {
    console.error(`static-peer: ${reason}`);
    process.exit(1);
  },
};

const keyTo = (side: string): Uint8Array =>
  createHash('sha256').update(`${values.secret} to ${side}`).digest();
const otherSide = values.side === 'a' ? 'b' : 'a';
const indexOf = (side: string): number =>
  (side === 'a' ? 0xa0000000 : 0xb0000000) + Number(values.index);

const engine = new PacketEngine(events, {
  portable: values.portable,
  threads: Number(values['engine-threads']),
  withoutOffloads: values.without.split(',').filter((name) => name !== '') as OffloadName[],
});
const device = await engine.openDevice({
  name: values.device,
  mode: 'tun',
  mtuBytes: Number(values.mtu),
  addresses: values.inner,
});
for (const address of values.inner) {
  const width = familyOf(address) === 4 ? 24 : 64;
  execFileSync('ip', ['addr', 'add', `${address}/${width}`, 'dev', device.name, ...nodad(address)]);
}
execFileSync('ip', ['link', 'set', device.name, 'up']);
const family = familyOf(remote.address);
const socket = await engine.openSocket({ family, port: Number(values.port) });
engine.setPeer(PEER, { innerPrefixes: values['peer-inner'] });
const prefix = Buffer.from(values.prefix, 'hex');
engine.setPath(PEER, { socket: socket.socket, remote, prefix });
engine.installKeys({
  peer: PEER,
  suite: values.suite as AeadSuite,
  localIndex: indexOf(values.side),
  remoteIndex: indexOf(otherSide),
  sendKey: keyTo(otherSide),
  receiveKey: keyTo(values.side),
});
engine.activateKeys(indexOf(values.side));

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    const used = Object.entries(engine.counters()).filter(([, value]) => value !== 0);
    console.log(JSON.stringify({ counters: Object.fromEntries(used), cpu: process.cpuUsage() }));
    engine[Symbol.asyncDispose]().then(() => process.exit(0));
  });
}
console.log(JSON.stringify({ device, socket }));
console.log('ready');

function nodad(address: string): string[] {
  return familyOf(address) === 6 ? ['nodad'] : [];
}
