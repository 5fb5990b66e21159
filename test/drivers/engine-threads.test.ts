/** Packet engines of several threads: what they share, and that nobody outside can tell them from one. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { EngineCounters, TransportKeys } from '#engine/engine.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { TransportKey } from '#engine/twin/transport.ts';
import {
  type End,
  EngineLab,
  type Host,
  INNER,
  INNER6,
  indexOf,
  keysOf,
  OUTER,
  otherSide,
  ping,
  type Side,
  sealerTo,
  until,
} from '../support/engine-lab.ts';
import type { FlowSeen } from '../support/flow-ends.ts';
import { needsRoot } from '../support/needs-root.ts';
import { udpPacket } from '../support/packets.ts';
import { readCapture } from '../support/pcap.ts';
import { silentEvents } from '../support/silent-events.ts';

const PORT = 41_641;

/** Bytes over several TCP connections at once, both ways, checksums compared. */
async function exchange(a: End, b: End, connections: number, megabytes: number): Promise<void> {
  const transfers = Array.from({ length: connections }, async (_, i) => {
    const [from, to, address] =
      i % 2 === 0
        ? [a.host, b.host, i % 4 === 0 ? INNER.b : INNER6.b]
        : [b.host, a.host, i % 4 === 1 ? INNER.a : INNER6.a];
    const port = 6_000 + i;
    await to.call('tcpServe', address, port);
    const [sent, received] = await from.call<[string, string]>('tcpSend', address, port, megabytes);
    assert.equal(received, sent, 'checksum of the transfer');
  });
  await Promise.all(transfers);
}

const FLOWS = 16;
const FLOW_PACKETS = 500;
/** While packets flow; each has a session in each direction. */
const REKEYS = 20;
/** What fits into the buffer of the receiving program, which is not what is tested. */
const AT_ONCE = 10;

/** Numbered packets in several flows of UDP one way, which the kernel spreads over the queues of the device. */
async function flowsArrive(from: Host, to: Host, address: string): Promise<FlowSeen[]> {
  let seen: FlowSeen[] = [];
  await to.call('flowsServe', 7_000);
  for (let sent = 0; sent < FLOW_PACKETS; ) {
    await from.call('flowsSend', address, 7_000, FLOWS, AT_ONCE, sent);
    sent += AT_ONCE;
    await until('the packets of all flows', async () => {
      seen = await to.call<FlowSeen[]>('flowsSeen');
      return seen.reduce((sum, flow) => sum + flow.received, 0) === FLOWS * sent;
    });
  }
  return seen;
}

const threadsOf = (host: Host): Promise<EngineCounters[]> => host.call('threadCounters');

async function busyThreads(host: Host, counter: string): Promise<number> {
  return (await threadsOf(host)).filter((counters) => counters[counter]! > 0).length;
}

async function nothingRefused(host: Host): Promise<void> {
  const counters = await host.counters();
  for (const name of ['forged', 'replayed', 'malformed', 'unknown-index']) {
    assert.equal(counters[`in-${name}`], 0, `in-${name}`);
  }
}

/** Keys of a later session: other bytes, other indices. */
function laterKeys(side: Side, session: number): TransportKeys {
  const key = (to: Side) => nodeCrypto.sha256(new TextEncoder().encode(`${to} ${session}`));
  return {
    ...keysOf(side, session % 2 === 0 ? 'aes256gcm' : 'chacha20poly1305'),
    localIndex: indexOf(side) + session,
    remoteIndex: indexOf(otherSide(side)) + session,
    sendKey: key(otherSide(side)),
    receiveKey: key(side),
  };
}

/** As after a handshake: both have the keys before one of them sends, and those before live on for a while. */
async function rekey(a: Host, b: Host, session: number): Promise<void> {
  await a.engine('installKeys', laterKeys('a', session));
  await b.engine('installKeys', laterKeys('b', session));
  await a.engine('activateKeys', laterKeys('a', session).localIndex);
  await b.engine('activateKeys', laterKeys('b', session).localIndex);
  if (session < 3) return;
  await a.engine('removeKeys', laterKeys('a', session - 2).localIndex);
  await b.engine('removeKeys', laterKeys('b', session - 2).localIndex);
}

/** What crosses the cable of a host meanwhile. */
async function captured(host: Host, directory: string, meanwhile: () => Promise<void>) {
  const file = join(directory, host.namespace);
  const args = [
    '-i',
    'eth0',
    '-B',
    '65536',
    '-s',
    '80',
    '-w',
    file,
    '-U',
    'udp',
    'port',
    `${PORT}`,
  ];
  const dump = spawn('ip', ['netns', 'exec', host.namespace, 'tcpdump', ...args]);
  const ended = new Promise((resolve) => dump.once('exit', resolve));
  await new Promise((resolve) => dump.stderr.once('data', resolve));
  await meanwhile();
  dump.kill('SIGTERM');
  await ended;
  return readCapture(file);
}

for (const threads of [2, 4]) {
  describe(`two packet engines of ${threads} threads`, needsRoot, () => {
    test('carry parallel transfers both ways, and numbered flows in order', async () => {
      await using lab = new EngineLab();
      const a = await lab.liveEnd('a', { threads });
      const b = await lab.liveEnd('b', { threads });
      for (const size of [0, 17, 1_372, 3_000]) ping(a.host, INNER.b, '-s', String(size));
      await exchange(a, b, 8, 12);
      for (const { late } of await flowsArrive(a.host, b.host, INNER.b)) assert.equal(late, 0);
      assert.equal(await busyThreads(a.host, 'out-packets'), threads, 'flows use every queue');
      await nothingRefused(a.host);
      await nothingRefused(b.host);
    });

    test('carry the same in Ethernet mode', async () => {
      await using lab = new EngineLab();
      const a = await lab.liveEnd('a', { threads, mode: 'tap', otherMode: 'tap' });
      const b = await lab.liveEnd('b', { threads, mode: 'tap', otherMode: 'tap' });
      ping(a.host, INNER.b);
      await exchange(a, b, 4, 4);
      for (const { late } of await flowsArrive(a.host, b.host, INNER.b)) assert.equal(late, 0);
      assert.ok((await busyThreads(a.host, 'out-packets')) > 1);
      await nothingRefused(a.host);
      await nothingRefused(b.host);
    });

    test('never use a counter twice, under load and while keys change', async () => {
      const directory = mkdtempSync(join(tmpdir(), 'buri-threads-'));
      await using lab = new EngineLab(true);
      const a = await lab.liveEnd('a', { threads });
      const b = await lab.liveEnd('b', { threads });
      const datagrams = await captured(a.host, directory, async () => {
        let isDone = false;
        let session = 0;
        const rekeys = (async () => {
          while (!isDone) await rekey(a.host, b.host, ++session);
        })();
        await Promise.all([
          a.host.call('flowsSend', INNER.b, 7_000, FLOWS, FLOW_PACKETS),
          b.host.call('flowsSend', INNER.a, 7_000, FLOWS, FLOW_PACKETS),
        ]);
        // However fast the machine is: as long as it takes to change keys often; some before anything was sent under them.
        do await exchange(a, b, 8, 4);
        while (session < 2 * REKEYS);
        isDone = true;
        await rekeys;
      });
      rmSync(directory, { recursive: true });
      const used = new Set<string>();
      const sessions = new Set<number>();
      for (const { bytes } of datagrams) {
        assert.equal(bytes.readUInt32LE(0), 4, 'a transport packet');
        const nonce = bytes.toString('hex', 4, 16);
        assert.ok(!used.has(nonce), `receiver index and counter ${nonce} twice`);
        used.add(nonce);
        sessions.add(bytes.readUInt32LE(4));
      }
      assert.ok(used.size > 30_000, `${used.size} packets`);
      assert.ok(sessions.size > REKEYS, `${sessions.size} sessions`);
      assert.equal((await a.host.counters())['in-forged'], 0);
      assert.equal((await b.host.counters())['in-replayed'], 0);
    });

    test('accept a packet once, from however many ports its copies come', async () => {
      await using lab = new EngineLab();
      const { host } = await lab.liveEnd('a', { threads });
      const sealer = sealerTo('a', 'aes256gcm');
      const payload = new Uint8Array(20);
      const packet = udpPacket({ family: 4, from: INNER.b, to: INNER.a, toPort: 9, payload });
      const datagrams = Array.from({ length: 2_000 }, () => sealer.seal(packet)!);
      const ports = 12;
      await lab.host('b').call('spray', OUTER.a, PORT, ports, datagrams);
      await host.counter('in-replayed', datagrams.length * (ports - 1));
      const counters = await host.counters();
      assert.equal(counters['in-packets'], datagrams.length);
      assert.equal(counters['in-replayed'], datagrams.length * (ports - 1));
      assert.ok((await busyThreads(host, 'in-messages')) > 1, 'copies came to several threads');
    });

    test('know the keys before the peer can answer', async () => {
      await using lab = new EngineLab();
      const { host, socket } = await lab.end('a', { threads });
      const peer = lab.host('b');
      const [rounds, ports] = [100, 8];
      for (let session = 1; session <= rounds; session++) {
        const keys = laterKeys('a', session);
        const sealer = new TransportKey(
          nodeCrypto,
          keys.suite,
          keys.localIndex,
          keys.receiveKey,
          keys.sendKey,
        );
        const answers = Array.from({ length: ports }, () => sealer.seal(new Uint8Array(0))!);
        const port = await peer.call<number>('answerWith', answers);
        const remote = { address: OUTER.b, port };
        await host.call('installAndSend', keys, socket.socket, remote);
        await host.counter('in-keepalives', session * ports);
      }
      assert.equal((await host.counters())['in-unknown-index'], 0);
      assert.ok((await busyThreads(host, 'in-messages')) > 1, 'answers came to several threads');
    });
  });
}

const device = { name: 'buri-a', mode: 'tun', mtuBytes: 1_400, addresses: [INNER.a] } as const;

describe('an engine of several threads', needsRoot, () => {
  test('refuses to seal beyond the limit of a key, whichever thread asks', async () => {
    await using lab = new EngineLab();
    const a = await lab.end('a', { threads: 4 });
    const b = await lab.liveEnd('b');
    const left = 1_000;
    await a.host.call('installKeysFrom', keysOf('a', 'aes256gcm'), 2n ** 29n - BigInt(left));
    await a.host.engine('activateKeys', indexOf('a'));
    await b.host.call('flowsServe', 7_000);
    await a.host.call('flowsSend', INNER.b, 7_000, FLOWS, 200);
    await a.host.counter('out-key-spent', 1);
    await b.host.counter('in-packets', left);
    assert.equal((await a.host.counters())['out-packets'], left);
    assert.equal((await b.host.counters())['in-packets'], left);
    assert.ok((await busyThreads(a.host, 'out-packets')) > 1);
  });

  test('opens another device after one was deleted, and says so once', async () => {
    await using lab = new EngineLab();
    const a = await lab.liveEnd('a', { threads: 4 });
    const b = await lab.liveEnd('b', { threads: 2 });
    for (let round = 0; round < 5; round++) {
      ping(a.host, INNER.b);
      a.host.run('ip', 'link', 'del', 'buri-a');
      const [reason] = await a.host.event('device-lost');
      assert.match(String(reason), /deleted/);
      await a.host.engine('openDevice', device);
      a.host.run('ip', 'addr', 'add', `${INNER.a}/24`, 'dev', 'buri-a');
      a.host.run('ip', 'link', 'set', 'buri-a', 'up');
    }
    ping(b.host, INNER.a);
    assert.deepEqual(
      a.host.events.filter(({ name }) => name === 'device-lost'),
      [],
    );
    assert.equal(await a.host.call('threadCount'), 4);
    await a.host.engine('closeDevice');
    assert.throws(() => a.host.run('ip', 'link', 'show', 'buri-a'));
  });

  test('goes on with one where the device has one queue, and says so', async () => {
    await using lab = new EngineLab();
    const host = lab.host('a');
    host.run('ip', 'tuntap', 'add', 'mode', 'tun', 'name', 'buri-a', 'vnet_hdr');
    const a = await lab.liveEnd('a', { threads: 4 }, host);
    const b = await lab.liveEnd('b', { threads: 2 });
    for (const left of [3, 2, 1]) {
      const [threads, reason] = await a.host.event('fewer-threads');
      assert.equal(threads, left);
      assert.match(String(reason), /'buri-a' takes one thread only/);
    }
    assert.equal(await a.host.call('threadCount'), 1);
    await exchange(a, b, 4, 4);
    await nothingRefused(a.host);
  });

  test('goes on with fewer where a thread gets no socket', async () => {
    await using lab = new EngineLab();
    const host = lab.host('a');
    await host.call('create', { threads: 3 });
    const { socket: spare } = await host.engine('openSocket', { family: 6, port: 0 });
    await host.engine('closeSocket', spare);
    assert.equal(await host.call('threadCount'), 3);
    const pid = await host.call<number>('pid');
    // Room for two descriptors: one thread has to go without.
    host.run('prlimit', '--pid', String(pid), `--nofile=${limitFor(pid, 2)}:`);
    const { socket } = await host.engine('openSocket', { family: 4, port: PORT });
    const [threads, reason] = await host.event('fewer-threads');
    assert.equal(threads, 2);
    assert.match(String(reason), /EMFILE/);
    assert.equal(await host.call('threadCount'), 2);
    const remote = { address: OUTER.b, port: PORT };
    await host.engine('sendDatagram', socket, remote, new Uint8Array(1));
    await host.counter('datagrams-sent', 1);
  });

  test('shares its ports with no other engine', async () => {
    await using engine = new PacketEngine(silentEvents, { threads: 2 });
    await using other = new PacketEngine(silentEvents, { threads: 2 });
    const { port } = await engine.openSocket({ family: 4, port: 0 });
    await assert.rejects(other.openSocket({ family: 4, port }), { code: 'port-in-use' });
    assert.equal(other.threads, 2, 'a port in use is no reason to give up threads');
  });

  test('ends and begins 50 times, with keys and traffic, and leaves nothing behind', {
    timeout: 300_000,
  }, async () => {
    const life = async (i: number): Promise<void> => {
      await using engine = new PacketEngine(silentEvents, { threads: i % 5 === 0 ? 4 : 2 });
      const { socket, port } = await engine.openSocket({ family: 4, port: 0 });
      const remote = { address: '127.0.0.1', port };
      engine.setPeer(0, { innerPrefixes: [INNER.b] });
      engine.setPath(0, { socket, remote });
      for (let session = 0; session < 20; session++) {
        engine.installKeys(laterKeys('a', session));
        engine.activateKeys(laterKeys('a', session).localIndex);
        engine.sendKeepalive(0);
        if (session > 0) engine.removeKeys(laterKeys('a', session - 1).localIndex);
      }
      if (i % 2 === 0) await engine.closeSocket(socket);
    };
    for (let i = 0; i < 10; i++) await life(i);
    const before = descriptors();
    for (let i = 0; i < 50; i++) await life(i);
    assert.ok(descriptors() <= before + 1, `${before} before, ${descriptors()} after`);
  });
});

/** The limit under which a process can open so many descriptors more. */
function limitFor(pid: number, free: number): number {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let limit = 0;
  for (let left = free; left > 0 || used.has(limit); limit++) if (!used.has(limit)) left--;
  return limit;
}

const descriptors = (): number => readdirSync('/proc/self/fd').length;
