import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Random } from '../../../sim/random.ts';
import { classifyAllocation, type PortSample } from './allocation.ts';

const samples = (ports: readonly number[], local = 41_641): PortSample[] =>
  ports.map((port, i) => ({ local: local + i, address: '198.51.100.1', port }));
const classify = (ports: readonly number[]) => classifyAllocation(samples(ports));

test('fewer than three samples say nothing', () => {
  assert.equal(classify([]), undefined);
  assert.equal(classify([4000, 4001]), undefined);
  const twice = samples([4000, 4001]);
  assert.equal(classifyAllocation([...twice, ...twice]), undefined, 'the same mapping counts once');
});

const table: readonly (readonly [string, readonly number[], object])[] = [
  ['preserved ports', [41_641, 41_642, 41_643], { pattern: 'preserving' }],
  ['one port that was taken', [41_641, 41_642, 1030, 41_644], { pattern: 'preserving' }],
  ['a counter', [20_000, 20_001, 20_002, 20_003], { pattern: 'sequential', step: 1 }],
  ['a counter in twos', [20_000, 20_002, 20_004, 20_006], { pattern: 'sequential', step: 2 }],
  ['a counter downwards', [20_003, 20_002, 20_001], { pattern: 'sequential', step: -1 }],
  [
    'a counter with foreign mappings between',
    [20_000, 20_001, 20_004, 20_005, 20_006, 20_009],
    { pattern: 'sequential', step: 1 },
  ],
  [
    'a counter in twos with foreign mappings between',
    [20_000, 20_002, 20_006, 20_008, 20_014, 20_016],
    { pattern: 'sequential', step: 2 },
  ],
  [
    'a counter that wraps around',
    [65_533, 65_534, 65_535, 1024, 1025, 1026],
    { pattern: 'sequential', step: 1 },
  ],
  [
    'a counter with two packets out of order',
    [20_000, 20_001, 20_003, 20_002, 20_004, 20_005, 20_006, 20_007],
    { pattern: 'sequential', step: 1 },
  ],
  [
    'a block of 512',
    [30_220, 30_700, 30_301, 30_512, 30_433, 30_650],
    { pattern: 'block', block: { first: 30_208, size: 512 } },
  ],
  ['all ports', [1030, 60_000, 33_000, 9000, 47_123, 22_987], { pattern: 'random' }],
];

for (const [name, ports, expected] of table) {
  test(`${name}: recognised`, () => assert.deepEqual(classify(ports), expected));
}

test('a NAT that keeps the first port and counts from then on is sequential', () => {
  assert.deepEqual(classify([41_641, 20_000, 20_001, 20_002, 20_003]), {
    pattern: 'sequential',
    step: 1,
  });
});

test('of several public addresses the most frequent one counts', () => {
  const mixed = samples([20_000, 20_001, 50_000, 20_002]);
  const [a, b, stray, c] = mixed as [PortSample, PortSample, PortSample, PortSample];
  assert.deepEqual(classifyAllocation([a, b, { ...stray, address: '198.51.100.2' }, c]), {
    pattern: 'sequential',
    step: 1,
  });
});

/** How often ports made by `draw` get each name, in a thousand runs of eight samples. */
function count(draw: (random: Random, i: number) => number) {
  const random = new Random(7);
  const counts: Record<string, number> = {};
  const blocks: { first: number; size: number }[] = [];
  for (let run = 0; run < 1000; run++) {
    const found = classify(Array.from({ length: 8 }, (_, i) => draw(random, i)));
    counts[found!.pattern] = (counts[found!.pattern] ?? 0) + 1;
    if (found?.block !== undefined) blocks.push(found.block);
  }
  return { counts, blocks };
}

test('random ports are called random, ports of a block are found to be of a block', () => {
  const random = count((r) => r.between(1024, 65_535));
  assert((random.counts.random ?? 0) >= 985, JSON.stringify(random.counts));
  for (const size of [512, 2048, 4096]) {
    const first = 8 * size;
    const { counts, blocks } = count((r) => first + r.below(size));
    assert((counts.block ?? 0) >= 985, `${size}: ${JSON.stringify(counts)}`);
    const covering = blocks.filter((b) => {
      const inside = Math.min(b.first + b.size, first + size) - Math.max(b.first, first);
      return inside >= 0.8 * size && b.size <= 1.6 * size;
    });
    assert(covering.length >= 0.85 * blocks.length, `${size}: ${covering.length} blocks are good`);
  }
  const odd = count((r) => 3024 + r.below(2000));
  assert((odd.counts.block ?? 0) >= 985, JSON.stringify(odd.counts));
});

test('a counter is found although others map five ports a second', () => {
  let port = 20_000;
  const { counts } = count((r, i) => {
    // Samples of one run are 25 ms apart: one in eight strides has a foreign mapping in it.
    port = i === 0 ? r.between(1024, 60_000) : port + 1 + (r.below(8) === 0 ? 1 : 0);
    return port;
  });
  assert.equal(counts.sequential, 1000);
});
