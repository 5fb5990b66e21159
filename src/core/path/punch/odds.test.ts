import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { hitChance, poissonQuantile, probesFor } from './odds.ts';

const dynamic = 64_512;

/** Sockets, ports that the NAT draws from, probes, and the chance in per cent. */
const table: [number, number, number, number][] = [
  [256, dynamic, 174, 50],
  [256, dynamic, 512, 87],
  [256, dynamic, 1024, 98.3],
  [256, dynamic, 1750, 99.9],
  [128, 2048, 34, 89],
  [128, 2048, 71, 99],
  [64, 512, 37, 99.3],
];

for (const [sockets, ports, probes, percent] of table) {
  test(`${sockets} sockets among ${ports} ports are hit by ${probes} probes with ${percent} %`, () => {
    const chance = 100 * hitChance(sockets, ports, probes);
    assert(Math.abs(chance - percent) < 0.6, `${chance}`);
  });
}

test('nothing is hit without sockets or probes, and a whole range is hit for sure', () => {
  assert.equal(hitChance(0, 512, 100), 0);
  assert.equal(hitChance(64, 512, 0), 0);
  assert.equal(hitChance(64, 512, 449), 1);
});

test('probesFor is the inverse of hitChance', () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 256 }),
      fc.integer({ min: 256, max: 8192 }),
      fc.double({ min: 0.01, max: 0.9999, noNaN: true }),
      (sockets, ports, chance) => {
        const probes = probesFor(chance, sockets, ports);
        assert(hitChance(sockets, ports, probes) >= chance);
        assert(hitChance(sockets, ports, probes - 1) < chance);
      },
    ),
  );
});

test('the quantiles of Poisson are those of the tables', () => {
  assert.equal(poissonQuantile(0, 0.999), 0);
  assert.equal(poissonQuantile(1, 0.99), 4);
  assert.equal(poissonQuantile(5, 0.95), 9);
  assert.equal(poissonQuantile(10, 0.999), 21);
});
