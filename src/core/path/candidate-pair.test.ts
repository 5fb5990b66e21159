import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs as at } from '../time.ts';
import { CandidatePair } from './candidate-pair.ts';
import { PairTable } from './pair-table.ts';
import type { RelayPath } from './relay-path.ts';

/** The round-trip time of a pair after answers that took so long. */
function rttAfter(...samplesMs: readonly number[]): number {
  const pair = new CandidatePair(
    { socket: 1, remote: { address: '192.0.2.1', port: 1 } },
    'server-reflexive',
  );
  for (const [i, sampleMs] of samplesMs.entries()) {
    const sentAt = at(1000 * i);
    pair.responseReceived(pair.probeSent(sentAt), sentAt, at(sentAt + sampleMs));
  }
  return pair.rttMs!;
}

test('one slow first answer is soon outweighed by quick ones', () => {
  assert.equal(rttAfter(40), 40);
  assert.ok(rttAfter(40, 2, 2, 2, 2) < 5);
});

test('one slow answer among quick ones changes little, a slower path is followed', () => {
  assert.ok(rttAfter(10, 10, 10, 50) <= 15);
  const slower = rttAfter(10, ...new Array<number>(30).fill(50));
  assert.ok(slower > 45 && slower <= 50, `${slower}`);
});

test('another port of the same address is no spare: only another address, socket or relay is', () => {
  const table = new PairTable(7);
  const way: RelayPath = {
    ...{ relay: 'r1', transport: 'udp', socket: 0, token: 1n, draining: false },
    ...{ remote: { address: '203.0.113.1', port: 3480 }, label: 'r1' },
  };
  table.setRelays(new Map([['r1', way]]));
  const proven = (pair: CandidatePair | undefined) => {
    pair!.responseReceived(pair!.probeSent(at(0)), at(0), at(20));
    pair!.peerProven = true;
    return pair!;
  };
  const learnt = (socket: number, address: string, port: number) =>
    proven(table.addPeerReflexive(socket, { address, port }));
  table.current = learnt(0, '198.51.100.2', 1);
  const samePlace = learnt(0, '198.51.100.2', 2);
  assert(samePlace.isAs(table.current) && table.current.isAs(table.current));
  assert.equal(table.spare(), undefined);
  const relayed = proven(table.atRelay('r1', true));
  assert.equal(table.spare(), relayed);
  const otherSocket = learnt(1, '198.51.100.2', 1);
  assert.equal(table.spare(), otherSocket);
  table.current = otherSocket;
  assert.notEqual(table.spare(), undefined);
});
