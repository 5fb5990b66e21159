import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodePcp, encodePcpAnnounce, encodePcpMap } from './pcp.ts';

const fromHex = (text: string) => new Uint8Array(Buffer.from(text.replace(/\s/g, ''), 'hex'));
const toHex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const flat = (text: string) => text.replace(/\s/g, '');

const nonce = fromHex('0102030405060708090a0b0c');
const mapped = `
  02 81 00 00  00001c20 0000012c  000000000000000000000000
  0102030405060708090a0b0c  11 000000  a2b9 a2ba  00000000000000000000ffffcb00710a`;

test('a MAP request is the 60 bytes of RFC 6887', () => {
  const request = encodePcpMap({
    clientAddress: '192.168.1.10',
    nonce,
    internalPort: 41657,
    suggested: { address: undefined, port: 41657 },
    lifetimeSeconds: 7200,
  });
  assert.equal(
    toHex(request),
    flat(`
      02 01 0000  00001c20  00000000000000000000ffffc0a8010a
      0102030405060708090a0b0c  11 000000  a2b9 a2b9  00000000000000000000ffff00000000`),
  );
});

test('a MAP request for a firewall carries plain IPv6 addresses', () => {
  const request = encodePcpMap({
    clientAddress: '2001:db8::5',
    nonce,
    internalPort: 5000,
    suggested: { address: '2001:db8::5', port: 5000 },
    lifetimeSeconds: 0,
  });
  assert.equal(
    toHex(request),
    flat(`
      02 01 0000  00000000  20010db8000000000000000000000005
      0102030405060708090a0b0c  11 000000  1388 1388  20010db8000000000000000000000005`),
  );
});

test('an ANNOUNCE request is a header alone', () => {
  assert.equal(
    toHex(encodePcpAnnounce('192.168.1.10')),
    flat('02 00 0000 00000000 00000000000000000000ffffc0a8010a'),
  );
});

test('a MAP response says what was mapped, for how long, and since when the gateway knows', () => {
  assert.deepEqual(decodePcp(fromHex(mapped)), {
    opcode: 'map',
    result: 'success',
    lifetimeSeconds: 7200,
    epochSeconds: 300,
    map: { nonce, internalPort: 41657, external: { address: '203.0.113.10', port: 41658 } },
  });
});

test('whole options behind a MAP response are skipped', () => {
  const withOption = `${mapped} 01 00 0003 aabbcc00  02 00 0000`;
  assert.equal(decodePcp(fromHex(withOption))?.map?.internalPort, 41657);
});

test('errors come with or without what they answer', () => {
  const bare = fromHex('02 81 00 02  00000708 00000001  000000000000000000000000');
  assert.deepEqual(decodePcp(bare), {
    opcode: 'map',
    result: 'not-authorized',
    lifetimeSeconds: 1800,
    epochSeconds: 1,
  });
  const whole = fromHex(mapped);
  whole[3] = 12;
  assert.equal(decodePcp(whole)?.result, 'address-mismatch');
  whole[3] = 77;
  assert.equal(decodePcp(whole)?.result, 'code-77');
});

test('an announcement carries the epoch', () => {
  const bytes = fromHex('02 80 00 00  00000000 00000007  000000000000000000000000');
  assert.deepEqual(decodePcp(bytes), {
    ...{ opcode: 'announce', result: 'success', lifetimeSeconds: 0, epochSeconds: 7 },
  });
});

test('what is no PCP response is refused', () => {
  const edited = (offset: number, byte: number) => {
    const bytes = fromHex(mapped);
    bytes[offset] = byte;
    return bytes;
  };
  const cases: Record<string, Uint8Array> = {
    nothing: new Uint8Array(),
    'a request': edited(1, 1),
    'another version': edited(0, 1),
    'a TCP mapping': edited(36, 6),
    'a success that is cut short': fromHex(mapped).subarray(0, 24),
    'half an option': fromHex(`${mapped} 01 00 0008 aabbccdd`),
    'an odd length': fromHex(`${mapped} 00`),
    'too long': new Uint8Array(1104).fill(2),
    'too many options': fromHex(mapped + '01000000'.repeat(17)),
  };
  for (const [what, bytes] of Object.entries(cases)) {
    assert.equal(decodePcp(bytes), undefined, what);
  }
  for (let length = 0; length < 60; length++) {
    assert.equal(decodePcp(fromHex(mapped).subarray(0, length)), undefined, `${length} bytes`);
  }
});
