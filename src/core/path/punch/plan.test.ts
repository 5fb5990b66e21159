import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { NatBehaviour, PortAllocation } from '#wire/signal.ts';
import { maxPunchProbes, maxPunchSockets } from './limits.ts';
import { guessSize, planPunch } from './plan.ts';

const nat = (
  mapping: NatBehaviour['mapping'],
  filtering: NatBehaviour['filtering'],
  allocation?: PortAllocation,
): NatBehaviour => ({ mapping, filtering, ...(allocation === undefined ? {} : { allocation }) });

const apdm = 'address-and-port-dependent';
const kinds = {
  unknown: nat('unknown', 'unknown'),
  open: nat('none', 'none'),
  firewall: nat('none', apdm),
  'full cone': nat('endpoint-independent', 'endpoint-independent'),
  'address-restricted': nat('endpoint-independent', 'address-dependent'),
  'port-restricted': nat('endpoint-independent', apdm, { pattern: 'preserving' }),
  random: nat(apdm, apdm, { pattern: 'random' }),
  untold: nat(apdm, apdm),
  block: nat(apdm, apdm, { pattern: 'block', block: { first: 30_208, size: 512 } }),
  counting: nat(apdm, apdm, { pattern: 'sequential', step: 1 }),
  'counting by address': nat('address-dependent', apdm, { pattern: 'sequential', step: 2 }),
  'counting by nothing': nat(apdm, apdm, { pattern: 'sequential' }),
} satisfies Record<string, NatBehaviour>;

/** Ours, theirs, and what this side does: with another plan the reason why not. */
const table: [keyof typeof kinds, keyof typeof kinds, string][] = [
  ['port-restricted', 'port-restricted', 'ordinary'],
  ['full cone', 'random', 'ordinary'],
  ['address-restricted', 'random', 'ordinary'],
  ['random', 'address-restricted', 'ordinary'],
  ['open', 'block', 'ordinary'],
  ['unknown', 'random', 'ordinary'],
  ['port-restricted', 'random', 'birthday probes'],
  ['random', 'port-restricted', 'birthday opens'],
  ['firewall', 'untold', 'birthday probes'],
  ['port-restricted', 'block', 'block probes'],
  ['block', 'firewall', 'block opens'],
  ['port-restricted', 'counting', 'sequence probes'],
  ['counting by address', 'port-restricted', 'sequence opens'],
  ['counting by nothing', 'port-restricted', 'birthday opens'],
  ['counting', 'counting', 'sequence opens'],
  ['counting', 'counting by address', 'sequence probes'],
  ['counting by address', 'counting', 'sequence opens'],
  ['counting by address', 'counting by address', 'hopeless'],
  ['random', 'random', 'hopeless'],
  ['block', 'block', 'hopeless'],
  ['random', 'counting', 'hopeless'],
];

describe('what is tried', () => {
  for (const [ours, theirs, expected] of table) {
    test(`${ours} and ${theirs}: ${expected}`, () => {
      const plan = planPunch(kinds[ours], kinds[theirs], true);
      const text = plan.type === 'guess' ? `${plan.technique} ${plan.role}` : plan.type;
      assert.equal(text, expected);
    });
  }

  test('both sides come to the same plan with opposite roles, whoever leads', () => {
    for (const ours of Object.values(kinds)) {
      for (const theirs of Object.values(kinds)) {
        const [a, b] = [planPunch(ours, theirs, true), planPunch(theirs, ours, false)];
        assert.equal(a.type, b.type);
        if (a.type !== 'guess' || b.type !== 'guess') continue;
        assert.equal(a.technique, b.technique);
        assert.notEqual(a.role, b.role);
      }
    }
  });
});

test('sizes stay within the budget, whatever the block', () => {
  for (let ports = 1; ports <= 65_535; ports = Math.ceil(ports * 1.3)) {
    const { sockets, probes } = guessSize('block', ports);
    assert(sockets >= 1 && sockets <= Math.max(1, Math.min(64, ports / 8)));
    assert(probes >= 1 && probes <= (ports > 4096 ? maxPunchProbes : 200));
  }
  assert.deepEqual(guessSize('birthday', 64_512), {
    sockets: maxPunchSockets,
    probes: maxPunchProbes,
  });
});
