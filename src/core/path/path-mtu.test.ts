/** Path MTU discovery under virtual time, against a path that swallows what is too large for it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type MonotonicMs, monotonicMs } from '#core/time.ts';
import { Random } from '../../../sim/random.ts';
import { mtuPatienceMs, mtuRaiseFirstMs, mtuSuspectMs, PathMtu } from './path-mtu.ts';

const least = 548;
const most = 1432;

interface Probe {
  readonly at: number;
  readonly size: number;
}

/** A path that datagrams of at most `fits` bytes pass, and traffic on it every so often. */
class Bench {
  readonly mtu: PathMtu;
  readonly probes: Probe[] = [];
  /** How the size in use changed. */
  readonly history: { at: number; size: number | undefined }[] = [];
  fits: number;
  rttMs = 20;
  /** Chance of losing any probe. */
  loss = 0;
  /** Whether what is small passes. */
  alive = true;
  at = 1000;
  readonly #random: Random;
  readonly #answers: { at: number; size: number }[] = [];

  constructor(fits: number, seed = 'mtu', mostBytes = most) {
    this.fits = fits;
    this.#random = new Random(seed);
    this.mtu = new PathMtu(least, mostBytes);
  }

  get now(): MonotonicMs {
    return monotonicMs(this.at);
  }

  /** Data every `everyMs` for so long; silence when it is 0. */
  run(durationMs: number, everyMs = 50): this {
    const end = this.at + durationMs;
    let dataAt = everyMs === 0 ? Number.POSITIVE_INFINITY : this.at;
    let steps = 0;
    for (;;) {
      steps += 1;
      assert.ok(steps < 100_000, 'the machine does not spin');
      const dueAt = this.mtu.dueAt(this.rttMs) ?? Number.POSITIVE_INFINITY;
      const answerAt = this.#answers[0]?.at ?? Number.POSITIVE_INFINITY;
      const next = Math.min(dataAt, dueAt, answerAt);
      if (next > end) break;
      this.at = Math.max(this.at, next);
      if (next === answerAt) this.mtu.answered(this.#answers.shift()!.size, this.now);
      else if (next === dataAt) {
        this.mtu.dataSent(this.now);
        if (this.alive) this.mtu.heard(this.now);
        dataAt += everyMs;
      }
      this.#wake();
    }
    this.at = end;
    return this;
  }

  /** Until the next probe has left. */
  runToProbe(): Probe {
    const { length } = this.probes;
    for (let i = 0; i < 1000 && this.probes.length === length; i++) this.run(10);
    return this.probes[length]!;
  }

  #wake(): void {
    for (const size of this.mtu.wake(this.rttMs, this.now)) {
      assert.ok(size >= least && size <= most, `${size}`);
      this.probes.push({ at: this.at, size });
      const passes = this.alive && size <= this.fits && !this.#random.chance(this.loss);
      if (passes) this.#answers.push({ at: this.at + this.rttMs, size });
    }
    const size = this.mtu.payloadBytes;
    if (this.history.length === 0 || this.history.at(-1)?.size !== size) {
      this.history.push({ at: this.at, size });
    }
  }
}

test('on an ordinary path one probe, answered, is all it takes', () => {
  const bench = new Bench(1472).run(1000);
  assert.deepEqual(
    bench.probes.map(({ size }) => size),
    [most],
  );
  assert.equal(bench.mtu.payloadBytes, most);
});

test('a path without traffic costs nothing, before and after it is known', () => {
  const bench = new Bench(1000).run(3_600_000, 0);
  assert.equal(bench.probes.length, 0);
  bench.run(5000);
  const { length } = bench.probes;
  bench.run(3_600_000, 0);
  // At most the check that the last data asked for.
  assert.ok(bench.probes.length <= length + 1);
});

test('with traffic the size in use is asked again every 2 s, and nothing else on a full path', () => {
  const bench = new Bench(1472).run(60_000);
  assert.ok(bench.probes.length >= 27 && bench.probes.length <= 31, `${bench.probes.length}`);
  assert.ok(bench.probes.every(({ size }) => size === most));
});

test('a narrow path is measured to the grain within little more than a second, by few probes', () => {
  for (const link of [1492, 1420, 1400, 1300, 1280, 1000, 576]) {
    const bench = new Bench(link - 28).run(1200);
    assert.equal(bench.mtu.payloadBytes, Math.min(most, link - 28), `link of ${link}`);
    assert.ok(bench.probes.length <= 24, `${bench.probes.length} probes for ${link}`);
  }
});

test('a path that gets narrower is followed within three seconds, and by no size between', () => {
  const bench = new Bench(1472).run(10_500);
  bench.fits = 972;
  bench.run(4000);
  assert.deepEqual(
    bench.history.map(({ size }) => size),
    [undefined, most, 972],
  );
  const { at } = bench.history.at(-1)!;
  assert.ok(at - 11_500 <= 3100, `${at - 11_500} ms`);
});

test('a suspicion makes the check come sooner', () => {
  const bench = new Bench(1472).run(5000);
  const checked = bench.runToProbe();
  bench.run(100);
  bench.mtu.suspect();
  const next = bench.runToProbe();
  assert.ok(next.at - checked.at <= mtuSuspectMs + bench.rttMs, `${next.at - checked.at} ms`);
});

test('a path that gets wider is followed at the next raise, however little it gained', () => {
  const bench = new Bench(972).run(2000);
  assert.equal(bench.mtu.payloadBytes, 972);
  bench.fits = 1272;
  bench.run(mtuRaiseFirstMs + 1000);
  assert.equal(bench.mtu.payloadBytes, 1272);
  bench.fits = 1472;
  bench.run(mtuRaiseFirstMs + 1000);
  assert.equal(bench.mtu.payloadBytes, most);
});

test('raising gets rarer while it is in vain, and a changed network makes it immediate', () => {
  const bench = new Bench(1272).run(3_600_000, 1000);
  const raises = bench.probes.filter(({ size }) => size === most).map(({ at }) => at);
  assert.ok(raises.length <= 30, `${raises.length} in an hour`);
  bench.fits = 1472;
  bench.mtu.networkChanged(bench.now);
  bench.run(1000, 1000);
  assert.equal(bench.mtu.payloadBytes, most);
});

test('one lost probe changes nothing', () => {
  const bench = new Bench(1472).run(5000);
  bench.fits = 0;
  bench.runToProbe();
  bench.fits = 1472;
  bench.run(5000);
  assert.deepEqual(
    bench.history.map(({ size }) => size),
    [undefined, most],
  );
});

test('while nothing passes at all, nothing is concluded', () => {
  const bench = new Bench(1272).run(5000);
  bench.alive = false;
  bench.run(20_000);
  bench.alive = true;
  bench.run(5000);
  assert.equal(bench.mtu.payloadBytes, 1272);
  assert.deepEqual(
    bench.history.map(({ size }) => size),
    [undefined, 1272],
  );
});

test('a peer that answers no padded probe leaves the size unknown, and is asked ever more rarely', () => {
  const bench = new Bench(0).run(600_000);
  assert.equal(bench.mtu.payloadBytes, undefined);
  assert.ok(bench.probes.length < 120, `${bench.probes.length} probes in ten minutes`);
  bench.fits = 1472;
  bench.run(660_000);
  assert.equal(bench.mtu.payloadBytes, most);
});

test('what could not be sent is not taken for lost', () => {
  const mtu = new PathMtu(least, most);
  let at = monotonicMs(0);
  mtu.dataSent(at);
  for (let i = 0; i < 20; i++) {
    for (const size of mtu.wake(20, at)) mtu.withheld(size);
    const dueAt = mtu.dueAt(20)!;
    assert.ok(dueAt >= at + mtuPatienceMs, 'and not tried again at once');
    at = dueAt;
  }
  assert.ok(mtu.wake(20, at).includes(most));
  mtu.answered(most, at);
  assert.equal(mtu.payloadBytes, most);
});

test('property: whatever the path, round trip and history, it ends at what fits, from below', () => {
  const step = fc.record({
    fits: fc.integer({ min: least, max: 1472 }),
    forMs: fc.integer({ min: 0, max: 30_000 }),
    everyMs: fc.constantFrom(0, 10, 200, 3000),
  });
  const world = fc.record({
    steps: fc.array(step, { maxLength: 6 }),
    last: fc.integer({ min: least, max: 1472 }),
    rttMs: fc.constantFrom(1, 30, 200, 900),
    mostBytes: fc.constantFrom(most, 1431, 1430),
  });
  fc.assert(
    fc.property(world, ({ steps, last, rttMs, mostBytes }) => {
      const bench = new Bench(1472, 'property', mostBytes);
      bench.rttMs = rttMs;
      for (const { fits, forMs, everyMs } of steps) {
        bench.fits = fits;
        bench.run(forMs, everyMs);
      }
      bench.fits = last;
      // Longer than any pause between raises that such a history leads to, and a search.
      bench.run(120_000, 500);
      const size = bench.mtu.payloadBytes;
      assert.ok(size !== undefined && size <= last, `${size} of ${last}`);
      assert.ok(size >= Math.min(mostBytes, last) - 3, `${size} of ${last}`);
    }),
    { numRuns: 300 },
  );
});

test('property: loss of a tenth neither stops the discovery nor makes it lie for long', () => {
  fc.assert(
    fc.property(fc.integer(), fc.constantFrom(972, 1272, 1472), (seed, fits) => {
      const bench = new Bench(fits, `loss ${seed}`);
      bench.loss = 0.1;
      bench.run(300_000);
      const wanted = Math.min(fits, most);
      let wrongMs = 0;
      for (const [i, { at, size }] of bench.history.entries()) {
        if (size === wanted) continue;
        wrongMs += (bench.history[i + 1]?.at ?? bench.at) - at;
        assert.ok(size === undefined || size <= fits);
      }
      assert.ok(wrongMs < 60_000, `${wrongMs} ms of 300 s at another size than ${wanted}`);
    }),
    { numRuns: 100 },
  );
});
