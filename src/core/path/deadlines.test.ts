import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { monotonicMs } from '#core/time.ts';
import { Deadlines } from './deadlines.ts';

test('deadlines behave like a map that is searched for the least', () => {
  const operation = fc.oneof(
    fc.record({ op: fc.constant('set' as const), key: fc.nat(20), at: fc.nat(1000) }),
    fc.record({ op: fc.constant('clear' as const), key: fc.nat(20), at: fc.constant(0) }),
    fc.record({ op: fc.constant('take' as const), key: fc.constant(0), at: fc.nat(1000) }),
  );
  fc.assert(
    fc.property(fc.array(operation, { maxLength: 500 }), (operations) => {
      const deadlines = new Deadlines();
      const model = new Map<number, number>();
      for (const { op, key, at } of operations) {
        if (op === 'set') {
          deadlines.set(key, monotonicMs(at));
          model.set(key, at);
        } else if (op === 'clear') {
          deadlines.set(key, undefined);
          model.delete(key);
        } else {
          const least = Math.min(...model.values());
          const taken = deadlines.takeDue(monotonicMs(at));
          if (least > at) assert.equal(taken, undefined);
          else assert.equal(model.get(taken!), least);
          if (taken !== undefined) model.delete(taken);
        }
        const expected = model.size === 0 ? undefined : Math.min(...model.values());
        assert.equal(deadlines.next, expected);
      }
    }),
  );
});

test('a deadline that is moved a million times takes no more room than one', () => {
  const deadlines = new Deadlines();
  for (let i = 0; i < 1_000_000; i++) deadlines.set(1, monotonicMs(2_000_000 - i));
  assert.equal(deadlines.takeDue(monotonicMs(3_000_000)), 1);
  assert.equal(deadlines.takeDue(monotonicMs(3_000_000)), undefined);
});

test('equal deadlines come in the order they were set', () => {
  const deadlines = new Deadlines();
  for (const key of [3, 1, 2]) deadlines.set(key, monotonicMs(5));
  const taken = [1, 2, 3].map(() => deadlines.takeDue(monotonicMs(5)));
  assert.deepEqual(taken, [3, 1, 2]);
});
