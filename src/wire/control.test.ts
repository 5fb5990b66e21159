import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeCbor } from './cbor.ts';
import { decodeClientMessage, decodeServerMessage, encodeMessage } from './control.ts';
import { displayName } from './fields.ts';

interface Recorded {
  readonly from: 'client' | 'server';
  readonly name: string;
  readonly hex: string;
}

const directory = join(import.meta.dirname, 'vectors');

for (const file of readdirSync(directory).filter((name) => name.startsWith('control-'))) {
  const recorded = JSON.parse(readFileSync(join(directory, file), 'utf8')) as Recorded[];
  test(`messages recorded in ${file} are still understood, and still encoded so`, () => {
    assert.ok(recorded.length > 20);
    for (const { from, name, hex } of recorded) {
      const bytes = Uint8Array.from(Buffer.from(hex, 'hex'));
      const message = from === 'client' ? decodeClientMessage(bytes) : decodeServerMessage(bytes);
      if (typeof message === 'string') assert.fail(`${name}: ${message}`);
      assert.equal(Buffer.from(encodeMessage(message)).toString('hex'), hex, name);
    }
  });
}

test('a message that does not fit its schema is refused with the name of the field', () => {
  const table: [unknown, RegExp][] = [
    [{ t: 'unheard-of' }, /^t: /],
    [{ t: 'pong', id: 0 }, /^id: /],
    [{ t: 'pong', id: 1.5 }, /^id: /],
    [{ t: 'resync', network: '12-345-678' }, /NNN-NNN-NNN/],
    [
      { t: 'signal', to: '123-456-789', sealed: new Uint8Array(2049), punch: true },
      /at most 2048 bytes/,
    ],
    [{ t: 'request', id: 1, operation: { op: 'leave' } }, /^operation.network/],
    [[], /./],
    [7, /./],
  ];
  for (const [value, expected] of table) {
    const result = decodeClientMessage(encodeCbor(value));
    assert.equal(typeof result, 'string');
    assert.match(result as string, expected);
  }
  assert.equal(typeof decodeClientMessage(new Uint8Array(70_000)), 'string');
});

test('names: printable, bounded, normal form, no tricks with direction', () => {
  const good = ['a', 'Ada Lovelace', 'ぶり', 'x'.repeat(64), 'a-b_c.d!', 'é'];
  const bad = ['', ' a', 'a ', 'a\nb', 'a\u0000', '\u001b[31m', 'x'.repeat(65), 'x'.repeat(10_240)];
  bad.push('a\u202eb', 'a\u200bb', 'e\u0301', '\ud800', 'a\u2028b', '\ue000');
  for (const name of good) assert.ok(displayName.safeParse(name).success, JSON.stringify(name));
  for (const name of bad) assert.ok(!displayName.safeParse(name).success, JSON.stringify(name));
});
