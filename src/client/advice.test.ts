import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NatBehaviour } from '#wire/signal.ts';
import { adviceFor } from './advice.ts';

const hard: NatBehaviour = {
  mapping: 'address-and-port-dependent',
  filtering: 'address-and-port-dependent',
};
const easy: NatBehaviour = { ...hard, mapping: 'endpoint-independent' };
const firewalled: NatBehaviour = { ...hard, mapping: 'none' };

test('advice names the side that something can be done on', () => {
  assert.deepEqual(adviceFor({ kind: 'direct' }, { here: hard, there: hard }), []);
  const cases: [Parameters<typeof adviceFor>[0], NatBehaviour, NatBehaviour, RegExp[]][] = [
    [{ kind: 'relayed' }, hard, easy, [/^this side: .*port mapping/]],
    [{ kind: 'relayed' }, easy, hard, [/^the other side: .*--port/]],
    [{ kind: 'relayed' }, hard, hard, [/^this/, /^the other/, /IPv6/]],
    [{ kind: 'relayed', transport: 'tcp' }, easy, easy, [/UDP out of this network/]],
    [{ kind: 'relayed' }, easy, easy, [/doctor/]],
    [{ kind: 'unreachable' }, firewalled, easy, [/^this side: let UDP/, /doctor/]],
  ];
  for (const [path, here, there, expected] of cases) {
    const advice = adviceFor(path, { here, there });
    assert.equal(advice.length, expected.length, advice.join('; '));
    for (const [i, words] of expected.entries()) assert.match(advice[i] ?? '', words);
  }
});
