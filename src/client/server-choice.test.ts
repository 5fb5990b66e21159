import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { signDocument } from '#wire/signed.ts';
import { ServerChoice } from './server-choice.ts';
import { parseServerUrl } from './server-url.ts';

const seed = new Uint8Array(32).fill(3);
const key = crypto.ed25519PublicKey(seed);
const given = parseServerUrl('buri://a:1');
const listOf = (control: readonly string[], by = seed) =>
  nodesOf(
    control.map((url) => [url]),
    by,
  );
const nodesOf = (nodes: readonly string[][], by = seed) =>
  signDocument(
    'node-list',
    {
      serial: 1,
      issuedAt: 0,
      notAfter: 1,
      nodes: nodes.map((control, i) => ({ nodeId: `n${i}`, control, stun: [], relay: [] })),
    },
    (message) => crypto.ed25519Sign(by, message),
  );
const list = listOf(['buri://a:1', 'buri://b:2', 'buri://c:3', 'nonsense']);

test('where the user said first, the same again while it works, the others in turn when it does not', () => {
  const choice = new ServerChoice(crypto, () => 0.99);
  assert.equal(choice.pick(given, list, key).text, 'buri://a:1');
  choice.connected();
  assert.equal(choice.pick(given, list, key).text, 'buri://a:1');
  choice.failed();
  const second = choice.pick(given, list, key).text;
  choice.failed();
  const third = choice.pick(given, list, key).text;
  assert.deepEqual([second, third].sort(), ['buri://b:2', 'buri://c:3']);
  choice.failed();
  assert.notEqual(choice.pick(given, list, key).text, third, 'a new round begins elsewhere');
  choice.connected();
  assert.equal(choice.count(given, list, key), 3);
});

test('a list that the cluster has not signed names nobody; TLS is not given up for one', () => {
  const choice = new ServerChoice(crypto);
  assert.equal(choice.count(given, listOf(['buri://b:2'], new Uint8Array(32)), key), 1);
  assert.equal(choice.count(given, list, undefined), 1);
  assert.equal(choice.count(given, undefined, key), 1);
  assert.equal(choice.count(given, new Uint8Array(9), key), 1);
  const tls = parseServerUrl('buris://a:1');
  assert.equal(choice.count(tls, listOf(['buri://b:2', 'buris://c:3']), key), 2);
  choice.pick(given, undefined, undefined);
  choice.failed();
  assert.equal(choice.pick(given, undefined, undefined).text, given.text, 'the only one, again');
});

test('every listener of a node is tried, first those like the one that worked', () => {
  const nodes = ['a', 'b', 'c'].map((host) => [`buri://${host}:8443`, `buri://${host}:443`]);
  const both = nodesOf(nodes);
  const narrow = parseServerUrl('buri://a:443');
  const tried = (choice: ServerChoice, url: typeof narrow, count: number) =>
    Array.from({ length: count }, () => {
      const { text } = choice.pick(url, both, key);
      choice.failed();
      return text;
    });
  const ports = (texts: readonly string[]) => texts.map((text) => text.split(':')[2]);
  const choice = new ServerChoice(crypto);
  assert.equal(choice.count(narrow, both, key), 6);
  const all = tried(choice, narrow, 6);
  assert.equal(new Set(all).size, 6);
  assert.deepEqual(ports(all), ['443', '443', '443', '8443', '8443', '8443']);

  const wide = parseServerUrl('buri://a:8443');
  const moved = new ServerChoice(crypto);
  assert.deepEqual(ports(tried(moved, wide, 3)), ['8443', '8443', '8443']);
  assert.equal(ports([moved.pick(wide, both, key).text])[0], '443');
  moved.connected();
  assert.deepEqual(ports(tried(moved, wide, 3)), ['443', '443', '443'], 'what worked goes first');
});

test('a node without such a listener is asked at its first one', () => {
  const list = nodesOf([['buri://a:1'], ['buri://b:2', 'buri://b:3']]);
  const choice = new ServerChoice(crypto);
  choice.pick(given, list, key);
  choice.failed();
  assert.equal(choice.pick(given, list, key).text, 'buri://b:2');
});
