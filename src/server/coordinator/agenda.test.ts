import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { monotonicMs } from '#core/time.ts';
import { Agenda } from './agenda.ts';

test('it behaves like a map searched for the earliest entry', () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant('set' as const), key: fc.nat(20), at: fc.nat(1000) }),
    fc.record({ do: fc.constant('cancel' as const), key: fc.nat(20), at: fc.constant(0) }),
    fc.record({ do: fc.constant('take' as const), key: fc.constant(0), at: fc.nat(1000) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const agenda = new Agenda<number>();
      const model = new Map<number, number>();
      for (const { do: what, key, at } of steps) {
        if (what === 'set') {
          agenda.set(key, monotonicMs(at));
          model.set(key, at);
        } else if (what === 'cancel') {
          agenda.cancel(key);
          model.delete(key);
        } else {
          const least = Math.min(...model.values());
          const taken = agenda.takeDue(monotonicMs(at));
          assert.equal(taken !== undefined, least <= at);
          if (taken === undefined) continue;
          assert.equal(model.get(taken), least);
          model.delete(taken);
        }
        const next = model.size === 0 ? undefined : Math.min(...model.values());
        assert.equal(agenda.next(), next);
        assert.equal(agenda.has(key), model.has(key));
      }
    }),
  );
});
