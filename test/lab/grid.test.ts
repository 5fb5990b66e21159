/** The grid: what it plans, and what it says of results. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { meetingReport, recoveryReport } from '../../lab/grid-bar.ts';
import { RateMeter } from '../../lab/grid-rate.ts';
import type { RecoveryResult } from '../../lab/grid-recovery.ts';
import type { GridResult } from '../../lab/grid-run.ts';
import { planOf } from '../../lab/grid-tasks.ts';
import { canBeGuessed, type NatKind, natKind } from '../../lab/nat-kinds.ts';

function meeting(a: NatKind, b: NatKind, change: Partial<GridResult> = {}): GridResult {
  return {
    ...{ scenario: 'meet', a, b, run: 0, delayMs: 20, firstMs: 300, directMs: 400 },
    ...{ kinds: ['direct', 'direct'], probes: [10, 12], sockets: [4, 4], ...change },
  };
}

test('the first runs of every pair are made before the next ones of any', () => {
  const pairs = [
    ['none', 'none'],
    ['none', 'symmetric'],
  ] as const;
  const isDone = (_: NatKind, b: NatKind, run: number) => b === 'symmetric' && run < 2;
  const tasks = planOf(pairs, { runs: 3, runsOfTask: 2 }, isDone);
  assert.deepEqual(tasks, [
    { a: 'none', b: 'none', runs: [0, 1] },
    { a: 'none', b: 'none', runs: [2] },
    { a: 'none', b: 'symmetric', runs: [2] },
  ]);
});

test('time for guessing is given where a guess can succeed', () => {
  const guessed = (a: NatKind, b: NatKind) => canBeGuessed(natKind(a), natKind(b));
  assert(guessed('port-restricted', 'symmetric'));
  assert(guessed('symmetric-sequential', 'symmetric-sequential'));
  assert(!guessed('symmetric', 'symmetric'));
  assert(!guessed('port-restricted', 'port-restricted'));
  assert(!guessed('port-restricted', 'udp-blocked'));
});

test('the rate is what a second saw at least, also when a look at the counter takes longer than that', async () => {
  // Begin and end of each look, and what it found.
  const looks = [
    ...([0, 10, 0] as const),
    ...([240, 250, 90] as const),
    ...([900, 990, 130] as const),
    ...([1_100, 2_600, 200] as const),
    ...([2_700, 2_710, 500] as const),
  ];
  const times = looks.flatMap((at, i) => (i % 3 === 0 ? [at] : i % 3 === 1 ? [at, at] : []));
  const counts = looks.filter((_, i) => i % 3 === 2);
  const over = new AbortController();
  const meter = new RateMeter(
    async () => {
      const count = counts.shift()!;
      if (counts.length === 0) over.abort();
      return count;
    },
    () => times.shift()!,
  );
  await meter.run(over.signal);
  // 300 in 1,610 ms.
  assert.equal(meter.peak, 186);
});

describe('the report', () => {
  const rowOf = (text: string, pair: string) =>
    text.split('\n').find((line) => line.includes(pair)) ?? assert.fail(`no row of ${pair}`);

  test('says whether a bar holds, and of one run in a hundred that failed that it did', () => {
    const homes = Array.from({ length: 100 }, () => meeting('port-restricted', 'port-restricted'));
    const good = rowOf(meetingReport(homes), 'port-restricted ↔ port-restricted');
    assert.match(good, /\| 100 \|.*direct 100 %.*\| yes \|$/);
    const { directMs: _, ...relayed } = meeting('port-restricted', 'port-restricted');
    const bad = rowOf(meetingReport([...homes.slice(1), relayed]), '↔ port-restricted |');
    assert.match(bad, /direct 99 %.*\*\*no\*\*/);
  });

  test('does not forget packets that never came, nor pairs that nobody measured', () => {
    const { firstMs: _, directMs: __, ...silent } = meeting('symmetric', 'symmetric');
    const text = meetingReport([silent]);
    assert.match(rowOf(text, 'symmetric ↔ symmetric '), /never.*\*\*no\*\*/);
    assert.match(rowOf(text, 'udp-blocked ↔ udp-blocked'), /not measured/);
  });

  test('counts traffic that did not come back as never', () => {
    const lost: RecoveryResult = {
      ...{ scenario: 'sleep', a: 'port-restricted', b: 'port-restricted', run: 0 },
      ...{ delayMs: 20, kindBefore: 'direct' },
    };
    assert.match(rowOf(recoveryReport([lost]), 'sleep'), /never.*\*\*no\*\*/);
  });
});
