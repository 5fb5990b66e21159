import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

const source = new URL('../', import.meta.url).pathname;
/** Imports are the business of the layer rule; these need none. */
const forbidden = [
  /\bDate\b/,
  /\bperformance\b/,
  /\bset(Timeout|Interval|Immediate)\b/,
  /\bqueueMicrotask\b/,
  /\bMath\.random\b/,
  /\b(globalThis|process|Buffer|console|fetch|WebSocket)\b/,
  /\bcrypto\.(getRandomValues|randomUUID|subtle)\b/,
  /\b(async|await|Promise)\b/,
];

/** The code alone: comments and the contents of quoted text say what they like. */
function codeOf(text: string): string {
  return text
    .replace(/\/\*[\s\S]*?\*\//g, '')
    .replace(/\/\/.*$/gm, '')
    .replace(/'(?:\\.|[^'\\\n])*'/g, "''")
    .replace(/`(?:\\.|[^`\\])*`/g, (template) =>
      [...template.matchAll(/\$\{([^}]*)\}/g)].map(([, inserted]) => inserted).join(';'),
    );
}

for (const layer of ['wire', 'core']) {
  test(`${layer} knows no clock, timer, chance, process or promise`, () => {
    const files = readdirSync(join(source, layer), { recursive: true, encoding: 'utf8' });
    const sources = files.filter((name) => name.endsWith('.ts') && !name.endsWith('.test.ts'));
    assert.ok(sources.length > 5, 'the sources are found');
    for (const name of sources) {
      const lines = codeOf(readFileSync(join(source, layer, name), 'utf8'));
      for (const pattern of forbidden) {
        assert.doesNotMatch(lines, pattern, `${layer}/${name}`);
      }
    }
  });
}

test('the check sees code and not comments', () => {
  assert.match(codeOf('const now = Date.now(); // fine'), /Date/);
  assert.doesNotMatch(codeOf("/* Date */ const text = 'Date'; // Date"), /Date/);
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is code that is looked at
  assert.match(codeOf('const text = `in ${Date.now()}`;'), /Date/);
  assert.doesNotMatch(codeOf('const text = `a Date`;'), /Date/);
});
