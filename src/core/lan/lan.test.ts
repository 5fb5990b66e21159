import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { decodeLanReport, encodeLanReport } from '#wire/lan.ts';
import { VirtualClock } from '../../../sim/clock.ts';
import { deterministicCrypto, Random } from '../../../sim/random.ts';
import { Lan, type LanOutput } from './lan.ts';

/** One machine, driven by a virtual clock that wakes it when it wants. */
class Rig {
  readonly clock: VirtualClock;
  readonly lan: Lan;
  readonly sent: { atMs: number; peer: number; groups: readonly string[] | 'all' }[] = [];
  readonly heard = new Map<number, string>();
  onMessage: (peer: number, bytes: Uint8Array) => void = () => {};

  constructor(seed = 'lan', clock = new VirtualClock()) {
    this.clock = clock;
    const crypto = deterministicCrypto(nodeCrypto, new Random(seed));
    this.lan = new Lan(crypto, (output) => this.#carryOut(output));
  }

  local(...groups: string[]): void {
    this.lan.local({ ethernet: false, groups }, this.clock.now);
  }

  advance(ms: number): void {
    const end = this.clock.monotonic + ms;
    for (;;) {
      const at = this.lan.deadline();
      if (at === undefined || at > end) break;
      assert.ok(at >= this.clock.monotonic);
      this.clock.runUntil(at);
      this.lan.tick(this.clock.now);
      assert.ok((this.lan.deadline() ?? Infinity) > at, 'nothing is due twice');
    }
    this.clock.runUntil(end);
  }

  takeSent() {
    return this.sent.splice(0);
  }

  #carryOut(output: LanOutput): void {
    if (output.type === 'set-lan') {
      this.heard.set(output.peer, `${output.ethernet} ${String(output.groups)}`);
      return;
    }
    const { groups } = decodeLanReport(output.bytes)!;
    this.sent.push({ atMs: this.clock.monotonic, peer: output.peer, groups });
    this.onMessage(output.peer, output.bytes);
  }
}

const report = (groups: readonly string[] | 'all', sequence: number, instance = 1) =>
  encodeLanReport({ ethernet: false, groups, instance, sequence });

test('a peer is told when its session begins, and three times more in case that was lost', () => {
  const rig = new Rig();
  rig.local('239.1.2.3');
  rig.advance(1000);
  assert.deepEqual(rig.takeSent(), []);
  const start = rig.clock.monotonic;
  rig.lan.sessionUp(5, rig.clock.now);
  rig.advance(600_000);
  assert.deepEqual(
    rig.takeSent().map(({ atMs, peer }) => [atMs - start, peer]),
    [0, 2000, 22_000, 82_000].map((at) => [at, 5]),
  );
});

test('nothing is said before it is known what there is to say', () => {
  const rig = new Rig();
  rig.lan.sessionUp(5, rig.clock.now);
  rig.advance(60_000);
  assert.deepEqual(rig.takeSent(), []);
  rig.local();
  assert.deepEqual(
    rig.takeSent().map(({ groups }) => groups),
    [[]],
  );
});

test('a change is told at once, changes after it together, and no change not at all', () => {
  const rig = new Rig();
  rig.lan.sessionUp(5, rig.clock.now);
  rig.local('239.1.2.3');
  rig.advance(60_000);
  rig.takeSent();
  const start = rig.clock.monotonic;
  rig.local('239.1.2.4', '239.1.2.3');
  for (let i = 0; i < 40; i++) {
    rig.advance(10);
    rig.local('239.1.2.3', `239.1.3.${i}`);
  }
  rig.local('239.1.3.39', '239.1.2.3');
  rig.advance(500);
  assert.deepEqual(
    rig.takeSent().map(({ atMs, groups }) => [atMs - start, String(groups)]),
    [
      [0, '239.1.2.3,239.1.2.4'],
      [500, '239.1.2.3,239.1.3.39'],
    ],
  );
});

test('groups that everybody gets are not told, and do not count as a change', () => {
  const rig = new Rig();
  rig.lan.sessionUp(5, rig.clock.now);
  rig.local('224.0.0.1', 'ff02::fb', '239.255.255.250', 'ff05::c', 'ff01::1', '10.0.0.1', 'x');
  assert.deepEqual(
    rig.takeSent().map(({ groups }) => groups),
    [[]],
  );
  rig.advance(30_000);
  rig.takeSent();
  rig.local('224.0.0.251');
  rig.advance(30_000);
  assert.deepEqual(rig.takeSent(), []);
});

test('nothing is sent to who has no session, or is gone', () => {
  const rig = new Rig();
  rig.local('239.1.2.3');
  for (const peer of [1, 2, 3]) rig.lan.sessionUp(peer, rig.clock.now);
  rig.lan.sessionDown(2);
  rig.lan.removePeer(3);
  rig.takeSent();
  rig.local('239.1.2.4');
  rig.advance(60_000);
  assert.deepEqual(new Set(rig.takeSent().map(({ peer }) => peer)), new Set([1]));
});

test('the newest report holds: older ones, copies and nonsense have no effect', () => {
  const rig = new Rig();
  rig.lan.receive(4, report(['239.1.2.3'], 2));
  assert.equal(rig.heard.get(4), 'false 239.1.2.3');
  rig.heard.clear();
  rig.lan.receive(4, report(['239.9.9.9'], 1));
  rig.lan.receive(4, report(['239.9.9.9'], 2));
  rig.lan.receive(4, Uint8Array.of(1, 2, 3));
  rig.lan.receive(4, Uint8Array.of(99));
  assert.equal(rig.heard.size, 0);
  assert.deepEqual(rig.lan.counters, { 'lan-reports-malformed': 2, 'lan-reports-old': 1 });
  rig.lan.receive(4, report('all', 3));
  assert.equal(rig.heard.get(4), 'false all');
});

test('a peer that was started anew is believed, whatever its sequence', () => {
  const rig = new Rig();
  rig.lan.receive(4, report(['239.1.2.3'], 50, 1));
  rig.lan.receive(4, report([], 1, 2));
  assert.equal(rig.heard.get(4), 'false ');
});

test('two members know what the other takes, however many reports are lost, once one gets through', () => {
  const steps = fc.array(
    fc.record({
      who: fc.constantFrom(0, 1),
      what: fc.constantFrom('join', 'session', 'wait'),
      groups: fc.subarray(['239.1.1.1', '239.1.1.2', 'ff15::1', '224.0.0.251']),
      lossy: fc.boolean(),
    }),
    { maxLength: 30 },
  );
  fc.assert(
    fc.property(steps, fc.nat(), (list, seed) => {
      const clock = new VirtualClock();
      const random = new Random(seed);
      const rigs = [new Rig('one', clock), new Rig('two', clock)] as const;
      let lossy = false;
      const groups = ['', ''];
      for (const side of [0, 1] as const) {
        rigs[side].onMessage = (_peer, bytes) => {
          if (!lossy || random.chance(0.5)) rigs[side === 0 ? 1 : 0].lan.receive(0, bytes);
        };
        rigs[side].local();
      }
      const advance = (ms: number) => {
        for (let at = 0; at < ms; at += 125) {
          for (const rig of rigs) rig.lan.tick(clock.now);
          clock.runUntil(clock.monotonic + 125);
        }
      };
      for (const step of list) {
        lossy = step.lossy;
        const rig = rigs[step.who as 0 | 1];
        if (step.what === 'join') {
          rig.local(...step.groups);
          groups[step.who] = step.groups
            .filter((group) => group !== '224.0.0.251')
            .sort()
            .join();
        } else if (step.what === 'session') {
          for (const one of rigs) one.lan.sessionUp(0, clock.now);
        } else advance(700);
      }
      lossy = false;
      for (const one of rigs) one.lan.sessionUp(0, clock.now);
      advance(1000);
      for (const side of [0, 1] as const) {
        assert.equal(rigs[side].heard.get(0), `false ${groups[side === 0 ? 1 : 0]}`);
      }
    }),
  );
});
