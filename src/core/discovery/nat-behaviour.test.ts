import assert from 'node:assert/strict';
import { test } from 'node:test';
import { classifyNat, type Observations } from './nat-behaviour.ts';

const mine = { address: '192.168.1.2', port: 5000 };
const seen = { address: '198.51.100.1', port: 5000 };
const otherPort = { address: '198.51.100.1', port: 6000 };
const nothing: Observations = {
  local: [mine],
  seen: undefined,
  seenByOtherPort: undefined,
  seenByOtherAddress: undefined,
  otherPortGetsIn: undefined,
};

const table: [string, Partial<Observations>, string, string][] = [
  ['nothing was seen', {}, 'unknown', 'unknown'],
  ['one server was asked', { seen }, 'unknown', 'unknown'],
  ['two ports saw the same', { seen, seenByOtherPort: seen }, 'endpoint-independent', 'unknown'],
  [
    'a port-restricted NAT',
    { seen, seenByOtherPort: seen, otherPortGetsIn: false },
    'endpoint-independent',
    'address-and-port-dependent',
  ],
  [
    'a filter that ignores ports',
    { seen, seenByOtherPort: seen, otherPortGetsIn: true },
    'endpoint-independent',
    'address-dependent',
  ],
  [
    'a symmetric NAT',
    { seen, seenByOtherPort: otherPort, otherPortGetsIn: false },
    'address-and-port-dependent',
    'address-and-port-dependent',
  ],
  [
    'another address saw another port, the other port did not',
    { seen, seenByOtherPort: seen, seenByOtherAddress: otherPort },
    'address-dependent',
    'unknown',
  ],
  [
    'only another address could be asked, and saw another port',
    { seen, seenByOtherAddress: otherPort },
    'address-and-port-dependent',
    'unknown',
  ],
  [
    'only another address could be asked, and saw the same',
    { seen, seenByOtherAddress: seen },
    'endpoint-independent',
    'unknown',
  ],
  ['a public address', { local: [seen], seen, otherPortGetsIn: true }, 'none', 'none'],
  [
    'a firewall on a public address',
    { local: [seen], seen, otherPortGetsIn: false },
    'none',
    'address-and-port-dependent',
  ],
];

for (const [name, observed, mapping, filtering] of table) {
  test(`${name}: mapping ${mapping}, filtering ${filtering}`, () => {
    assert.deepEqual(classifyNat({ ...nothing, ...observed }), { mapping, filtering });
  });
}
