import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { monotonicMs } from '#core/time.ts';
import { AddressBudget, ProbeGate, TokenBucket } from './budget.ts';
import {
  firstBurstProbes,
  firstBurstsPerAddress,
  maxCountedAddresses,
  maxProvenAddresses,
  probesAtOnce,
  probesPerSecond,
  provenProbes,
  unprovenProbesPerMinute,
} from './limits.ts';

const gaps = fc.array(fc.integer({ min: 0, max: 200 }), { minLength: 1, maxLength: 400 });

/** Most events within any span of `spanMs` (half open). */
function densest(times: readonly number[], spanMs: number): number {
  return Math.max(
    0,
    ...times.map((from) => times.filter((t) => t >= from && t < from + spanMs).length),
  );
}

test('a bucket gives what has gathered and what came in, in any second and at any pace', () => {
  fc.assert(
    fc.property(gaps, fc.integer({ min: 1, max: 8 }), (pauses, tries) => {
      const bucket = new TokenBucket(50, 10);
      const given: number[] = [];
      let now = 0;
      for (const pause of pauses) {
        now += pause;
        for (let i = 0; i < tries; i++) if (bucket.take(monotonicMs(now))) given.push(now);
      }
      assert(densest(given, 1000) <= 60);
    }),
    { numRuns: 50 },
  );
  assert(probesPerSecond + probesAtOnce <= 150, 'the rate of all probes');
});

test('a bucket says truly how long to wait, also with a reserve', () => {
  fc.assert(
    fc.property(gaps, fc.integer({ min: 0, max: 9 }), (pauses, reserve) => {
      const bucket = new TokenBucket(50, 10);
      let now = 0;
      for (const pause of pauses) {
        now += pause;
        const waitMs = bucket.waitMs(monotonicMs(now), reserve);
        assert.equal(waitMs === 0, bucket.take(monotonicMs(now), reserve));
        if (waitMs > 0) assert(bucket.take(monotonicMs(now + waitMs), reserve));
        now += waitMs;
      }
    }),
    { numRuns: 50 },
  );
});

test('everybody who waits at the gate gets a turn, and those in use are not kept by those who search', () => {
  const gate = new ProbeGate();
  const turns = new Map<number, number>();
  const sent = new Map<number, number>();
  let useRefused = 0;
  for (let now = 1000; now < 21_000; now++) {
    for (let peer = 0; peer < 100; peer++) {
      const turn = turns.get(peer);
      if (turn !== undefined && turn > now) continue;
      const back = gate.enter('find', turn !== undefined, monotonicMs(now));
      if (back === undefined) {
        sent.set(peer, (sent.get(peer) ?? 0) + 1);
        turns.delete(peer);
      } else turns.set(peer, back);
    }
    if (now % 100 === 0 && gate.enter('use', false, monotonicMs(now)) !== undefined)
      useRefused += 1;
  }
  assert.equal(useRefused, 0);
  const counts = [...sent.values()];
  assert.equal(counts.length, 100);
  assert(Math.min(...counts) >= 15 && Math.max(...counts) <= 30, `${Math.min(...counts)}`);
  const total = counts.reduce((sum, n) => sum + n, 0);
  assert(total > 20 * 105 && total <= 20 * 120 + 30, `${total} in 20 s`);
});

test('time that stands still or goes back fills no bucket', () => {
  const bucket = new TokenBucket(1000, 1);
  assert(bucket.take(monotonicMs(1000)));
  assert(!bucket.take(monotonicMs(1000)));
  assert(!bucket.take(monotonicMs(0)));
});

test('an address that never answers gets a first burst, then ten in any minute, for ever', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 300 }), (pauses) => {
      const budget = new AddressBudget();
      const sent: number[] = [];
      let now = 0;
      for (const pause of pauses) {
        now += pause;
        if (budget.take('192.0.2.1:5', monotonicMs(now))) sent.push(now);
      }
      const later = sent.slice(firstBurstProbes);
      assert(densest(later, 60_000) <= unprovenProbesPerMinute);
    }),
  );
});

test('naming many ports of an IP address gains nothing: two first bursts, then ten in any minute, in all', () => {
  const port = fc.integer({ min: 1, max: 65_535 });
  const probes = fc.array(fc.tuple(fc.integer({ min: 0, max: 5000 }), port), { maxLength: 400 });
  for (const address of ['192.0.2.1', '[2001:db8::1]']) {
    fc.assert(
      fc.property(probes, (asked) => {
        const budget = new AddressBudget();
        const sent: number[] = [];
        let now = 0;
        for (const [pause, port] of asked) {
          now += pause;
          if (budget.take(`${address}:${port}`, monotonicMs(now))) sent.push(now);
        }
        const most = firstBurstsPerAddress * firstBurstProbes + unprovenProbesPerMinute;
        assert(densest(sent, 60_000) <= most);
        const minutes = Math.ceil((now + 1) / 60_000);
        assert(sent.length <= most + minutes * unprovenProbesPerMinute);
      }),
    );
  }
});

test('where one port has answered, the others are counted by themselves', () => {
  const budget = new AddressBudget();
  const takeAll = (endpoint: string) => {
    let taken = 0;
    while (budget.take(endpoint, monotonicMs(0))) taken += 1;
    return taken;
  };
  const without = firstBurstProbes + unprovenProbesPerMinute;
  assert.equal(takeAll('192.0.2.1:1'), without);
  assert.equal(takeAll('192.0.2.1:2'), firstBurstProbes);
  assert.equal(takeAll('192.0.2.1:3'), 0);
  assert.equal(takeAll('192.0.2.2:1'), without, 'another address');
  budget.answered('192.0.2.1:4');
  assert.equal(takeAll('192.0.2.1:3'), without, 'several members at one home');
});

test('an address that answered is not counted; one that only asks gets one probe for each request', () => {
  const budget = new AddressBudget();
  const now = monotonicMs(0);
  const take = (address: string) => {
    let taken = 0;
    for (let i = 0; i < 1000; i++) if (budget.take(address, now)) taken += 1;
    return taken;
  };
  assert.equal(take('silent:1'), firstBurstProbes + unprovenProbesPerMinute);
  budget.heard('silent:1');
  assert.equal(take('silent:1'), 1);
  for (let i = 0; i < 100; i++) budget.heard('silent:1');
  assert(take('silent:1') <= 4, 'credit does not gather');
  budget.answered('silent:1');
  assert.equal(take('silent:1'), 1000);
});

test('the addresses that are remembered are bounded, and the oldest goes first', () => {
  const budget = new AddressBudget();
  const now = monotonicMs(0);
  for (let i = 0; i < maxCountedAddresses; i++) budget.take(`a:${i}`, now);
  budget.take('a:0', now);
  for (let i = 0; i < 100; i++) budget.take(`b:${i}`, now);
  assert.equal(budget.size, maxCountedAddresses);
  assert(budget.known('a:0'), 'used again, so not the oldest');
  assert(!budget.known('a:1'));
});

test('in another network an address gets one more first burst, once a minute at most', () => {
  const budget = new AddressBudget();
  const takeAll = (atMs: number) => {
    let taken = 0;
    while (budget.take('silent:1', monotonicMs(atMs))) taken += 1;
    return taken;
  };
  assert.equal(takeAll(0), firstBurstProbes + unprovenProbesPerMinute);
  budget.renew(monotonicMs(1000));
  assert.equal(takeAll(1000), firstBurstProbes);
  budget.renew(monotonicMs(2000));
  assert.equal(takeAll(2000), 0, 'a flapping route is no licence');
  budget.renew(monotonicMs(61_000));
  assert.equal(takeAll(61_000), firstBurstProbes + unprovenProbesPerMinute);
});

test('an address that its owner proved gets its grant once, whatever the port, and no other does', () => {
  const budget = new AddressBudget();
  const at = monotonicMs(1000);
  const takeAll = (address: string, ports: number, now = at) => {
    let taken = 0;
    for (let port = 1; port <= ports; port++)
      while (budget.take(`${address}:${port}`, now)) taken += 1;
    return taken;
  };
  const without = firstBurstProbes + unprovenProbesPerMinute;
  budget.prove('192.0.2.1', at);
  assert.equal(budget.grantedProbes('192.0.2.1', at), provenProbes);
  assert.equal(takeAll('192.0.2.2', 1), without);
  assert.equal(takeAll('192.0.2.1', 8), provenProbes + firstBurstProbes + without);
  budget.prove('192.0.2.1', at);
  assert.equal(budget.grantedProbes('192.0.2.1', at), 0, 'no second one while it runs');
  budget.prove('192.0.2.1', monotonicMs(31_000));
  assert.equal(budget.grantedProbes('192.0.2.1', monotonicMs(31_000)), provenProbes);
  assert.equal(budget.grantedProbes('192.0.2.1', monotonicMs(61_000)), 0, 'it ends');
});

test('a server that vouches for everybody opens few addresses at a time', () => {
  const budget = new AddressBudget();
  const at = monotonicMs(0);
  for (let i = 0; i < 100; i++) budget.prove(`192.0.2.${i}`, at);
  const open = Array.from({ length: 100 }, (_, i) => budget.grantedProbes(`192.0.2.${i}`, at));
  assert.equal(open.filter((left) => left > 0).length, maxProvenAddresses);
});
