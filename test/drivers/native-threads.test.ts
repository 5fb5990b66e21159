/** What the threads of an engine share of a key, checked in C under ThreadSanitizer. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const run = fileURLToPath(new URL('../../native/threads/run.sh', import.meta.url));
const skip =
  process.platform === 'linux' && spawnSync('clang', ['--version']).status === 0
    ? false
    : 'needs clang with ThreadSanitizer on Linux';

test('threads seal each counter once and accept each packet once', { skip }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'buri-threads-'));
  try {
    const env = { ...process.env, BUILD: directory };
    const output = execFileSync(run, { encoding: 'utf8', env, stdio: ['ignore', 'pipe', 'pipe'] });
    assert.equal(output.match(/: each of [0-9]+ counters once$/gm)?.length, 7, output);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
