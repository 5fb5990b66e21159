// Compiles the C addon with the system's C compiler and the headers of the npm package node-api-headers.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const sourceDir = join(root, 'native');
const output = join(root, 'build', 'buri.node');

/** Builds `build/buri.node` when a source is newer; says so and goes on where there is no compiler. */
export function buildNative() {
  if (process.platform !== 'linux' || compileAddon(output)) return;
  console.log(
    'setup: NO NATIVE ADDON (no working C compiler); only the slow portable engine is there',
  );
}

/**
 * Compiles the addon when a source is newer.
 * @param {string} output where it goes
 * @param {readonly string[]} moreSources for a variant that is measured
 * @returns {boolean} whether it is there and new
 */
export function compileAddon(output, moreSources = []) {
  const files = readdirSync(sourceDir)
    .filter((name) => /\.[ch]$/.test(name))
    .map((name) => join(sourceDir, name))
    .concat(moreSources);
  const sources = files.filter((name) => name.endsWith('.c'));
  const newest = Math.max(...files.map((name) => statSync(name).mtimeMs));
  if (existsSync(output) && statSync(output).mtimeMs > newest) return true;
  mkdirSync(dirname(output), { recursive: true });
  const compiler = process.env.CC ?? 'cc';
  const partial = `${output}.${process.pid}`;
  const args = [
    ...['-std=gnu11', '-O3', '-fPIC', '-shared', '-fvisibility=hidden', '-fno-strict-aliasing'],
    ...['-fstack-protector-strong', '-D_FORTIFY_SOURCE=2', '-Wall', '-Wextra', '-Werror=implicit'],
    ...['-DNAPI_VERSION=9', `-I${join(root, 'node_modules', 'node-api-headers', 'include')}`],
    ...['-o', partial, ...sources, '-Wl,-z,relro,-z,now'],
  ];
  console.log(`setup: compiling native/ to ${relative(root, output)}`);
  const result = spawnSync(compiler, args, { stdio: 'inherit' });
  if (result.error !== undefined || result.status !== 0) return false;
  renameSync(partial, output);
  return true;
}

// With words: OUTPUT and more sources.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [to, ...moreSources] = process.argv.slice(2);
  if (to === undefined) buildNative();
  else if (!compileAddon(to, moreSources)) process.exitCode = 1;
}
