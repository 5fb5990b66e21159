import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type ConnectAnswer,
  connectRequest,
  maxConnectAnswerBytes,
  readConnectAnswer,
} from './http-connect.ts';

const read = (text: string) => readConnectAnswer(Buffer.from(text, 'latin1'));

test('a request names the host twice, and the login only when there is one', () => {
  assert.equal(
    connectRequest({ host: 'vpn.example.org', port: 8443 }),
    'CONNECT vpn.example.org:8443 HTTP/1.1\r\nHost: vpn.example.org:8443\r\n\r\n',
  );
  assert.equal(
    connectRequest({ host: '2001:db8::1', port: 443 }, 'Basic YTpi'),
    'CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n' +
      'Proxy-Authorization: Basic YTpi\r\n\r\n',
  );
});

test('answers are understood, whatever comes in them', () => {
  const offer =
    'Proxy-Authenticate: NTLM\r\nproxy-authenticate: Basic realm="a, b", Digest nonce="x"';
  const cases: [string, string, ConnectAnswer][] = [
    ['open', 'HTTP/1.1 200 OK\r\n\r\n', { kind: 'open', bodyAt: 19 }],
    ['open without words', 'HTTP/1.0 200\r\n\r\n', { kind: 'open', bodyAt: 16 }],
    [
      'bytes of the host behind',
      'HTTP/1.1 200 C\r\nA: b\r\n\r\n\x00\xff',
      { kind: 'open', bodyAt: 24 },
    ],
    [
      'an interim answer first',
      'HTTP/1.1 100 C\r\n\r\nHTTP/1.1 200 C\r\n\r\n',
      { kind: 'open', bodyAt: 36 },
    ],
    ['nothing yet', '', { kind: 'partial' }],
    ['half a status', 'HTTP/1.1 2', { kind: 'partial' }],
    ['half a head', 'HTTP/1.1 200 OK\r\nA: b\r\n', { kind: 'partial' }],
    [
      'forbidden',
      'HTTP/1.1 403 \x1b[31mFilt\ned\x07\r\n\r\n<html>',
      { kind: 'refused', status: 403, reason: '[31mFilted', schemes: [] },
    ],
    [
      'a login wanted',
      `HTTP/1.1 407 Proxy Authentication Required\r\n${offer}\r\n\r\n`,
      {
        kind: 'refused',
        status: 407,
        reason: 'Proxy Authentication Required',
        schemes: ['ntlm', 'basic', 'digest'],
      },
    ],
    [
      'another protocol',
      'HTTP/1.1 101 S\r\n\r\n',
      { kind: 'broken', why: 'it switched to another protocol' },
    ],
    ['HTTP/2', 'HTTP/2 200\r\n\r\n', { kind: 'broken', why: 'it does not speak HTTP' }],
    ['a bad status', 'HTTP/1.1 999 OK\r\n\r\n', { kind: 'broken', why: 'it does not speak HTTP' }],
    ['TLS', '\x15\x03\x01\x00\x02', { kind: 'broken', why: 'it does not speak HTTP' }],
  ];
  for (const [name, text, expected] of cases) assert.deepEqual(read(text), expected, name);
});

test('an answer without end is broken at the bound', () => {
  const head = 'HTTP/1.1 200 OK\r\n';
  const filler = (length: number) => head + 'A: b\r\n'.repeat(length / 6).slice(0, length);
  assert.equal(read(filler(maxConnectAnswerBytes - head.length - 1)).kind, 'partial');
  assert.equal(read(filler(maxConnectAnswerBytes)).kind, 'broken');
  const interim = 'HTTP/1.1 100 C\r\n\r\n'.repeat(2000);
  assert.equal(read(interim).kind, 'broken');
});

test('no bytes make the reader throw, and words for people are clean and short', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ maxLength: 200 }),
    fc
      .string({ unit: 'binary', maxLength: 300 })
      .map(
        (text) =>
          new Uint8Array(
            Buffer.from(`HTTP/1.1 407 ${text}\r\nProxy-Authenticate: ${text}\r\n\r\n`),
          ),
      ),
  );
  fc.assert(
    fc.property(bytes, (input) => {
      const answer = readConnectAnswer(input);
      if (answer.kind !== 'refused') return;
      assert.match(answer.reason, /^[\x20-\x7e]{0,80}$/);
      for (const scheme of answer.schemes) assert.match(scheme, /^[a-z][\w-]{0,19}$/);
    }),
  );
});
