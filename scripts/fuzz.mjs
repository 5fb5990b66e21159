// `npm run fuzz`: everything in C that reads bytes from a wire or a device, fuzzed under AddressSanitizer and UndefinedBehaviorSanitizer,
// and what was found played on the TypeScript twin. Ends with 0 when there is no finding.
//   npm run fuzz                                every target for a minute
//   npm run fuzz -- --seconds 600 --target inbound
//   npm run fuzz -- --hours 8                   as long in all
//   npm run fuzz -- --minimise                  afterwards keeps in native/fuzz/corpus what is needed to reach the same code
// New inputs are kept in build/fuzz/corpus, findings in build/fuzz/findings.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { flags, library, obstacle, sourcePath, targets } from './fuzz-targets.mjs';
import { node, root, setup } from './setup.mjs';

const native = join(root, 'native');
const build = join(root, 'build', 'fuzz');
const findings = join(build, 'findings');

const { names, seconds, minimise } = options(process.argv.slice(2));
setup('fuzz');
if (spawnSync('clang', ['--version'], { stdio: 'ignore' }).status !== 0) {
  console.error('fuzz: clang is missing (Debian: apt install clang libclang-rt-dev)');
  process.exit(1);
}
mkdirSync(findings, { recursive: true });
const failed = names.filter((name) => !fuzz(name, targets[name]));
if (failed.length > 0) console.log(`\nfindings in: ${failed.join(', ')}`);
process.exit(failed.length > 0 ? 1 : 0);

/** Whether there was no finding. */
function fuzz(name, { maxLength, hasTwin }) {
  console.log(`\n── ${name}: ${Math.round(seconds)} s`);
  const why = obstacle(name);
  if (why !== undefined) {
    console.log(`skipped: ${why}`);
    return true;
  }
  const program = join(build, name);
  const sources = [`fuzz/fuzz_${name}`, ...targets[name].sources].map(sourcePath);
  const sanitizers = ['-fsanitize=fuzzer,address,undefined', '-fno-sanitize-recover=undefined'];
  if (!run('clang', [...flags, '-O1', ...sanitizers, '-o', program, ...sources, library])) {
    return false;
  }
  const [seeds, grown] = ['seeds', 'corpus'].map((part) => join(build, part, name));
  const kept = join(native, 'fuzz', 'corpus', name);
  for (const directory of [grown, kept]) mkdirSync(directory, { recursive: true });
  rmSync(seeds, { recursive: true, force: true });
  if (!typescript('fuzz-seeds.ts', name, seeds)) return false;
  const limits = [`-max_len=${maxLength}`, '-timeout=20', '-rss_limit_mb=3000'];
  const artifacts = `-artifact_prefix=${join(findings, `${name}-`)}`;
  const time = `-max_total_time=${Math.ceil(seconds)}`;
  const statistics = '-print_final_stats=1';
  let good = sanitized(program, [...limits, statistics, artifacts, time, grown, kept, seeds]);
  if (minimise) good = merge(program, limits, kept, [seeds, grown]) && good;
  if (!hasTwin) return good;
  return [kept, grown].every((directory) => typescript('fuzz-check.ts', name, directory)) && good;
}

/** Replaces the kept inputs by the fewest that reach the same code as they and the others together. */
function merge(program, limits, kept, others) {
  const fresh = `${kept}.new`;
  rmSync(fresh, { recursive: true, force: true });
  mkdirSync(fresh);
  const merged = sanitized(program, [...limits, '-merge=1', fresh, kept, ...others]);
  if (!merged) return false;
  rmSync(kept, { recursive: true });
  renameSync(fresh, kept);
  console.log(`${shortened(kept)}: ${readdirSync(kept).length} inputs`);
  return true;
}

/** Runs a target and shows of what it says only what one wants to know. */
function sanitized(program, args) {
  const options = { cwd: root, encoding: 'utf8', maxBuffer: 1 << 28 };
  const { status, stderr } = spawnSync(program, args, options);
  const lines = stderr.split('\n');
  const told = status === 0 ? lines.filter((line) => line.startsWith('stat::')) : lines.slice(-60);
  console.log(told.join('\n'));
  return status === 0;
}

function typescript(program, ...args) {
  const path = join(root, 'test', 'support', program);
  return run(node, ['--disable-warning=ExperimentalWarning', path, ...args]);
}

function run(program, args) {
  const options = { cwd: root, stdio: 'inherit', env: { ...process.env, ...environment() } };
  return spawnSync(program, args, options).status === 0;
}

function environment() {
  return { NODE_COMPILE_CACHE: join(root, 'build', 'compile-cache') };
}

function shortened(path) {
  return path.slice(root.length + 1);
}

function options(args) {
  const chosen = [];
  let perTarget = 60;
  let inAll;
  let minimise = false;
  for (let i = 0; i < args.length; i++) {
    const number = Number(args[i + 1]);
    if (args[i] === '--minimise') minimise = true;
    else if (args[i] === '--seconds' && number > 0) perTarget = Number(args[++i]);
    else if (args[i] === '--hours' && number > 0) inAll = Number(args[++i]) * 3600;
    else if (args[i] === '--target' && Object.hasOwn(targets, args[i + 1] ?? ''))
      chosen.push(args[++i]);
    // Of other parts of the nightly run.
    else if (['--gigabytes', '--seed'].includes(args[i])) i++;
    else usage(args[i]);
  }
  const names = chosen.length > 0 ? chosen : Object.keys(targets);
  return { names, seconds: inAll === undefined ? perTarget : inAll / names.length, minimise };
}

function usage(wrong) {
  const asked = wrong === '--help';
  if (!asked) console.error(`fuzz: '${wrong}' is no option, or its value is wrong`);
  console.log('usage: npm run fuzz -- [--target NAME]… [--seconds N | --hours N] [--minimise]');
  console.log(`targets: ${Object.keys(targets).join(', ')}`);
  process.exit(asked ? 0 : 2);
}
