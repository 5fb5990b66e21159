import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  acceptInput,
  FrameReader,
  maxUpgradeAnswerBytes,
  opBinary,
  opClose,
  opPing,
  readUpgradeAnswer,
  upgradeRequest,
  writeFrame,
} from './web-socket.ts';

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.length);

/** A frame as a server sends it. */
function frame(opcode: number, payload: Uint8Array, isFinal = true): Buffer {
  const head = Buffer.from([(isFinal ? 0x80 : 0) | opcode, payload.length]);
  if (payload.length <= 125) return Buffer.concat([head, payload]);
  head[1] = 126;
  return Buffer.concat([head, Buffer.of(payload.length >> 8, payload.length & 255), payload]);
}

function readerOf(maxBytes = 1000) {
  const messages: string[] = [];
  const reader = new FrameReader(maxBytes, {
    onMessage: (bytes, at, length) => messages.push(hexOf(bytes.subarray(at, at + length))),
    onControl: (opcode, payload) => messages.push(`${opcode}:${hexOf(payload)}`),
  });
  return { reader, messages };
}

test('a masked frame is that of RFC 6455 §5.7', () => {
  const to = new Uint8Array(64);
  const hello = Buffer.from('Hello');
  // 37 fa 21 3d, in the order of its bytes.
  const end = writeFrame(viewOf(to), 0, 1, viewOf(hello), 0, hello.length, 0x3d21fa37);
  assert.equal(hexOf(to.subarray(0, end)), '818537fa213d7f9f4d5158');
});

test('what is written at any place and of any length comes out whole', () => {
  for (const length of [0, 1, 125, 126, 127, 1452, 65_535]) {
    for (const at of [0, 3]) {
      const from = new Uint8Array(length + 5).map((_, i) => i * 7);
      const to = new Uint8Array(at + length + 8);
      const end = writeFrame(viewOf(to), at, opBinary, viewOf(from), 5, length, 0x01020304);
      const head = length <= 125 ? 6 : 8;
      assert.equal(end, at + head + length);
      const mask = to.subarray(at + head - 4, at + head);
      const opened = to.subarray(at + head, end).map((byte, i) => byte ^ mask[i & 3]!);
      assert.equal(hexOf(opened), hexOf(from.subarray(5)), `${length} at ${at}`);
    }
  }
});

test('messages come whole however the stream is cut, between pings and in fragments', () => {
  const stream = Buffer.concat([
    frame(opBinary, Buffer.alloc(300, 1)),
    frame(opPing, Buffer.from('p')),
    frame(opBinary, Buffer.alloc(0)),
    frame(opBinary, Buffer.alloc(200, 2), false),
    frame(opPing, Buffer.alloc(0)),
    frame(0, Buffer.alloc(3, 3), false),
    frame(0, Buffer.alloc(0)),
    frame(opBinary, Buffer.alloc(1000, 4)),
    frame(opClose, Buffer.of(3, 232)),
  ]);
  const whole = readerOf();
  assert.equal(whole.reader.push(stream), undefined);
  assert.equal(whole.messages.length, 7);
  assert.equal(whole.messages[4], `${'02'.repeat(200)}030303`);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1 }), (sizes) => {
      const cut = readerOf();
      for (let at = 0, i = 0; at < stream.length; i++) {
        const size = sizes[i % sizes.length]!;
        assert.equal(cut.reader.push(stream.subarray(at, at + size)), undefined);
        at += size;
      }
      assert.deepEqual(cut.messages, whole.messages);
    }),
  );
});

test('a stream that breaks the rules is given up, at once and for good', () => {
  const cases: [string, Uint8Array][] = [
    ['a masked frame', Buffer.from('828537fa213d7f9f4d5158', 'hex')],
    ['reserved bits', Buffer.from('c200', 'hex')],
    ['text', frame(1, Buffer.from('hello'))],
    ['an unknown opcode', frame(3, Buffer.alloc(1))],
    ['an unknown control frame', frame(11, Buffer.alloc(1))],
    ['a long ping', frame(opPing, Buffer.alloc(126))],
    ['a ping in fragments', frame(opPing, Buffer.alloc(1), false)],
    ['a continuation of nothing', frame(0, Buffer.alloc(1))],
    [
      'a message within a message',
      Buffer.concat([frame(2, Buffer.alloc(1), false), frame(2, Buffer.alloc(1))]),
    ],
    ['a message that is too long', frame(opBinary, Buffer.alloc(1001))],
    ['one of 2^63 bytes', Buffer.from('827fffffffffffffffff', 'hex')],
    ['a length in a longer form', Buffer.from('827e0001ff', 'hex')],
    [
      'fragments that are too long',
      Buffer.concat([frame(2, Buffer.alloc(600), false), frame(0, Buffer.alloc(600))]),
    ],
  ];
  for (const [name, bytes] of cases) {
    const { reader, messages } = readerOf();
    assert.notEqual(reader.push(bytes), undefined, name);
    assert.notEqual(reader.push(frame(opBinary, Buffer.of(1))), undefined, name);
    assert.deepEqual(messages, [], name);
    const slow = readerOf();
    const faults = [...bytes].map((byte) => slow.reader.push(Uint8Array.of(byte)));
    assert.notEqual(faults.at(-1), undefined, `${name}, byte by byte`);
  }
});

test('no bytes make the reader throw, or hold more than its bound', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 })), (chunks) => {
      const { reader } = readerOf(30);
      for (const chunk of chunks) reader.push(chunk);
    }),
  );
});

test('an upgrade is asked for and answered as in RFC 6455 §1.3', () => {
  const key = 'dGhlIHNhbXBsZSBub25jZQ==';
  const accept = createHash('sha1').update(acceptInput(key)).digest('base64');
  assert.equal(accept, 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  assert.match(
    upgradeRequest('h:1', '/v1/relay', key),
    /^GET \/v1\/relay HTTP\/1\.1\r\nHost: h:1\r\n/,
  );
  const read = (text: string) => readUpgradeAnswer(Buffer.from(text, 'latin1'), accept).kind;
  const head = 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n';
  const good = `${head}Sec-WebSocket-Accept: ${accept}\r\n\r\n`;
  assert.deepEqual(readUpgradeAnswer(Buffer.from(`${good}x`, 'latin1'), accept), {
    kind: 'open',
    bodyAt: good.length,
  });
  assert.equal(read(good.slice(0, -1)), 'partial');
  assert.equal(read(''), 'partial');
  assert.equal(read(`${head}\r\n`), 'broken');
  assert.equal(read(`${head}Sec-WebSocket-Accept: ${'x'.repeat(27)}=\r\n\r\n`), 'broken');
  assert.equal(read(good.replace('\r\n\r\n', '\r\nSec-WebSocket-Extensions: x\r\n\r\n')), 'broken');
  assert.equal(read('HTTP/1.1 404 Not Found\r\n\r\n'), 'refused');
  assert.equal(read('SSH-2.0'), 'broken');
  assert.equal(read(`HTTP/1.1 101 S\r\n${'a: b\r\n'.repeat(maxUpgradeAnswerBytes)}`), 'broken');
});
