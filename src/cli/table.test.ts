import assert from 'node:assert/strict';
import { test } from 'node:test';
import { coloured, facts, plain, table } from './table.ts';
import { columns } from './text.ts';

test('columns are aligned by width on the screen, and no line ends in spaces', () => {
  const text = table(
    [
      ['a', '名前', 'x'],
      ['bbb', 'n', ''],
      ['', 'anna', 'end'],
    ],
    plain,
    '  ',
  );
  assert.equal(text, '  a    名前  x\n  bbb  n\n       anna  end\n');
});

test('colours do not change the alignment', () => {
  const rows = [
    [['*', 'green'], 'one', ['direct', 'green']],
    [['-', 'grey'], 'three', ['offline', 'grey']],
  ] as const;
  const painted = table(rows, coloured);
  assert.match(painted, /\u001b\[32m\*\u001b\[39m/);
  assert.equal(painted.replace(/\u001b\[\d+m/g, ''), table(rows, plain));
});

test('a hostile cell neither moves the cursor nor pushes other columns away', () => {
  const text = table(
    [
      ['\u001b[2J\r\n', 'next'],
      ['x'.repeat(10_000), 'next'],
    ],
    plain,
  );
  const lines = text.split('\n');
  assert.equal(lines.length, 3);
  assert.doesNotMatch(text.replaceAll('\n', ''), /[\u0000-\u001f]/);
  for (const line of lines.slice(0, 2)) assert.ok(columns(line) <= 64 + 2 + 4, line);
});

test('facts leave out names without values and put each further value on its own line', () => {
  const text = facts(
    [
      ['addresses', '100.64.0.1', 'fd62::1'],
      ['notices'],
      ['key', undefined],
      ['nickname', ['anna', 'bold']],
    ],
    plain,
  );
  assert.equal(text, '  addresses  100.64.0.1\n             fd62::1\n  nickname   anna\n');
});
