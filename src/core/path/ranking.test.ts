import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { NatBehaviour } from '#wire/signal.ts';
import {
  compareProven,
  directTier,
  promotion,
  punchOutlook,
  type Rankable,
  tiers,
} from './ranking.ts';

const way = (tier: Rankable['tier'], rttMs?: number, rttSamples = 10): Rankable => ({
  ...{ tier, rttMs, rttSamples, costMs: rttMs, grade: 0 },
});

const lossy = (tier: Rankable['tier'], grade: Rankable['grade'], costMs = 50): Rankable => ({
  ...{ tier, rttMs: 50, rttSamples: 10, costMs, grade },
});

const promotions: [string, Rankable, Rankable, string | undefined][] = [
  ['a LAN address beats a public one', way(0, 50), way(1, 5), 'tier'],
  ['a LAN address beats a public one before it is measured', way(0), way(1, 5), 'tier'],
  ['a relay never beats a direct path', way(2, 1), way(1, 300), undefined],
  ['a direct path beats a relay', way(1, 300), way(2, 1), 'tier'],
  ['a UDP relay beats a TCP relay', way(2, 90), way(3, 10), 'tier'],
  ['the same is not better', way(1, 50), way(1, 50), undefined],
  ['9 ms of 20 are not enough', way(1, 11), way(1, 20), undefined],
  ['11 ms of 20 are', way(1, 9), way(1, 20), 'cost'],
  ['19 % of 200 ms are not enough', way(1, 162), way(1, 200), undefined],
  ['21 % of 200 ms are', way(1, 158), way(1, 200), 'cost'],
  ['one sample is luck', way(1, 5, 1), way(1, 200), undefined],
  ['a path in use that was measured once is not judged', way(1, 5), way(1, 200, 1), undefined],
  ['an unmeasured path is not better', way(1), way(1, 200), undefined],
  ['a relay beats a direct path that loses a lot', way(2, 90), lossy(1, 2), 'loss'],
  ['a relay does not beat one that loses some', way(2, 90), lossy(1, 1), undefined],
  [
    'nor does a relay that loses some beat one that loses a lot',
    lossy(2, 1),
    lossy(1, 2),
    undefined,
  ],
  ['a relay that loses some beats one that loses half', lossy(2, 1), lossy(1, 3), 'loss'],
  ['a relay of which nothing is known does not', lossy(2, undefined), lossy(1, 3), undefined],
  ['a direct path that loses a lot does not beat a relay', lossy(0, 2), way(2, 90), undefined],
  ['one of which nothing is known does', lossy(1, undefined), way(2, 90), 'tier'],
  ['another direct path beats one that loses a lot', way(1, 90), lossy(0, 2), 'loss'],
  [
    'of two relays that lose packets the better one is not worth a change',
    lossy(2, 1),
    lossy(2, 2),
    undefined,
  ],
  ['one that loses hardly anything is', lossy(2, 0), lossy(2, 2), 'loss'],
  ['any relay beats one that ends, whatever it loses', lossy(3, 3), way(4, 1), 'tier'],
  ['so does a direct path that loses half', lossy(1, 3), way(4, 1), 'tier'],
  [
    'a relay that ends does not beat a direct path that loses half',
    way(4, 1),
    lossy(1, 3),
    undefined,
  ],
  ['a quiet path beats one with jitter', lossy(1, 0, 60), lossy(1, 0, 100), 'cost'],
];

for (const [name, candidate, current, expected] of promotions) {
  test(name, () => assert.equal(promotion(candidate, current), expected));
}

const anyWay = fc.record({
  tier: fc.constantFrom(...Object.values(tiers)),
  rttMs: fc.option(fc.double({ min: 0, max: 2000, noNaN: true }), { nil: undefined }),
  rttSamples: fc.nat(20),
  costMs: fc.option(fc.double({ min: 0, max: 2000, noNaN: true }), { nil: undefined }),
  grade: fc.option(fc.nat(3), { nil: undefined }),
});

test('no two ways promote over each other, nor three in a ring', () => {
  fc.assert(
    fc.property(anyWay, anyWay, anyWay, (a, b, c) => {
      const beats = (x: Rankable, y: Rankable) => promotion(x, y) !== undefined;
      assert(!(beats(a, b) && beats(b, a)));
      assert(!(beats(a, b) && beats(b, c) && beats(c, a)));
    }),
  );
});

test('what is promoted also comes first when there is nothing in use', () => {
  fc.assert(
    fc.property(anyWay, anyWay, (a, b) => {
      if (promotion(a, b) !== undefined) assert(compareProven(a, b) < 0);
    }),
  );
});

test('tiers are told from the address alone', () => {
  assert.equal(directTier('192.168.1.2'), tiers.local);
  assert.equal(directTier('100.70.1.2'), tiers.local);
  assert.equal(directTier('2001:db8::1'), tiers.local);
  assert.equal(directTier('198.51.100.1'), tiers.public);
});

const nat = (mapping: NatBehaviour['mapping'], filtering: NatBehaviour['filtering']) => ({
  ...{ mapping, filtering },
});
const open = nat('none', 'none');
const firewall = nat('none', 'address-and-port-dependent');
const full = nat('endpoint-independent', 'endpoint-independent');
const restricted = nat('endpoint-independent', 'address-dependent');
const portRestricted = nat('endpoint-independent', 'address-and-port-dependent');
const symmetric = nat('address-and-port-dependent', 'address-and-port-dependent');
const unknown = nat('unknown', 'unknown');

const outlooks: [NatBehaviour, NatBehaviour, string][] = [
  [open, open, 'possible'],
  [open, symmetric, 'possible'],
  [firewall, portRestricted, 'possible'],
  [firewall, symmetric, 'impossible'],
  [full, symmetric, 'possible'],
  [restricted, symmetric, 'possible'],
  [portRestricted, portRestricted, 'possible'],
  [portRestricted, symmetric, 'impossible'],
  [symmetric, symmetric, 'impossible'],
  [unknown, open, 'unknown'],
  [nat('endpoint-independent', 'unknown'), symmetric, 'unknown'],
  [nat('endpoint-independent', 'unknown'), portRestricted, 'possible'],
];

for (const [a, b, expected] of outlooks) {
  const name = ({ mapping, filtering }: NatBehaviour) => `${mapping}/${filtering}`;
  test(`punching between ${name(a)} and ${name(b)} is ${expected}, either way round`, () => {
    assert.equal(punchOutlook(a, b), expected);
    assert.equal(punchOutlook(b, a), expected);
  });
}
