import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { clientIdOf, clientNumber, maxClientNumber } from './client-number.ts';
import {
  decodeRelay,
  deliveredPrefix,
  encodePlainRelay,
  isDeliveredBare,
  maxRelayControlBytes,
  maxRelayDatagramBytes,
  maxTicketBytes,
  movedToken,
  movedTransaction,
  type RelayMessage,
  readData,
  readDelivered,
  relayMacIsValid,
  relayPrefix,
  relayType,
  sealRelay,
} from './relay.ts';

const unhex = (text: string) => new Uint8Array(Buffer.from(text, 'hex'));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const counted = (first: number, length: number) => Uint8Array.from({ length }, (_, i) => first + i);
const key = counted(0x80, 32);
const transaction = counted(1, 12);
const cookie = counted(0x20, 16);
const time = 1_767_225_600_123;
const token = 0x1122334455667788n;
const noTicket = new Uint8Array(0);

// The MACs of the first and the fourth were computed with Python's hashlib too.
const vectors: { message: RelayMessage; wire: string }[] = [
  {
    message: { type: 'allocate', transaction, time, ticket: noTicket },
    wire:
      '42555202030000000102030405060708090a0b0c7ba8da769b010000000000000000000000000000000000000000' +
      '000000000000' +
      '22071f74f30a936b8869badb87abe48a',
  },
  {
    message: { type: 'allocate', transaction, time, cookie, ticket: counted(0xc0, 40) },
    wire:
      '42555202030000000102030405060708090a0b0c7ba8da769b010000202122232425262728292a2b2c2d2e2f2800' +
      'c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6e7' +
      '9d389e6dfcaa24d5271465389b5f50e8',
  },
  {
    message: { type: 'challenge', transaction, cookie },
    wire: '42555202040000000102030405060708090a0b0c202122232425262728292a2b2c2d2e2f',
  },
  {
    message: {
      ...{ type: 'allocated', transaction, token, lifetimeSeconds: 90 },
      observed: { address: '192.0.2.7', port: 41_641 },
    },
    wire:
      '42555202050000000102030405060708090a0b0c88776655443322115a000000' +
      '0400a2a9000000000000000000000000c0000207575945198be57ec35f49c9fac4fbf659',
  },
  {
    message: { type: 'refresh', token, transaction, time },
    wire:
      '425552020600000088776655443322110102030405060708090a0b0c7ba8da769b010000' +
      '0000000000000000000000000000000015eedaf5407560909a602d1cbe9baa35',
  },
  {
    message: { type: 'refresh', token, transaction, time, cookie },
    wire:
      '425552020600000088776655443322110102030405060708090a0b0c7ba8da769b010000' +
      '202122232425262728292a2b2c2d2e2f900e3108e881e6926bdce60d376a280e',
  },
  {
    message: { type: 'refreshed', transaction, observed: { address: '2001:db8::7', port: 3478 } },
    wire:
      '42555202070000000102030405060708090a0b0c' +
      '06000d9620010db8000000000000000000000007239d9dfc2637e74111f7b3df58609da6',
  },
  {
    message: { type: 'release', token, transaction, time },
    wire:
      '425552020800000088776655443322110102030405060708090a0b0c7ba8da769b010000' +
      '1f54d12067589fe69a90760cda88585a',
  },
  {
    message: { type: 'draining', token, graceSeconds: 10 },
    wire: '425552020900000088776655443322110a00000079ddd7472a8cb6791a0569472e50dd8b',
  },
  {
    message: { type: 'error', transaction, code: 'unknown-token' },
    wire: '425552020a0000000102030405060708090a0b0c05000000',
  },
];

const encoded = (message: RelayMessage) =>
  message.type === 'challenge' || message.type === 'error'
    ? encodePlainRelay(message)
    : sealRelay(nodeCrypto, key, message);

for (const [i, { message, wire }] of vectors.entries()) {
  test(`relay vector ${i + 1}: this ${message.type} has these bytes, and is read from them`, () => {
    assert.equal(hex(encoded(message)), wire);
    const bytes = unhex(wire);
    assert.equal(relayType(bytes), message.type);
    assert.deepEqual(decodeRelay(bytes), message);
    const plain = message.type === 'challenge' || message.type === 'error';
    assert.equal(relayMacIsValid(nodeCrypto, key, bytes), !plain);
    assert.equal(relayMacIsValid(nodeCrypto, key.toReversed(), bytes), false);
    const large = new Uint8Array(1500);
    large.set(bytes, 37);
    assert.deepEqual(decodeRelay(large.subarray(37, 37 + bytes.length)), message, 'as a view');
  });
}

test('no bit of a message with a MAC can be changed', () => {
  for (const { wire } of vectors) {
    const bytes = unhex(wire);
    for (let i = 0; i < bytes.length * 8; i++) {
      const changed = bytes.slice();
      changed[i >> 3]! ^= 1 << (i & 7);
      assert.equal(relayMacIsValid(nodeCrypto, key, changed), false, `${wire} bit ${i}`);
    }
  }
});

test('no message is read from fewer or more bytes than it has', () => {
  for (const { message, wire } of vectors) {
    const bytes = unhex(wire);
    for (let length = 0; length < bytes.length; length++) {
      assert.equal(decodeRelay(bytes.subarray(0, length)), undefined, `${message.type} ${length}`);
      assert.equal(relayMacIsValid(nodeCrypto, key, bytes.subarray(0, length)), false);
    }
    assert.equal(decodeRelay(Uint8Array.of(...bytes, 0)), undefined, `${message.type} grown`);
  }
});

test('what does not begin like a datagram of relays is none, whatever its type', () => {
  const wire = unhex(vectors[2]!.wire);
  const changed = (at: number, value: number) => {
    const bytes = wire.slice();
    bytes[at] = value;
    return bytes;
  };
  for (const at of [0, 1, 2, 3, 5, 6, 7]) assert.equal(relayType(changed(at, 0xff)), undefined);
  for (const type of [0, 11, 255]) assert.equal(relayType(changed(4, type)), undefined);
  assert.equal(relayType(wire.subarray(0, 7)), undefined);
  const tooLong = new Uint8Array(maxRelayDatagramBytes + 1);
  tooLong.set(relayPrefix(token, 1));
  assert.equal(relayType(tooLong), undefined);
  assert.equal(relayType(tooLong.subarray(1)), undefined);
});

test('fields that cannot be are refused: times, families, ports, codes, lengths, padding, no cookie', () => {
  const refused = (vector: number, at: number, value: number) => {
    const bytes = unhex(vectors[vector]!.wire);
    bytes[at] = value;
    return decodeRelay(bytes) === undefined;
  };
  for (const [vector, at] of [[0, 27] as const, [4, 35] as const, [7, 35] as const]) {
    assert.ok(refused(vector, at, 0xff), 'a time beyond all numbers');
  }
  assert.ok(refused(3, 32, 5) && refused(3, 32, 0) && refused(3, 33, 1), 'family');
  const portless = unhex(vectors[3]!.wire);
  portless.fill(0, 34, 36);
  assert.equal(decodeRelay(portless), undefined);
  assert.ok(refused(9, 20, 0) && refused(9, 20, 8) && refused(9, 23, 1), 'error code');
  assert.ok(refused(1, 44, 39) && refused(1, 44, 41) && refused(1, 45, 0xff), 'ticket length');
  assert.ok(refused(0, 46, 1), 'padding');
  const cookieless = unhex(vectors[2]!.wire).fill(0, 20);
  assert.equal(decodeRelay(cookieless), undefined);
});

test('the transaction of a challenge that nobody asked for begins with the token', () => {
  const transaction = movedTransaction(nodeCrypto, token);
  assert.equal(hex(transaction.subarray(0, 8)), '8877665544332211');
  assert.equal(transaction.length, 12);
  assert.notDeepEqual(movedTransaction(nodeCrypto, token), transaction);
  assert.equal(movedToken(transaction), token);
});

test('a ticket is bounded', () => {
  const allocate = (lengthBytes: number) =>
    sealRelay(nodeCrypto, key, {
      ...{ type: 'allocate', transaction, time, cookie },
      ticket: new Uint8Array(lengthBytes).fill(1),
    });
  const largest = allocate(maxTicketBytes);
  assert.equal(largest.length, maxRelayControlBytes);
  assert.equal(decodeRelay(largest)?.type, 'allocate');
  assert.throws(() => allocate(maxTicketBytes + 1));
  const claimed = new Uint8Array(maxRelayControlBytes + 1);
  claimed.set(largest);
  claimed[44] = 1;
  assert.equal(decodeRelay(claimed), undefined);
});

test('no answer is longer than what it answers', () => {
  const bytes = (type: RelayMessage['type']) =>
    vectors.filter(({ message }) => message.type === type).map(({ wire }) => wire.length / 2);
  const least = (type: RelayMessage['type']) => Math.min(...bytes(type));
  const most = (type: RelayMessage['type']) => Math.max(...bytes(type));
  for (const answer of ['challenge', 'allocated', 'error'] as const) {
    assert.ok(most(answer) <= least('allocate'), answer);
  }
  for (const answer of ['challenge', 'refreshed', 'error'] as const) {
    assert.ok(most(answer) <= least('refresh'), answer);
  }
});

test('what is relayed has 20 bytes in front on the way in, and 12 or none on the way out', () => {
  const prefix = relayPrefix(token, 123_456_789);
  assert.equal(hex(prefix), '4255520201000000887766554433221115cd5b07');
  const payload = counted(0x42, 40);
  const data = Uint8Array.of(...prefix, ...payload);
  assert.deepEqual(readData(data), { token, destination: 123_456_789, payload });
  assert.equal(readData(prefix), undefined, 'without a payload');
  const from = deliveredPrefix(123_456_789);
  assert.equal(hex(from), '425552020200000015cd5b07');
  const delivered = Uint8Array.of(...from, ...payload);
  assert.deepEqual(readDelivered(delivered), { from: 123_456_789, payload });
  assert.equal(readDelivered(from), undefined, 'without a payload');
  for (const bytes of [data, delivered]) assert.equal(decodeRelay(bytes), undefined);
  assert.equal(readData(delivered), undefined);
  assert.equal(readDelivered(data), undefined);
});

test('only a WireGuard transport message is delivered bare', () => {
  const message = (first: readonly number[], lengthBytes: number) => {
    const bytes = new Uint8Array(lengthBytes);
    bytes.set(first);
    return bytes;
  };
  assert.ok(isDeliveredBare(message([4, 0, 0, 0], 32)));
  assert.ok(isDeliveredBare(message([4, 0, 0, 0], 1452)));
  assert.ok(!isDeliveredBare(message([4, 0, 0, 0], 31)));
  assert.ok(!isDeliveredBare(message([4, 0, 0, 1], 32)));
  assert.ok(!isDeliveredBare(message([1, 0, 0, 0], 148)));
  assert.ok(!isDeliveredBare(message([0x42, 0x55, 0x52, 0x02], 148)));
  assert.ok(!isDeliveredBare(new Uint8Array(0)));
});

test('a client identifier and its number name each other', () => {
  for (const id of ['000-000-000', '000-000-001', '123-456-789', '999-999-999']) {
    assert.equal(clientIdOf(clientNumber(id)!), id);
  }
  assert.equal(clientNumber('123-456-789'), 123_456_789);
  for (const id of ['', '123456789', '12-3456-789', '123-456-78a', '1234-456-789']) {
    assert.equal(clientNumber(id), undefined);
  }
  for (const number of [-1, 0.5, Number.NaN, maxClientNumber + 1, 0xffff_ffff]) {
    assert.equal(clientIdOf(number), undefined);
  }
});
