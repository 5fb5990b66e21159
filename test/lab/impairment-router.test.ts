/** The bad line does what it is told, as often as it is told, and counts it. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { execChecked } from '../../lab/exec.ts';
import { type FlowEnd, tcpStream, udpFlow } from '../../lab/flow.ts';
import type { Host } from '../../lab/host.ts';
import { type ImpairmentCounters, ImpairmentRouter } from '../../lab/impairment-router.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { nativeProgram, nativeSkipReason } from '../../lab/native.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

interface Passed {
  readonly number: number;
  readonly dueNs: number | undefined;
  readonly fate: string;
}

const gapNs = 100_000;
const packetBytes = 1250;

/** What becomes of `count` packets of 1,250 bytes, one every 0.1 ms, in the order of their coming out. */
async function trial(count: number, settings: string, seed = 7): Promise<Passed[]> {
  const program = await nativeProgram('impairment-trial');
  const numbers = [seed, count, gapNs, packetBytes].map(String);
  const text = await execChecked(program, [...numbers, ...settings.split(' ').filter(Boolean)]);
  return text
    .trimEnd()
    .split('\n')
    .map((line) => {
      const [number, due, fate] = line.split(' ');
      return {
        number: Number(number),
        dueNs: due === '-' ? undefined : Number(due),
        fate: fate ?? '',
      };
    });
}

const withFate = (passed: readonly Passed[], fate: string) =>
  passed.filter((packet) => packet.fate === fate);
const delays = (passed: readonly Passed[]) =>
  passed.map(({ number, dueNs = Number.NaN }) => dueNs - number * gapNs);

/** Within 5 standard deviations of a binomial distribution: a seed that fails does so for ever, and tells. */
function assertRate(seen: number, of: number, rate: number): void {
  const deviation = Math.sqrt(of * rate * (1 - rate));
  assert.ok(Math.abs(seen - of * rate) < 5 * deviation + 1, `${seen} of ${of} for ${rate}`);
}

describe('the decisions of a bad line', { skip: nativeSkipReason() }, () => {
  test('without settings every packet leaves at once and in order', async () => {
    const passed = await trial(1000, '');
    assert.deepEqual(
      passed.map(({ number }) => number),
      Array.from({ length: 1000 }, (_, index) => index),
    );
    assert.ok(delays(passed).every((delay) => delay === 0));
  });

  test('each fate comes as often as it is told, and a packet has one', async () => {
    const passed = await trial(100_000, 'loss=0.01 corrupt=0.02 duplicate=0.03');
    assertRate(withFate(passed, 'lost').length, 100_000, 0.01);
    assertRate(withFate(passed, 'corrupt').length, 100_000, 0.02);
    const doubled = withFate(passed, 'duplicate');
    assertRate(doubled.length / 2, 100_000, 0.03);
    assert.equal(new Set(doubled.map(({ number }) => number)).size, doubled.length / 2);
    assert.equal(passed.length, 100_000 + doubled.length / 2);
  });

  test('the same seed decides alike, another one does not', async () => {
    const settings = 'loss=0.1 jitter-ms=1 reorder=0.1 reorder-ms=2';
    const first = await trial(2000, settings);
    assert.deepEqual(await trial(2000, settings), first);
    assert.notDeepEqual(await trial(2000, settings, 8), first);
  });

  test('bursts have the length told on average, and everything in them is lost', async () => {
    const passed = await trial(200_000, 'burst=0.002 burst-packets=10');
    const lost = withFate(passed, 'lost-in-burst').map(({ number }) => number);
    const bursts = lost.filter((number, index) => number !== (lost[index - 1] ?? -2) + 1).length;
    assertRate(bursts, 200_000 - lost.length, 0.002);
    const mean = lost.length / bursts;
    assert.ok(mean > 8 && mean < 12, `${mean}`);
  });

  test('delay is exact, jitter lies on top of it and does not reorder', async () => {
    const still = await trial(1000, 'delay-ms=20');
    assert.ok(delays(still).every((delay) => delay === 20_000_000));
    const shaken = await trial(20_000, 'delay-ms=20 jitter-ms=5');
    assert.ok(shaken.every(({ number }, index) => number === index));
    const values = delays(shaken);
    assert.ok(values.every((delay) => delay >= 20_000_000 && delay < 25_000_000));
    assert.ok(Math.min(...values) < 24_000_000 && Math.max(...values) > 24_900_000);
  });

  test('packets held back are overtaken, by no more than told', async () => {
    const passed = await trial(20_000, 'reorder=0.05 reorder-ms=3');
    const late = passed.filter(({ dueNs, number }) => (dueNs ?? 0) > number * gapNs);
    assertRate(late.length, 20_000, 0.05);
    assert.ok(delays(late).every((delay) => delay < 3_000_000));
    const overtaken = passed.filter(({ number }, index) =>
      passed.slice(Math.max(0, index - 100), index).some((before) => before.number > number),
    );
    // All but those that were held back for less than the gap to the next one.
    assertRate(overtaken.length, 20_000, 0.05 * (1 - 0.1 / 3));
  });

  test('a bottleneck passes its rate, lets the queue fill, and drops the rest', async () => {
    // 100 Mbit/s offered to one of 50 with room for ten packets, that on the line included.
    const passed = await trial(1000, 'rate-mbit=50 queue-bytes=12500');
    const out = withFate(passed, 'pass');
    assert.equal(delays(out)[0], 200_000);
    assert.equal(Math.max(...delays(out)), 2_000_000);
    const spacing = out.slice(1).map(({ dueNs = 0 }, index) => dueNs - (out[index]?.dueNs ?? 0));
    assert.ok(spacing.every((ns) => ns === 200_000));
    assert.equal(withFate(passed, 'queue-full').length + out.length, 1000);
    // Half of them, and those that stand in the queue at the end.
    assert.ok(Math.abs(out.length - 505) <= 5, `${out.length}`);
  });

  test('settings without sense are refused', async () => {
    for (const settings of [
      'loss=2',
      'loss=-1',
      'loss=nan',
      'loss=',
      'lost=0.1',
      'loss',
      'loss=0.6 corrupt=0.6',
      'burst=0.1',
      'rate-mbit=10',
    ]) {
      await assert.rejects(trial(1, settings), /exit code 2/, settings);
    }
  });
});

describe('a bad line', { skip: labSkipReason() || nativeSkipReason() }, () => {
  const end = (host: Host): FlowEnd => ({ host, ipv4: host.ipv4 });

  /** Two hosts on the Internet, `a` behind a bad line. */
  async function build(lab: Lab) {
    const internet = await Internet.create(lab);
    const [a, b] = [await internet.host('a'), await internet.host('b')];
    return { a, b, line: await ImpairmentRouter.splice(a, { seed: 3 }) };
  }

  test('passes everything while it is told nothing', async () => {
    await using lab = await Lab.create();
    const { a, b, line } = await build(lab);
    assert.equal((await a.ping(b.ipv4, { count: 3 })).received, 3);
    assert.equal((await b.ping(a.ipv6, { count: 3 })).received, 3);
    assert.equal((await a.ping(b.ipv4, { sizeBytes: 1472, dontFragment: true })).received, 1);
    const stream = await tcpStream(end(a), end(b), { bytes: 20e6, timeoutMs: 60_000 });
    assert.equal(stream.receivedSha256, stream.sentSha256);
    const counters = await line.counters();
    for (const way of [counters.in, counters.out]) {
      assert.equal(way.sent, way.received);
      assert.equal(way.tooLong + way.missed + way.sendFailed, 0);
    }
    assert.ok(counters.out.received > 20e6 / 1500);
  });

  test('delays each direction as told, also while it runs', async () => {
    await using lab = await Lab.create();
    const { a, b, line } = await build(lab);
    const rtt = async () => (await a.ping(b.ipv4, { count: 5 })).averageRttMs ?? 0;
    await line.set({ delayMs: 30 }, 'out');
    const oneWay = await rtt();
    assert.ok(oneWay >= 30 && oneWay < 45, `${oneWay} ms`);
    await line.set({ delayMs: 30 }, 'in');
    assert.ok((await rtt()) >= 60);
    await line.set({});
    assert.ok((await rtt()) < 30);
    await assert.rejects(line.set({ lossRate: 2 }), RangeError);
  });

  test('loses, doubles, reorders and breaks what it says it does', async () => {
    await using lab = await Lab.create();
    const { a, b, line } = await build(lab);
    const faults = { lossRate: 0.01, corruptRate: 0.02, duplicateRate: 0.03 };
    await line.set({ ...faults, reorderRate: 0.01, reorderMs: 5 });
    const before = await line.counters();
    const [atA, atB] = await udpFlow(end(a), end(b), {
      ...{ bytes: 10e6, seconds: 40, mbitPerSecond: 200 },
    });
    const counted = await waitFor('the line to be empty', async () => {
      const { in: inward, out } = await line.counters();
      return inward.held + out.held === 0 && { in: inward, out };
    });
    for (const [from, to, way] of [
      [atA, atB, 'out'],
      [atB, atA, 'in'],
    ] as const) {
      assert.ok(from.complete && to.complete);
      const done = (name: keyof ImpairmentCounters) => counted[way][name] - before[way][name];
      assert.equal(done('missed') + done('poolDropped') + to.socketDropped, 0);
      assert.equal(from.sent, to.received + done('lost') + done('corrupted'));
      assert.equal(to.corrupted, done('corrupted'));
      assert.equal(to.duplicates, done('duplicated'));
      assert.ok(to.overtaken > 0 && to.overtaken <= done('reordered'), `${to.overtaken}`);
      assertRate(done('lost'), from.sent, faults.lossRate);
      assertRate(done('corrupted'), from.sent, faults.corruptRate);
    }
  });
});
