/** Level 2: one path machine, whose peer is played by hand, under virtual time. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type MonotonicMs, monotonicMs, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { openProbe, type ProbeBody, probeBytes, readProbeHeader, sealProbe } from '#wire/probe.ts';
import type { NatBehaviour } from '#wire/signal.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import type { PathInput, PathOutput } from './io.ts';
import * as limits from './limits.ts';
import { Paths } from './paths.ts';
import { deriveProbeKeys } from './probe-keys.ts';

const crypto = deterministicCrypto(nodeCrypto, new Random('paths'));
const open: NatBehaviour = { mapping: 'none', filtering: 'none' };
const remote: Endpoint = { address: '198.51.100.2', port: 5000 };
const [keyA, keyB] = [crypto.random(32), crypto.random(32)].sort((a, b) => {
  const [x, y] = [nodeCrypto.x25519PublicKey(a), nodeCrypto.x25519PublicKey(b)];
  return Buffer.compare(x, y);
}) as [Uint8Array, Uint8Array];
const publicA = nodeCrypto.x25519PublicKey(keyA);
const publicB = nodeCrypto.x25519PublicKey(keyB);

type Send = Extract<PathOutput, { type: 'send' }>;

/** Machine A, which leads, and what B's side of the wire needs. */
class Bench {
  readonly paths: Paths;
  readonly keys = deriveProbeKeys(nodeCrypto, keyB, publicB, publicA)!;
  readonly outputs: { at: number; output: PathOutput }[] = [];
  at = 1_000_000;
  wallOffsetMs = 1_767_000_000_000;

  constructor(privateKey: Uint8Array = keyA) {
    this.paths = new Paths({ crypto, tunnelPrivateKey: privateKey });
    this.input({
      type: 'local-sockets',
      sockets: [{ socket: 0, family: 4, localPort: 41_641 }],
    });
    this.input({ type: 'local-candidates', candidates: [], nat: open });
  }

  get now() {
    return { monotonic: monotonicMs(this.at), wall: wallMs(this.at + this.wallOffsetMs) };
  }

  /** Gives an input; returns what came out. */
  input(input: PathInput): PathOutput[] {
    this.paths.handle(input, this.now);
    const out: PathOutput[] = [];
    for (let next = this.paths.poll(); next !== undefined; next = this.paths.poll()) out.push(next);
    this.outputs.push(...out.map((output) => ({ at: this.at, output })));
    return out;
  }

  /** Runs the machine's own deadlines. */
  run(durationMs: number): PathOutput[] {
    const end = this.at + durationMs;
    const out: PathOutput[] = [];
    for (;;) {
      const due: MonotonicMs | undefined = this.paths.deadline();
      if (due === undefined || due > end) break;
      this.at = Math.max(this.at, due);
      out.push(...this.input({ type: 'tick' }));
    }
    this.at = end;
    return out;
  }

  /** The same, with a peer that answers every probe at once. */
  runAnswered(durationMs: number): void {
    const end = this.at + durationMs;
    for (let due = this.paths.deadline(); due !== undefined && due <= end; ) {
      for (const probe of requests(this, this.run(Math.max(0, due - this.at)))) {
        this.answer(probe, { proven: true });
      }
      due = this.paths.deadline();
    }
    this.run(end - this.at);
  }

  addB(): this {
    this.input({ type: 'add-peer', peer: 7, tunnelPublicKey: publicB, clientId: '000-000-007' });
    return this;
  }

  candidates(...endpoints: string[]): PathOutput[] {
    const candidates = endpoints.map((endpoint) => ({ kind: 'host' as const, endpoint }));
    return this.input({ type: 'remote-candidates', peer: 7, candidates, nat: open });
  }

  /** A probe from B. */
  probe(type: 'request' | 'response', body: Partial<ProbeBody> = {}): Uint8Array {
    const nonce = crypto.random(24);
    const { wall: time } = this.now;
    const whole = { transaction: crypto.random(12), proven: false, using: false, time, ...body };
    return sealProbe(nodeCrypto, this.keys.send, type, whole, nonce);
  }

  receive(bytes: Uint8Array, from: Endpoint = remote, socket = 0): PathOutput[] {
    return this.input({ type: 'datagram', bytes, socket, remote: from });
  }

  /** What B reads in what A sent. */
  read({ bytes }: Send) {
    const header = readProbeHeader(bytes);
    const body = openProbe(nodeCrypto, this.keys.receive.key, bytes);
    assert(header !== undefined && body !== undefined);
    return { ...header, ...body };
  }

  answer(request: Send, flags: Partial<ProbeBody> = {}): PathOutput[] {
    const { transaction } = this.read(request);
    const response = this.probe('response', { transaction, observed: remote, ...flags });
    return this.receive(response, request.remote, request.socket);
  }

  /** Proves a path to `remote` and returns. */
  establish(): this {
    this.addB().candidates('198.51.100.2:5000');
    const sent = requests(this, this.input({ type: 'punch', peer: 7, inMs: 0 }));
    const announced = requests(this, this.answer(sent[0]!, { proven: true }));
    for (const request of announced) this.answer(request, { proven: true });
    assert(this.paths.pathOf(7) !== undefined);
    return this;
  }
}

const sends = (out: PathOutput[]): Send[] => out.filter((output) => output.type === 'send');
const requests = (bench: Bench, out: PathOutput[]) =>
  sends(out).filter((send) => bench.read(send).type === 'request');
const responses = (bench: Bench, out: PathOutput[]) =>
  sends(out).filter((send) => bench.read(send).type === 'response');
const types = (out: PathOutput[]) => out.map(({ type }) => type);

test('keys and key ids of the two directions differ and are those of protocol §7', () => {
  const [ofA, ofB] = [
    deriveProbeKeys(nodeCrypto, keyA, publicA, publicB)!,
    deriveProbeKeys(nodeCrypto, keyB, publicB, publicA)!,
  ];
  assert.deepEqual(ofA.send, ofB.receive);
  assert.deepEqual(ofA.receive, ofB.send);
  assert.notDeepEqual(ofA.send, ofA.receive);
  const shared = nodeCrypto.x25519(keyA, publicB)!;
  const info = Buffer.concat([Buffer.from('buri probe 1'), publicA, publicB]);
  const expected = nodeCrypto.hkdfSha256(shared, new Uint8Array(0), info, 40);
  assert.deepEqual(ofA.send.key, expected.subarray(0, 32));
  assert.equal(ofA.send.keyId, Buffer.from(expected).readBigUInt64BE(32));
});

test('a path is used only when our request was answered and the peer says the same', () => {
  const bench = new Bench().addB();
  bench.candidates('198.51.100.2:5000');
  const [request] = requests(bench, bench.input({ type: 'punch', peer: 7, inMs: 0 }));
  assert.equal(bench.read(request!).proven, false);
  bench.at += 30;
  const out = bench.answer(request!);
  assert.equal(bench.paths.pathOf(7), undefined, 'one direction');
  const [announced] = requests(bench, out);
  assert.equal(bench.read(announced!).proven, true, 'the peer is told at once');
  bench.at += 30;
  const found = bench.answer(announced!, { proven: true });
  assert.deepEqual(types(found), ['path', 'peer-alive']);
  assert.deepEqual(bench.paths.pathOf(7), { socket: 0, remote });
  const view = bench.paths.view(7);
  assert.equal(view.kind, 'direct');
  assert.equal(view.endpoint, '198.51.100.2:5000');
  assert.equal(view.rttMs, 30);
});

test('a request is answered with the address it came from, and asked back at once', () => {
  const bench = new Bench().addB();
  const from = { address: '192.0.2.44', port: 999 };
  const body = { transaction: crypto.random(12) };
  const out = bench.receive(bench.probe('request', body), from);
  const [response] = responses(bench, out);
  assert.deepEqual(bench.read(response!).observed, from);
  assert.deepEqual(bench.read(response!).transaction, body.transaction);
  assert.equal(response!.bytes.length, probeBytes, 'not longer than the request');
  assert.deepEqual(response!.remote, from);
  const [request] = requests(bench, out);
  assert.deepEqual(request!.remote, from);
  bench.answer(request!, { proven: true });
  assert.deepEqual(bench.paths.pathOf(7)?.remote, from, 'learnt without a signal');
  assert.equal(bench.paths.view(7).candidates[0]!.kind, 'peer-reflexive');
});

test('a response counts only from the address where the request went, on its socket, once, and in time', () => {
  const bench = new Bench().addB();
  bench.candidates('198.51.100.2:5000');
  const [request] = requests(bench, bench.input({ type: 'punch', peer: 7, inMs: 0 }));
  const { transaction } = bench.read(request!);
  const response = bench.probe('response', { transaction, proven: true });
  const count = () => bench.paths.counters().responsesUnmatched;
  bench.receive(response, { ...remote, address: '198.51.100.3' });
  bench.receive(response, remote, 1);
  bench.receive(bench.probe('response', { proven: true }));
  assert.equal(count(), 3);
  assert.equal(bench.paths.pathOf(7), undefined);
  bench.receive(response);
  assert(bench.paths.pathOf(7) !== undefined);
  bench.receive(response);
  assert.equal(count(), 4, 'a copy');
  const late = new Bench().addB();
  late.candidates('198.51.100.2:5000');
  const [asked] = requests(late, late.input({ type: 'punch', peer: 7, inMs: 0 }));
  late.at += limits.transactionLifetimeMs + 1;
  late.answer(asked!, { proven: true });
  assert.equal(late.paths.pathOf(7), undefined);
});

test('an answer from another port proves the pair, and what comes from there belongs to it', () => {
  const bench = new Bench().addB();
  bench.candidates('198.51.100.2:5000');
  const [request] = requests(bench, bench.input({ type: 'punch', peer: 7, inMs: 0 }));
  const { transaction } = bench.read(request!);
  const shown = { ...remote, port: 5001 };
  bench.receive(bench.probe('response', { transaction, proven: true }), shown);
  assert.deepEqual(bench.paths.pathOf(7)?.remote, remote);
  const out = bench.receive(bench.probe('request'), shown);
  assert.deepEqual(responses(bench, out)[0]!.remote, shown, 'answered where it came from');
  assert.deepEqual(requests(bench, out), [], 'and nothing is asked there');
  assert.equal(bench.paths.view(7).candidates.length, 1);
});

test('few addresses are learnt of a peer whose requests come from ever another port', () => {
  const bench = new Bench().addB();
  const asked = new Set<string>();
  for (let i = 0; i < 600; i++) {
    bench.at += 100;
    const from = { ...remote, port: 10_000 + i };
    const out = bench.receive(bench.probe('request'), from);
    assert.equal(responses(bench, out).length, 1, 'each is answered');
    for (const request of requests(bench, out)) asked.add(`${request.remote.port}`);
  }
  assert(asked.size <= limits.learntOfAddressBurst + limits.learntOfAddressPerMinute);
});

test('copies and recordings of requests have no effect, also after the wall clock was set', () => {
  const bench = new Bench().addB();
  const request = bench.probe('request');
  assert.equal(responses(bench, bench.receive(request)).length, 1);
  assert.equal(bench.receive(request, { address: '203.0.113.66', port: 53 }).length, 0);
  assert.equal(bench.paths.counters().requestsReplayed, 1);
  const recorded = bench.probe('request');
  bench.at += limits.requestLifetimeMs + 1;
  assert.equal(responses(bench, bench.receive(recorded)).length, 0);
  assert.equal(bench.paths.counters().requestsStale, 1);
  // With the server's time known, our own clock may be wrong by a day, or jump.
  bench.wallOffsetMs -= 86_400_000;
  bench.input({ type: 'time-offset', offsetMs: 86_400_000 });
  bench.wallOffsetMs += 7_200_000;
  const time = bench.at + 1_767_000_000_000;
  assert.equal(responses(bench, bench.receive(bench.probe('request', { time }))).length, 1);
  const old = bench.probe('request', { time: time - limits.requestLifetimeMs - 1 });
  assert.equal(responses(bench, bench.receive(old)).length, 0);
});

test('forged, truncated, reflected and random datagrams are dropped and counted', () => {
  const bench = new Bench().establish();
  const request = bench.probe('request');
  for (let length = 0; length < request.length; length++)
    bench.receive(request.subarray(0, length));
  assert.equal(bench.paths.counters().datagramsMalformed, 96);
  for (let at = 16; at < 96; at++) {
    const forged = request.slice();
    forged[at]! ^= 0x40;
    bench.receive(forged);
  }
  assert.equal(bench.paths.counters().probesForged, 80);
  const own = sends(bench.run(1500))[0]!;
  bench.receive(own.bytes);
  const random = new Random(1);
  for (let i = 0; i < 20_000; i++) {
    const bytes = random.bytes(96);
    bytes.set([0x42, 0x55, 0x52, 1, 1 + (i & 1), 0, 0, 0]);
    bench.receive(bytes);
  }
  assert.equal(bench.paths.counters().keysUnknown, 20_001, 'our own probes are none of ours');
  assert.equal(bench.paths.view(7).kind, 'direct');
});

test('a peer that sends requests as fast as it can is answered at a bounded rate', () => {
  const bench = new Bench().addB();
  let answered = 0;
  for (let i = 0; i < 3000; i++) {
    answered += responses(bench, bench.receive(bench.probe('request'))).length;
    bench.at += 1;
  }
  assert(answered <= 3 * limits.responsesPerSecond + limits.responsesAtOnce + 1, `${answered}`);
  assert(bench.paths.counters().requestsOverRate > 2000);
});

test('requests from ever new addresses leave a bounded table, and cost at most a probe each', () => {
  const bench = new Bench().addB();
  let sent = 0;
  for (let i = 0; i < 5000; i++) {
    const from = { address: `203.0.${(i >> 8) & 255}.${i & 255}`, port: 1000 + i };
    sent += requests(bench, bench.receive(bench.probe('request'), from)).length;
    bench.at += 20;
  }
  sent += requests(bench, bench.run(10_000)).length;
  assert(bench.paths.view(7).candidates.length <= limits.maxPeerReflexive);
  assert(sent <= 2 * 5000 + 100, `${sent} probes for 5,000 requests`);
});

test('lists of candidates that change with every signal do not make us a scanner', () => {
  const bench = new Bench().addB();
  let out: PathOutput[] = [];
  for (let i = 0; i < 600; i++) {
    const list = Array.from({ length: 16 }, (_, j) => `203.${i & 127}.${i >> 7}.${j + 1}:${1 + i}`);
    out = out.concat(bench.candidates(...list));
    out = out.concat(bench.input({ type: 'punch', peer: 7, inMs: 0 }));
    out = out.concat(bench.run(1000));
  }
  const addresses = new Set(sends(out).map((send) => send.remote.address));
  const bound = limits.newAddressesBurst + 10 * limits.newAddressesPerMinute + 1;
  assert(addresses.size <= bound, `${addresses.size} addresses in ten minutes`);
  assert(bench.paths.counters().probesWithheld > 1000);
  assert(bench.paths.view(7).candidates.length <= limits.maxCandidates);
});

test('an address that never answers gets a burst and then few probes, however often it is named', () => {
  const bench = new Bench().addB();
  const times: number[] = [];
  for (let i = 0; i < 3600; i++) {
    bench.candidates('198.51.100.2:5000');
    bench.input({ type: 'punch', peer: 7, inMs: 0 });
    bench.run(1000);
  }
  for (const { at, output } of bench.outputs) if (output.type === 'send') times.push(at);
  const later = times.slice(limits.firstBurstProbes);
  for (const from of later) {
    const inMinute = later.filter((at) => at >= from && at < from + 60_000).length;
    assert(inMinute <= limits.unprovenProbesPerMinute, `${inMinute} in a minute`);
  }
});

test('a thousand peers at once stay below 150 probes in any second, and each gets its turn', () => {
  const bench = new Bench();
  const keys = new Random('peers');
  for (let peer = 0; peer < 1000; peer++) {
    const tunnelPublicKey = nodeCrypto.x25519PublicKey(keys.bytes(32));
    bench.input({ type: 'add-peer', peer, tunnelPublicKey, clientId: '000-000-000' });
    const endpoint = `198.18.${peer >> 8}.${peer & 255}:5000`;
    const candidates = [{ kind: 'host' as const, endpoint }];
    bench.input({ type: 'remote-candidates', peer, candidates, nat: open });
    bench.input({ type: 'punch', peer, inMs: 0 });
  }
  bench.run(60_000);
  const times = bench.outputs.filter(({ output }) => output.type === 'send').map(({ at }) => at);
  for (let i = 150; i < times.length; i++) {
    assert(times[i]! - times[i - 150]! >= 1000, `150 probes in ${times[i]! - times[i - 150]!} ms`);
  }
  const reached = new Set(
    bench.outputs.flatMap(({ output }) => (output.type === 'send' ? [output.remote.address] : [])),
  );
  assert.equal(reached.size, 1000);
});

test('only the 64 most recent peers are kept open; the others lapse', () => {
  const bench = new Bench();
  const random = new Random('many');
  const peers = Array.from({ length: 100 }, (_, peer) => {
    const privateKey = random.bytes(32);
    const tunnelPublicKey = nodeCrypto.x25519PublicKey(privateKey);
    const keys = deriveProbeKeys(nodeCrypto, privateKey, tunnelPublicKey, publicA)!;
    bench.input({ type: 'add-peer', peer, tunnelPublicKey, clientId: '000-000-000' });
    return { peer, keys, from: { address: `198.18.0.${peer}`, port: 5000 } };
  });
  /** Every peer answers what it is asked. */
  const answerAll = (out: PathOutput[]): number => {
    let asked = 0;
    const queue = [...out];
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      if (next.type !== 'send') continue;
      const { address, port } = next.remote;
      const { keys } = peers[Number(address.split('.')[3])]!;
      const body = openProbe(nodeCrypto, keys.receive.key, next.bytes)!;
      if (readProbeHeader(next.bytes)?.type !== 'request') continue;
      asked += 1;
      const answer = { ...body, proven: true, time: bench.now.wall };
      const bytes = sealProbe(nodeCrypto, keys.send, 'response', answer, crypto.random(24));
      queue.push(...bench.receive(bytes, { address, port }));
    }
    return asked;
  };
  for (const { peer, from } of peers) {
    const candidates = [{ kind: 'host' as const, endpoint: `${from.address}:${from.port}` }];
    bench.input({ type: 'remote-candidates', peer, candidates, nat: open });
    answerAll(bench.input({ type: 'punch', peer, inMs: 0 }));
    for (let i = 0; i < 10; i++) answerAll(bench.run(100));
  }
  for (let i = 0; i < 200; i++) answerAll(bench.run(100));
  for (const { peer } of peers) assert(bench.paths.pathOf(peer) !== undefined);
  let keepalives = 0;
  for (let i = 0; i < 2500; i++) keepalives += answerAll(bench.run(100));
  assert.equal(keepalives, 64 * 10, '250 s at one in 25 s');
  bench.input({ type: 'activity', peer: 3, sent: true, received: true });
  const out: PathOutput[] = [];
  for (let i = 0; i < 300; i++) {
    const sent = bench.run(100);
    out.push(...sent);
    answerAll(sent);
  }
  assert(sends(out).some((send) => send.remote.address === '198.18.0.3'));
});

test('silence while sending is asked about after 400 ms, doubted after 1.2 s, and ends the path at 2 s', () => {
  const bench = new Bench().establish();
  // Ten keepalives were answered: the path is known to lose nothing.
  bench.runAnswered(260_000);
  const start = bench.at;
  const from = bench.outputs.length;
  while (bench.at < start + 2050) {
    bench.input({ type: 'activity', peer: 7, sent: true, received: false });
    bench.run(50);
  }
  const seen = bench.outputs.slice(from).map(({ at, output }) => `${at - start} ${output.type}`);
  assert.deepEqual(seen, [
    ...['400 send', '800 send', '1200 send', '1200 signal-wanted', '1600 send'],
    ...['2000 path', '2000 peer-dead'],
  ]);
  assert.equal(bench.paths.pathOf(7), undefined);
});

test('a path that nobody uses is not asked about between keepalives', () => {
  const bench = new Bench().establish();
  bench.runAnswered(10_000);
  const before = bench.paths.counters().requestsSent;
  bench.runAnswered(250_000);
  assert.equal(bench.paths.counters().requestsSent - before, 10);
});

test('keepalives follow the lifetime of mappings: seven tenths of it, never too often, never too seldom', () => {
  const table = [
    [undefined, 25_000],
    [40_000, 28_000],
    [10_000, 7000],
    [3000, 5000],
    [900_000, 110_000],
  ] as const;
  for (const [lifetimeMs, everyMs] of table) {
    const bench = new Bench().establish();
    bench.input({ type: 'mapping-lifetime', lifetimeMs });
    // From the old rhythm into the new one.
    bench.runAnswered(2 * Math.max(everyMs, 25_000));
    const before = bench.paths.counters().requestsSent;
    bench.runAnswered(20 * everyMs);
    const asked = bench.paths.counters().requestsSent - before;
    assert(Math.abs(asked - 20) <= 1, `${asked} in 20 times ${everyMs} ms`);
  }
});

test('data that comes back ends every doubt without a probe but those that measure', () => {
  const bench = new Bench().establish();
  bench.runAnswered(10_000);
  const { measuringSent: before } = bench.paths.counters();
  let sent = 0;
  for (let i = 0; i < 200; i++) {
    const activity = { type: 'activity', peer: 7, sent: true, received: i % 3 === 0 } as const;
    sent += sends([...bench.input(activity), ...bench.run(100)]).length;
  }
  const { measuringSent, pathsLost } = bench.paths.counters();
  assert.equal(sent, measuringSent - before);
  assert(sent >= 19 && sent <= 21, `${sent} in 20 s`);
  assert.equal(pathsLost, 0);
});

test('signals back off to 30 s while there is no path, and waiting data shortens that to 5 s', () => {
  const bench = new Bench().addB();
  bench.run(300_000);
  const at = () =>
    bench.outputs.filter(({ output }) => output.type === 'signal-wanted').map(({ at: t }) => t);
  const gaps = at()
    .slice(1)
    .map((time, i) => time - at()[i]!);
  assert.equal(at()[0], 1_000_000, 'the side that leads begins at once');
  for (const [i, gap] of gaps.entries()) {
    const nominal = Math.min(1000 * 2 ** i, 30_000);
    assert(gap >= nominal * 0.8 && gap <= nominal * 1.2, `gap ${i} is ${gap}`);
  }
  const before = at().length;
  for (let i = 0; i < 240; i++) {
    bench.input({ type: 'want', peer: 7 });
    bench.run(250);
  }
  const wanted = at().length - before;
  assert(wanted >= 10 && wanted <= 13, `${wanted} signals in a minute`);
});

test('the side that does not lead waits for the other one to begin', () => {
  const bench = new Bench(keyB);
  bench.input({ type: 'add-peer', peer: 7, tunnelPublicKey: publicA, clientId: '000-000-007' });
  assert.deepEqual(types(bench.run(limits.signalYieldMs - 1)), []);
  assert.deepEqual(types(bench.run(1)), ['signal-wanted']);
});

test('without a server known addresses are tried alone, and others may carry signals', () => {
  const bench = new Bench().addB();
  bench.candidates('198.51.100.2:5000');
  bench.run(60_000);
  bench.input({ type: 'server', connected: false });
  const out = bench.run(120_000);
  assert(types(out).includes('signal-wanted'));
  assert(sends(out).length > 5);
  bench.input({ type: 'server', connected: true });
  assert(types(bench.run(2000)).includes('signal-wanted'));
});

test('nothing is signalled before our own candidates are known', () => {
  const paths = new Paths({ crypto, tunnelPrivateKey: keyA });
  const now = { monotonic: monotonicMs(1), wall: wallMs(1) };
  paths.handle(
    { type: 'add-peer', peer: 1, tunnelPublicKey: publicB, clientId: '000-000-001' },
    now,
  );
  assert.equal(paths.poll(), undefined);
  assert.match(paths.view(1).reason!, /no UDP socket/);
  paths.handle({ type: 'local-candidates', candidates: [], nat: open }, now);
  assert.equal(paths.poll()?.type, 'signal-wanted');
});

test('a socket that closes takes its pairs and the path with it; a new one starts again', () => {
  const bench = new Bench().establish();
  const closed = bench.input({ type: 'local-sockets', sockets: [] });
  assert(closed.some((output) => output.type === 'path' && output.path === undefined));
  assert.equal(bench.paths.view(7).candidates.length, 0);
  const sockets = [{ socket: 5, family: 4 as const, localPort: 1 }];
  const [request] = requests(bench, [
    ...bench.input({ type: 'local-sockets', sockets }),
    ...bench.run(2000),
  ]);
  assert.equal(request!.socket, 5);
  bench.answer(request!, { proven: true });
  assert.equal(bench.paths.pathOf(7)?.socket, 5);
});

test('a removed peer is forgotten with its path, and its probes mean nothing', () => {
  const bench = new Bench().establish();
  const out = bench.input({ type: 'remove-peer', peer: 7 });
  assert.deepEqual(out, [{ type: 'path', peer: 7, path: undefined }]);
  assert.equal(bench.receive(bench.probe('request')).length, 0);
  assert.equal(bench.paths.counters().keysUnknown, 1);
  assert.equal(bench.paths.view(7).kind, 'none');
  assert.equal(bench.paths.deadline(), undefined, 'nothing is left to do');
  const inputs: PathInput[] = [
    { type: 'punch', peer: 7, inMs: 0 },
    { type: 'want', peer: 7 },
    { type: 'check-liveness', peer: 7 },
    { type: 'roam', peer: 7, socket: 0, remote },
    { type: 'activity', peer: 7, sent: true, received: true },
  ];
  for (const input of inputs) assert.deepEqual(bench.input(input), []);
});

test('a peer with a low-order key, or with the key of another peer, is refused', () => {
  const bench = new Bench().addB();
  const clientId = '000-000-008';
  bench.input({ type: 'add-peer', peer: 8, tunnelPublicKey: new Uint8Array(32), clientId });
  bench.input({ type: 'add-peer', peer: 9, tunnelPublicKey: publicB, clientId });
  assert.equal(bench.paths.counters().peersRefused, 2);
  assert.equal(bench.paths.view(9).kind, 'none');
  bench.input({ type: 'add-peer', peer: 7, tunnelPublicKey: publicB, clientId });
  assert.equal(bench.paths.counters().peersRefused, 2, 'the same peer again changes nothing');
  const other = nodeCrypto.x25519PublicKey(new Uint8Array(32).fill(9));
  bench.input({ type: 'add-peer', peer: 7, tunnelPublicKey: other, clientId });
  assert.equal(bench.receive(bench.probe('request')).length, 0, 'its old key is gone');
});

test('the machine never prints its keys', () => {
  const bench = new Bench().establish();
  const { inspect } = process.getBuiltinModule('node:util');
  const text = inspect(bench.paths, { depth: 20, showHidden: true });
  for (const byteList of [keyA, bench.keys.send.key, bench.keys.receive.key]) {
    assert(!text.includes([...byteList.subarray(0, 8)].join(', ')));
  }
});
