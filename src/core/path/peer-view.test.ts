import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { AddressFamily } from '#wire/endpoint.ts';
import { CandidatePair } from './candidate-pair.ts';
import { unknownNat } from './io.ts';
import { establishMs } from './limits.ts';
import { type PeerFacts, viewOf } from './peer-view.ts';
import { pathOver, type RelayPath } from './relay-path.ts';

const way: RelayPath = {
  ...{ relay: 'r1', transport: 'udp', socket: 0, token: 1n, draining: false },
  ...{ remote: { address: '203.0.113.1', port: 3480 }, label: '203.0.113.1:3480' },
};
const relayed = new CandidatePair(pathOver(way, 7), 'relay', way);

function reasonOf(
  here: readonly AddressFamily[],
  there: readonly AddressFamily[],
  change: Partial<PeerFacts> = {},
): string {
  const families = new Set(there);
  const view = viewOf({
    ...{ pairs: [], current: undefined, doubted: false, lapsed: false, lost: false },
    ...{ searchedMs: 0, heardOnly: false, mtuBytes: undefined },
    local: {
      ...{ nat: unknownNat, relays: new Map(), discovered: true, connected: true },
      sockets: ([4, 6] as const).map((family) => ({ socket: family, family, localPort: 1 })),
      families: new Set(here),
    },
    remote: { nat: unknownNat, candidates: there.length, families, list: '' },
    ...change,
  });
  return view.reason!;
}

const noneInCommon = 'no address family in common: one side has only IPv4, the other only IPv6';

test('two without an address family in common are told so at once, with a relay and without', () => {
  for (const searchedMs of [0, 10 * establishMs]) {
    assert.equal(reasonOf([4], [6], { searchedMs }), noneInCommon);
    assert.equal(
      reasonOf([6], [4], { searchedMs, current: relayed }),
      `no direct path: ${noneInCommon}`,
    );
  }
});

test('one family in common is enough to look for a path, and so are addresses that are not known', () => {
  const searching = 'a direct path is being looked for';
  assert.equal(reasonOf([4, 6], [6], { current: relayed }), searching);
  assert.equal(reasonOf([], [6], { current: relayed }), searching);
  assert.match(reasonOf([4], [4, 6]), /^no answer from any of 2 addresses/);
  assert.match(reasonOf([4], []), /found no usable address/);
});
