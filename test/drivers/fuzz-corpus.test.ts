/** Every input that the fuzzers kept: on the addon and on its twin, and on the targets themselves under the compiler's sanitizers. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import {
  flags,
  library,
  obstacle,
  sourcePath,
  type TargetName,
  targets,
} from '../../scripts/fuzz-targets.mjs';
import { FuzzCheck, TWIN_TARGETS } from '../support/fuzz-check.ts';

const corpus = fileURLToPath(new URL('../../native/fuzz/corpus/', import.meta.url));

const compiler = process.env.CC ?? 'cc';

describe('addon and twin', () => {
  const check = new FuzzCheck();
  for (const target of TWIN_TARGETS) {
    test(`agree on what the fuzzer of ${target} packets found`, () => {
      const files = readdirSync(`${corpus}${target}`).sort();
      let results = 0;
      for (const file of files) {
        try {
          results += check.compare(target, readFileSync(`${corpus}${target}/${file}`));
        } catch (error) {
          throw new Error(`native/fuzz/corpus/${target}/${file}`, { cause: error });
        }
      }
      assert.ok(files.length >= 50, `only ${files.length} inputs`);
      assert.ok(results >= 100, `only ${results} runs, units or sends came of them`);
    });
  }
});

describe('the fuzz targets', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'buri-fuzz-'));
  const names = Object.keys(targets) as TargetName[];
  const sanitizers = ['-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'];
  after(() => rmSync(scratch, { recursive: true }));
  /** What the compiler had against it. */
  const compile = (...args: readonly string[]): string | undefined => {
    const options = { cwd: scratch, encoding: 'utf8' } as const;
    const { status, stderr } = spawnSync(compiler, [...flags, ...sanitizers, ...args], options);
    return status === 0 ? undefined : (stderr ?? 'no compiler');
  };
  let error: string | undefined;
  before(() => {
    const sources = new Set(['fuzz/replay', ...names.flatMap((name) => targets[name].sources)]);
    error = compile('-c', ...[...sources].map(sourcePath));
  });

  for (const name of names) {
    test(`find nothing in what was kept of ${name}`, (t) => {
      const why = obstacle(name);
      if (why !== undefined) return t.skip(why);
      const objects = ['replay', ...targets[name].sources].map((source) => `${source}.o`);
      error ??= compile('-o', name, sourcePath(`fuzz/fuzz_${name}`), ...objects, library);
      if (error !== undefined && /lib(asan|ubsan|crypto)/.test(error)) {
        return t.skip('the compiler has no sanitizers, or the system no libcrypto.so.3');
      }
      assert.equal(error, undefined);
      const files = readdirSync(`${corpus}${name}`).map((file) => `${corpus}${name}/${file}`);
      const replayed = spawnSync(join(scratch, name), files, { encoding: 'utf8' });
      assert.equal(replayed.status, 0, replayed.stderr.slice(-4_000));
      assert.equal(replayed.stdout, `${files.length} inputs\n`);
    });
  }
});
