import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatAddress } from '#wire/endpoint.ts';
import { PrefixTable, parsePrefix } from './prefix-table.ts';

function lookup(table: PrefixTable, address: string): number {
  const { family, words } = parsePrefix(address)!;
  return table.lookup(family, words, 0);
}

function tableOf(entries: Readonly<Record<string, number>>): PrefixTable {
  const table = new PrefixTable();
  for (const [prefix, value] of Object.entries(entries)) table.set(parsePrefix(prefix)!, value);
  return table;
}

describe('the prefix table', () => {
  test('finds the longest prefix that contains an address', () => {
    const table = tableOf({
      '100.64.0.1': 1,
      '100.64.0.0/24': 2,
      '0.0.0.0/0': 3,
      '10.0.0.0/8': 4,
      'fd62:7572:6900::6440:1': 5,
      'fd62:7572:6900::/96': 6,
    });
    const expected = {
      '100.64.0.1': 1,
      '100.64.0.2': 2,
      '100.64.1.1': 3,
      '10.255.255.255': 4,
      '255.255.255.255': 3,
      'fd62:7572:6900::6440:1': 5,
      'fd62:7572:6900::6440:2': 6,
      'fd62:7572:6901::': -1,
      '::': -1,
    };
    for (const [address, value] of Object.entries(expected)) {
      assert.equal(lookup(table, address), value, address);
    }
  });

  test('clears host bits of a prefix and refuses what is none', () => {
    assert.equal(lookup(tableOf({ '10.1.2.3/8': 1 }), '10.9.9.9'), 1);
    for (const text of [
      '',
      '10.0.0.0/33',
      '10.0.0.0/-1',
      '10.0.0.0/',
      '10.0.0.0/08',
      '::/129',
      'x',
      '1.2.3.4/8/9',
    ]) {
      assert.equal(parsePrefix(text), undefined, text);
    }
  });

  test('a later owner of a prefix wins, and the former cannot take it away', () => {
    const table = tableOf({ '10.0.0.1': 1 });
    const prefix = parsePrefix('10.0.0.1')!;
    table.set(prefix, 2);
    table.delete(prefix, 1);
    assert.equal(lookup(table, '10.0.0.1'), 2);
    table.delete(prefix, 2);
    assert.equal(lookup(table, '10.0.0.1'), -1);
  });

  test('answers like a list that is searched, after any sets and deletes', () => {
    const address = fc
      .tuple(fc.boolean(), fc.uint8Array({ minLength: 16, maxLength: 16, max: 3 }))
      .map(([v4, bytes]) => (v4 ? bytes.slice(0, 4) : Uint8Array.of(0x20, ...bytes.slice(1))));
    const step = fc.record({
      address,
      cut: fc.integer({ min: 0, max: 128 }),
      value: fc.nat(3),
      remove: fc.boolean(),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80 }),
        fc.array(address, { maxLength: 20 }),
        (steps, asked) => {
          const table = new PrefixTable();
          const list = new Map<string, number>();
          for (const { address: bytes, cut, value, remove } of steps) {
            const text = `${formatAddress(bytes)}/${Math.min(cut, bytes.length * 8)}`;
            const prefix = parsePrefix(text)!;
            const name = `${prefix.family} ${prefix.words.join()} ${prefix.lengthBits}`;
            if (remove) {
              table.delete(prefix, value);
              if (list.get(name) === value) list.delete(name);
            } else {
              table.set(prefix, value);
              list.set(name, value);
            }
          }
          for (const bytes of asked) {
            const { family, words } = parsePrefix(formatAddress(bytes))!;
            assert.equal(table.lookup(family, words, 0), search(list, bytes));
          }
        },
      ),
      { seed: 42, numRuns: 300 },
    );
  });
});

/** The obvious way: every prefix from the longest to the shortest. */
function search(list: ReadonlyMap<string, number>, address: Uint8Array): number {
  for (let bits = address.length * 8; bits >= 0; bits--) {
    const { family, words } = parsePrefix(`${formatAddress(address)}/${bits}`)!;
    const value = list.get(`${family} ${words.join()} ${bits}`);
    if (value !== undefined) return value;
  }
  return -1;
}
