import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodeNatPmp, encodeNatPmpAddress, encodeNatPmpMap } from './nat-pmp.ts';

const fromHex = (text: string) => new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

test('requests are the bytes of RFC 6886', () => {
  assert.equal(toHex(encodeNatPmpAddress()), '0000');
  const map = { internalPort: 41657, suggestedPort: 41658, lifetimeSeconds: 7200 };
  assert.equal(toHex(encodeNatPmpMap(map)), '00010000a2b9a2ba00001c20');
  const remove = { internalPort: 41657, suggestedPort: 0, lifetimeSeconds: 0 };
  assert.equal(toHex(encodeNatPmpMap(remove)), '00010000a2b9000000000000');
});

test('responses say the external address, and what was mapped', () => {
  assert.deepEqual(decodeNatPmp(fromHex('00 80 0000 0000012c cb00710a')), {
    ...{ type: 'address', result: 'success', epochSeconds: 300, address: '203.0.113.10' },
  });
  assert.deepEqual(decodeNatPmp(fromHex('00 81 0000 0000012c a2b9 a2ba 00001c20')), {
    ...{ type: 'map', result: 'success', epochSeconds: 300 },
    ...{ internalPort: 41657, externalPort: 41658, lifetimeSeconds: 7200 },
  });
});

test('errors are told by name, whole or cut after the epoch', () => {
  assert.deepEqual(decodeNatPmp(fromHex('00 81 0002 00000001')), {
    ...{ type: 'error', of: 'map', result: 'not-authorized', epochSeconds: 1 },
  });
  assert.deepEqual(decodeNatPmp(fromHex('00 80 0003 00000001 00000000')), {
    ...{ type: 'error', of: 'address', result: 'network-failure', epochSeconds: 1 },
  });
  assert.equal(decodeNatPmp(fromHex('00 81 1234 00000001'))?.result, 'code-4660');
  assert.equal(decodeNatPmp(fromHex('00 81 0001 00000001'))?.result, 'unsupported-version');
});

test('what is no NAT-PMP response is refused', () => {
  const cases = ['', '00', '00 00', '00 00 0000 0000012c cb00710a', '00 01 0000 a2b9a2ba 00001c20'];
  cases.push('02 80 0000 0000012c cb00710a', '00 80 0000 0000012c cb0071', '00 82 0000 0000012c');
  cases.push('00 81 0000 0000012c a2b9 a2ba 00001c', `00 80 0000 0000012c ${'00'.repeat(60)}`);
  for (const text of cases) assert.equal(decodeNatPmp(fromHex(text)), undefined, text);
});
