/** Whom the server lets send many probes to an address, and what that comes to there: its grants and the members' budgets together. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { AddressBudget } from '#core/path/budget.ts';
import {
  firstBurstProbes,
  firstBurstsPerAddress,
  provenProbes,
  unprovenProbesPerMinute,
} from '#core/path/limits.ts';
import { monotonicMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { AddressProof } from '#wire/control.ts';
import { StunTokens } from '../stun-token.ts';
import { probeGrantMs, probersPerAddress } from './limits.ts';
import { ProbeGrants } from './probe-grants.ts';

const tokens = new StunTokens(crypto, crypto.random(32));
const wall = 1_780_000_000_000;
const victim = '198.51.100.1';
const proofAt = (address: string, nowMs: number): AddressProof => ({
  address,
  token: tokens.issue(address, wall + nowMs),
});

class Members {
  readonly budgets: readonly AddressBudget[];
  readonly names: readonly string[];
  readonly grants = new ProbeGrants(tokens);

  constructor(count: number) {
    this.budgets = Array.from({ length: count }, () => new AddressBudget());
    this.names = this.budgets.map((_, i) => `member ${i}`);
  }

  /** Every member asks, and the owner answers each with what it shows; who is let. */
  ask(proofs: readonly AddressProof[], nowMs: number): string[] {
    return this.names.filter((name, i) => {
      this.grants.wish(name, 'owner', nowMs);
      const proven = this.grants.grant(name, 'owner', proofs, nowMs, wall + nowMs);
      for (const address of proven) this.budgets[i]!.prove(address, monotonicMs(nowMs));
      return proven.length > 0;
    });
  }

  /** Probes that leave when all send to ever new ports of the address as fast as their budgets let them. */
  probe(nowMs: number): number {
    let sent = 0;
    for (const budget of this.budgets) {
      for (let port = 1, refused = 0; refused < 30; port++) {
        if (budget.take(`${victim}:${(nowMs % 50_000) + port}`, monotonicMs(nowMs))) sent += 1;
        else refused += 1;
      }
    }
    return sent;
  }
}

test('of a hundred members that ask for it two at a time send an owner who can prove its address more than the few', () => {
  const members = new Members(100);
  const few = firstBurstsPerAddress * firstBurstProbes + unprovenProbesPerMinute;
  const let1 = members.ask([proofAt(victim, 0)], 0);
  assert.equal(let1.length, probersPerAddress);
  const first = members.probe(0);
  assert.ok(first <= 100 * few + probersPerAddress * provenProbes, `${first} probes`);
  // The same two while the grant lasts, however often all ask; and it is not prolonged.
  for (let at = 1000; at < probeGrantMs; at += 1000) {
    assert.deepEqual(members.ask([proofAt(victim, at)], at), let1);
  }
  assert.equal(members.probe(probeGrantMs - 1), 0, 'the minute is used up, and so are the grants');
  const let2 = members.ask([proofAt(victim, probeGrantMs)], probeGrantMs);
  assert.equal(let2.length, probersPerAddress);
  const second = members.probe(probeGrantMs);
  assert.ok(second <= probersPerAddress * provenProbes, `${second} probes`);
});

test('nobody sends a victim more than the few on the word of who cannot show its token', () => {
  const members = new Members(100);
  const few = firstBurstsPerAddress * firstBurstProbes + unprovenProbesPerMinute;
  const own = proofAt('203.0.113.7', 0);
  const lies: readonly AddressProof[] = [
    { address: victim, token: own.token },
    { address: victim, token: crypto.random(own.token.length) },
    { address: victim, token: proofAt(victim, -11 * 60_000).token },
    { address: victim, token: proofAt(victim, 2 * 60_000).token },
    { address: victim, token: new Uint8Array(0) },
  ];
  assert.deepEqual(members.ask(lies, 0), []);
  const sent = members.probe(0);
  assert.ok(sent > 0 && sent <= 100 * few, `${sent} probes`);
});
