/** Level 2: the quality of one pair, from probes that are answered, late or lost. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '#core/time.ts';
import { Random } from '../../../sim/random.ts';
import { lossWindow, PathQuality } from './quality.ts';

const patienceMs = 400;

/** Probes every `everyMs`; undefined: no answer. */
class Line {
  readonly quality = new PathQuality();
  at = 1_000_000;

  probe(tookMs: number | undefined, everyMs = 500): this {
    const sentAt = monotonicMs(this.at);
    const number = this.quality.sent(sentAt);
    if (tookMs !== undefined) {
      this.quality.answered(number, sentAt, patienceMs, monotonicMs(this.at + tookMs));
    }
    this.at += everyMs;
    return this;
  }

  times(count: number, tookMs: (i: number) => number | undefined): this {
    for (let i = 0; i < count; i++) this.probe(tookMs(i));
    return this;
  }
}

test('loss that lasts is measured, and graded when there are enough probes to say so', () => {
  for (const [share, grades] of [
    [0, [0]],
    [0.02, [0, 1]],
    [0.1, [1, 2]],
    [0.25, [2]],
    [0.6, [3]],
  ] as const) {
    const random = new Random(`loss ${share}`);
    const { quality } = new Line().times(400, () => (random.chance(share) ? undefined : 30));
    assert(Math.abs(quality.lossRate! - share) < 0.13, `${quality.lossRate} of ${share}`);
    assert(
      grades.some((grade) => grade === quality.grade),
      `${quality.grade} of ${share}`,
    );
  }
});

test('nothing is said of loss before there are probes to say it from', () => {
  const line = new Line();
  assert.equal(line.quality.lossRate, undefined);
  line.times(lossWindow - 1, (i) => (i % 2 === 0 ? 20 : undefined));
  assert.equal(line.quality.grade, undefined);
  assert.equal(line.quality.costMs, 20, 'nor does it cost anything');
});

test('probes before the first answer, and those of an outage, are no loss', () => {
  const line = new Line().times(20, () => undefined).times(30, () => 20);
  assert.equal(line.quality.lossRate, 0);
  line.times(12, () => undefined).probe(20);
  assert(line.quality.lossRate! < 0.15, `${line.quality.lossRate}`);
  assert(line.quality.grade! < 2);
  line.quality.silent();
  const before = line.quality.lossRate!;
  line.times(50, () => undefined).probe(20);
  assert(line.quality.lossRate! <= before);
});

test('an answer that is under way when a later one comes is not lost', () => {
  const { quality } = new Line();
  const at = (ms: number) => monotonicMs(1000 + ms);
  quality.answered(quality.sent(at(0)), at(0), patienceMs, at(20));
  const [slow, quick] = [quality.sent(at(100)), quality.sent(at(150))];
  quality.answered(quick, at(150), patienceMs, at(170));
  quality.answered(slow, at(100), patienceMs, at(300));
  for (let i = 0; i < 4; i++) {
    quality.answered(quality.sent(at(400 + i)), at(400 + i), patienceMs, at(500 + i));
  }
  assert.equal(quality.lossRate, 0);
});

test('jitter is the mean difference of round trips, and what is even has none', () => {
  assert.equal(new Line().times(100, () => 40).quality.jitterMs, 0);
  const { quality } = new Line().times(200, (i) => (i % 2 === 0 ? 40 : 60));
  assert(Math.abs(quality.jitterMs! - 20) < 1, `${quality.jitterMs}`);
  assert(quality.costMs! > 100, `${quality.costMs}`);
});

test('a grade is not left and entered again by a little', () => {
  const line = new Line().times(200, (i) => (i % 6 === 0 ? undefined : 30));
  const grades = new Set<number>();
  for (let i = 0; i < 300; i++) {
    line.probe(i % 7 === 0 ? undefined : 30);
    grades.add(line.quality.grade!);
  }
  assert.deepEqual([...grades], [2]);
});

test('answers to probes that were never sent, or twice, do no harm', () => {
  const line = new Line().times(30, () => 20);
  const { quality } = line;
  for (const number of [0, -1, 5, 5, 1e9, Number.NaN]) {
    quality.answered(number, monotonicMs(line.at - 10), patienceMs, monotonicMs(line.at));
  }
  assert.equal(quality.lossRate, 0);
});
