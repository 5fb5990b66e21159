import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress } from '#wire/endpoint.ts';
import type { Candidate } from '#wire/signal.ts';
import { classOf, inPrefix, parsePrefix, virtualPrefixes } from './address-class.ts';
import { maxCandidates, maxCandidatesPerAddress } from './limits.ts';
import { believedCandidates } from './remote-candidates.ts';

const virtual = virtualPrefixes.map((text) => parsePrefix(text)!);
const host = (endpoint: string): Candidate => ({ kind: 'host', endpoint });

const classes: [string, string][] = [
  ['8.8.8.8', 'public'],
  ['172.15.0.1', 'public'],
  ['172.32.0.1', 'public'],
  ['100.63.255.255', 'public'],
  ['100.128.0.0', 'public'],
  ['2001:db8::1', 'public'],
  ['10.255.0.1', 'private'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['192.168.0.1', 'private'],
  ['100.64.0.1', 'private'],
  ['fd00::1', 'private'],
  ['0.1.2.3', 'unusable'],
  ['127.0.0.1', 'unusable'],
  ['169.254.1.1', 'unusable'],
  ['224.0.0.1', 'unusable'],
  ['255.255.255.255', 'unusable'],
  ['::', 'unusable'],
  ['::1', 'unusable'],
  ['fe80::1', 'unusable'],
  ['ff02::1', 'unusable'],
  ['nonsense', 'unusable'],
  ['::ffff:10.0.0.1', 'unusable'],
];
for (const [address, expected] of classes) {
  test(`${address} is ${expected}`, () => assert.equal(classOf(address), expected));
}

test('a prefix holds what shares its bits, and no other family', () => {
  const within = (address: string, prefix: string) => inPrefix(address, parsePrefix(prefix)!);
  assert(within('100.64.0.1', '100.64.0.0/10'));
  assert(within('100.127.255.255', '100.64.0.0/10'));
  assert(!within('100.128.0.0', '100.64.0.0/10'));
  assert(within('fd62:7572:6900::6440:1', 'fd62:7572:6900::/96'));
  assert(!within('fd62:7572:6900:0:0:1::', 'fd62:7572:6900::/96'));
  assert(within('1.2.3.4', '0.0.0.0/0'));
  assert(!within('::1', '0.0.0.0/0'));
  assert(within('1.2.3.4', '1.2.3.4/32'));
  assert(!within('1.2.3.5', '1.2.3.4/32'));
  for (const bad of ['', '1.2.3.4', '1.2.3.4/33', '1.2.3/8', '::/129', '::/x']) {
    assert.equal(parsePrefix(bad), undefined);
  }
});

test('addresses that no peer can have, and our own virtual ones, are not believed', () => {
  const bad = [
    ...['127.0.0.1:5', '0.0.0.0:5', '224.0.0.1:5', '169.254.1.1:5', '[::1]:5', '[fe80::1]:5'],
    ...['100.64.0.1:5', '[fd62:7572:6900::6440:1]:5', '10.0.0.1:0', 'nonsense', '[ff02::1]:5'],
  ];
  assert.deepEqual(believedCandidates(bad.map(host), virtual), {
    candidates: [],
    relays: [],
    refused: bad.length,
  });
});

test('relays are believed by their names, at most four, and never by an address', () => {
  const relays = ['a', 'b', 'a', 'c', 'd', 'e'].map(
    (relay): Candidate => ({ kind: 'relay', endpoint: '192.0.2.1:5', relay }),
  );
  const nameless: Candidate = { kind: 'relay', endpoint: '192.0.2.1:5' };
  assert.deepEqual(believedCandidates([nameless, ...relays], virtual), {
    candidates: [],
    relays: ['a', 'b', 'c', 'd'],
    refused: 2,
  });
});

test('duplicates count once, and a list cannot aim at the ports of one address', () => {
  const ports = Array.from({ length: 12 }, (_, i) => host(`192.0.2.1:${i + 1}`));
  const twice = [host('192.0.2.2:5'), host('192.0.2.2:5')];
  const { candidates, refused } = believedCandidates([...ports, ...twice], virtual);
  assert.equal(candidates.length, maxCandidatesPerAddress + 1);
  assert.equal(refused, 12 - maxCandidatesPerAddress);
});

test('whatever list arrives, what is believed is bounded and usable', () => {
  const endpoint = fc.oneof(
    fc.string(),
    fc
      .tuple(fc.uint8Array({ minLength: 4, maxLength: 4 }), fc.integer({ min: -1, max: 70_000 }))
      .map(([bytes, port]) => `${formatAddress(bytes)}:${port}`),
    fc
      .tuple(fc.uint8Array({ minLength: 16, maxLength: 16 }), fc.nat(65_535))
      .map(([bytes, port]) => `[${formatAddress(bytes)}]:${port}`),
  );
  fc.assert(
    fc.property(fc.array(endpoint, { maxLength: 5000 }), (list) => {
      const { candidates, refused } = believedCandidates(list.map(host), virtual);
      assert(candidates.length <= maxCandidates);
      assert(candidates.length + refused <= list.length);
      for (const candidate of candidates) {
        assert.notEqual(classOf(candidate.endpoint.address), 'unusable');
        assert(candidate.endpoint.port > 0);
      }
    }),
    { numRuns: 50 },
  );
});
