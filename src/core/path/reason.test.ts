import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { NatBehaviour } from '#wire/signal.ts';
import { explainNoPath, type Situation } from './reason.ts';

const portRestricted: NatBehaviour = {
  mapping: 'endpoint-independent',
  filtering: 'address-and-port-dependent',
};
const symmetric: NatBehaviour = {
  mapping: 'address-and-port-dependent',
  filtering: 'address-and-port-dependent',
};
const tried: Situation = {
  serverConnected: true,
  localCandidatesKnown: true,
  isRelayed: false,
  socketsOpen: true,
  remoteCandidates: 3,
  familiesInCommon: true,
  localNat: symmetric,
  remoteNat: portRestricted,
  heardOnly: false,
  lost: false,
};

const table: [Partial<Situation>, string][] = [
  [
    { isRelayed: true, lost: true },
    'no answer from any of 3 addresses; your side is behind a symmetric NAT, theirs is behind a port-restricted NAT: needs a forwarded port or IPv6',
  ],
  [
    {},
    'no answer from any of 3 addresses; your side is behind a symmetric NAT, theirs is behind a port-restricted NAT: needs a relay or a forwarded port',
  ],
  [
    { localNat: portRestricted, remoteCandidates: 1 },
    'no answer from its only address; your side is behind a port-restricted NAT, theirs is behind a port-restricted NAT: this should work, so a firewall is likely to drop UDP on one side',
  ],
  [
    {
      localNat: { mapping: 'unknown', filtering: 'unknown' },
      remoteNat: { mapping: 'none', filtering: 'address-and-port-dependent' },
      lost: true,
    },
    'the path was lost; no answer from any of 3 addresses; your side is behind an unknown NAT, theirs has a public address behind a firewall: UDP may be blocked on one side',
  ],
  [
    { heardOnly: true },
    'no answer from any of 3 addresses, although the other side is heard: something lets its packets in but not ours',
  ],
  [{ socketsOpen: false }, 'no UDP socket could be opened on this machine'],
  [{ localCandidatesKnown: false }, 'still finding out the addresses of this machine'],
  [{ remoteCandidates: undefined }, 'waiting for the other side to tell its addresses'],
  [
    { remoteCandidates: undefined, serverConnected: false },
    'the server is not connected and no address of the other side is known',
  ],
  [{ remoteCandidates: 0 }, 'the other side found no usable address of its own'],
  [
    { familiesInCommon: false },
    'no address family in common: one side has only IPv4, the other only IPv6',
  ],
];

for (const [change, expected] of table) {
  test(`the reason is: ${expected}`, () => {
    assert.equal(explainNoPath({ ...tried, ...change }), expected);
  });
}
