import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs } from '#core/time.ts';
import type { RelayKind } from '#wire/relay-control.ts';
import { maxOthers, otherEveryMs } from './limits.ts';
import { Others } from './others.ts';
import type { RelayLink } from './relay-link.ts';

const relay = (id: string, kind: RelayKind, rttMs?: number, isUsable = true) =>
  ({ id, rttMs, entry: { kind }, isUsable: () => isUsable }) as unknown as RelayLink;
const at = monotonicMs;
const held = new Set(['home', 'spare', undefined]);

test('the nearest that answers is taken, the operator’s before members’, none that is held or refuses', () => {
  const links = [
    relay('home', 'volunteer', 1),
    relay('spare', 'server', 2),
    relay('refusing', 'server', 3, false),
    relay('member', 'volunteer', 4),
    relay('silent', 'server'),
    relay('far', 'standalone', 90),
    relay('near', 'standalone', 40),
  ];
  const others = new Others();
  assert.deepEqual([...others.wanted(links, held, at(0))], ['near']);
  const more = new Set([...held, 'near']);
  assert.deepEqual([...others.wanted(links, more, at(1))], ['near'], 'one after the other');
  assert.deepEqual([...others.wanted(links, more, at(otherEveryMs))], ['near', 'far']);
});

test('however many peers are not reached, there are few at a time, each in turn, and ever more seldom', () => {
  const links = Array.from({ length: 6 }, (_, i) => relay(`r${i}`, 'server', i));
  const others = new Others();
  const taken: string[] = [];
  for (let now = 0; now < 3_600_000; now += 1000) {
    const before = new Set(others.ids);
    const ids = others.wanted(links, new Set([...held, ...before]), at(now));
    assert.ok(ids.size <= maxOthers);
    for (const id of ids) if (!before.has(id)) taken.push(id);
  }
  assert.deepEqual(new Set(taken.slice(0, 6)).size, 6, 'all of them');
  assert.ok(taken.length <= 15, `${taken.length} in an hour`);
});

test('those that lapsed make room at once', () => {
  const links = Array.from({ length: 6 }, (_, i) => relay(`r${i}`, 'server', i));
  const others = new Others();
  others.wanted(links, held, at(0));
  others.wanted(links, new Set([...held, 'r0']), at(otherEveryMs));
  assert.deepEqual([...others.ids], ['r0', 'r1']);
  others.keep(new Map([['r1', 0]]));
  assert.deepEqual([...others.ids], ['r1']);
});

test('there may be none to take', () => {
  assert.deepEqual([...new Others().wanted([relay('home', 'server', 1)], held, at(0))], []);
});
