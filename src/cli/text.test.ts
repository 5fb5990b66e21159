import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { columns, elide, jsonLine, oneLine, printable } from './text.ts';

const dangerous =
  /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069\u200b-\u200f\u2028\u2029]/u;

test('whatever text arrives, nothing a terminal obeys is printed', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.doesNotMatch(printable(text), dangerous);
      assert.doesNotMatch(oneLine(text), dangerous);
      assert.doesNotMatch(jsonLine({ text }).slice(0, -1), dangerous);
    }),
    { numRuns: 2_000 },
  );
});

test('escape sequences lose their escape and keep their text', () => {
  assert.equal(printable('\u001b[31mred\u001b[0m'), '\u{fffd}[31mred\u{fffd}[0m');
  assert.equal(printable('a\u009b2Jb'), 'a\u{fffd}2Jb');
  assert.equal(printable('anna\u202egnp.exe'), 'anna\u{fffd}gnp.exe');
  assert.equal(printable('one\ntwo\ttab'), 'one\u{fffd}two\u{fffd}tab');
});

test('ordinary names of every script stay as they are', () => {
  for (const name of ['Anna', 'Привет', '名前', 'José', 'a b', '🐙', 'مرحبا']) {
    assert.equal(printable(name), name);
  }
});

test('a message of several lines becomes one', () => {
  assert.equal(oneLine('first\n  second\r\nthird\n'), 'first second third');
});

test('a line of JSON parses to what it was made from, whatever it contains', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.string({ unit: 'grapheme' }), (value, text) => {
      const line = jsonLine({ value, text });
      assert.equal(line.indexOf('\n'), line.length - 1);
      assert.deepEqual(JSON.parse(line), JSON.parse(JSON.stringify({ value, text })));
    }),
  );
});

test('columns counts wide characters twice and combining marks not at all', () => {
  const cases: readonly (readonly [string, number])[] = [
    ['', 0],
    ['abc', 3],
    ['名前', 4],
    ['ｆｕｌｌ', 8],
    ['한글', 4],
    ['🐙', 2],
    ['e\u0301', 1],
    ['…', 1],
    ['𠮷', 2],
  ];
  for (const [text, width] of cases) assert.equal(columns(text), width, text);
});

test('elide keeps what fits and marks what it cut', () => {
  assert.equal(elide('abcdef', 6), 'abcdef');
  assert.equal(elide('abcdefg', 6), 'abcde…');
  assert.equal(elide('名前名前', 6), '名前…');
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme' }), fc.integer({ min: 2, max: 40 }), (text, max) => {
      const cut = elide(printable(text), max);
      assert.ok(columns(cut) <= max, `${cut} takes ${columns(cut)} columns`);
    }),
  );
});
