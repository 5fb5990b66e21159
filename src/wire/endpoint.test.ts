import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { addressBytes, formatAddress, formatEndpoint, parseEndpoint } from './endpoint.ts';

test('addresses come out in canonical text', () => {
  const table: [string, string][] = [
    ['192.0.2.1', '192.0.2.1'],
    ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0:0:1:0:0:0:1', '2001:0:0:1::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['::ffff:192.0.2.1', '192.0.2.1'],
    ['64:ff9b::192.0.2.33', '64:ff9b::c000:221'],
  ];
  for (const [text, canonical] of table) {
    const bytes = addressBytes(text);
    assert.ok(bytes !== undefined, text);
    assert.equal(formatAddress(bytes), canonical);
  }
});

test('what is not an address is refused', () => {
  const wrong = [
    '',
    '1.2.3',
    '1.2.3.256',
    '01.2.3.4',
    '1.2.3.4.5',
    ':',
    ':::',
    '1::2::3',
    '12345::',
  ];
  wrong.push('1:2:3:4:5:6:7', '1:2:3:4:5:6:7:8:9', 'fe80::1%eth0', '::1.2.3', '1:2:3:4:5:6:7::8');
  for (const text of wrong) assert.equal(addressBytes(text), undefined, text);
});

test('every address survives text and back', () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
      const back = addressBytes(formatAddress(bytes));
      assert.ok(back !== undefined);
      assert.equal(formatAddress(back), formatAddress(bytes));
    }),
  );
});

test('endpoints are parsed strictly', () => {
  assert.deepEqual(parseEndpoint('192.0.2.1:3478'), { address: '192.0.2.1', port: 3478 });
  assert.deepEqual(parseEndpoint('[2001:db8::0:1]:1'), { address: '2001:db8::1', port: 1 });
  assert.equal(formatEndpoint({ address: '2001:db8::1', port: 1 }), '[2001:db8::1]:1');
  const wrong = [
    '192.0.2.1',
    '192.0.2.1:0',
    '192.0.2.1:65536',
    '[192.0.2.1]:1',
    '2001:db8::1:1',
    'a:1',
  ];
  for (const text of wrong) assert.equal(parseEndpoint(text), undefined, text);
});
