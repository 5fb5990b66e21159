// `npm test`: sets up what is missing, then runs the levels in order and prints the totals.
//   npm test                      everything
//   npm test -- --level 2         one level (0 checks, 1 unit, 3 world, 4 drivers, 5 lab)
//   npm test -- FILE…             these test files only
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { globSync } from './glob.mjs';
import { node, root, setup } from './setup.mjs';

const args = process.argv.slice(2);
const levelArgument = args.includes('--level')
  ? Number(args[args.indexOf('--level') + 1])
  : undefined;
const files = args.filter((arg) => arg.endsWith('.test.ts'));

setup('lab', 'interop', 'lan', 'cluster');

const levels = [
  { level: 0, name: 'format, lint, types, layers' },
  {
    level: 1,
    name: 'vectors, tables, machines under virtual time (levels 1 and 2)',
    under: 'src',
    concurrency: 2,
  },
  { level: 3, name: 'world simulation', under: 'sim', concurrency: 2 },
  { level: 4, name: 'drivers on real parts', under: 'test/drivers', concurrency: 2 },
  { level: 5, name: 'lab: real programs in network namespaces', under: 'test/lab', concurrency: 2 },
];
const total = { passed: 0, failed: 0, skipped: 0 };
const scratch = mkdtempSync(join(tmpdir(), 'buri-test-'));

if (files.length > 0) run('chosen files', files, 1);
else {
  for (const { level, name, under, concurrency } of levels) {
    if (levelArgument !== undefined && level !== levelArgument) continue;
    if (level === 0) checks(name);
    else run(name, globSync(join(root, under), '.test.ts'), concurrency);
  }
}
rmSync(scratch, { recursive: true, force: true });
console.log(`\n${total.passed} passed, ${total.failed} failed, ${total.skipped} skipped`);
process.exit(total.failed > 0 || total.passed === 0 ? 1 : 0);

function checks(name) {
  console.log(`\n── ${name}`);
  const bin = (tool) => join(root, 'node_modules', '.bin', tool);
  const commands = [
    ['format and lint', bin('biome'), ['check', '--error-on-warnings', '.']],
    ['types', join(root, 'node_modules', 'typescript-checker', 'bin', 'tsc'), ['-p', root]],
    ['layers', node, [bin('depcruise'), '--config', '.dependency-cruiser.cjs', 'src']],
  ];
  for (const [title, command, commandArgs] of commands) {
    const result = spawnSync(command, commandArgs, {
      cwd: root,
      stdio: 'inherit',
      env: environment(),
    });
    const ok = result.status === 0;
    console.log(`${ok ? '✔' : '✖'} ${title}`);
    total[ok ? 'passed' : 'failed']++;
  }
}

function run(name, testFiles, concurrency) {
  console.log(`\n── ${name}`);
  if (testFiles.length === 0) return;
  const counts = join(scratch, 'counts.json');
  const started = Date.now();
  const result = spawnSync(
    node,
    [
      ...['--disable-warning=ExperimentalWarning', '--test', `--test-concurrency=${concurrency}`],
      ...['--test-timeout=600000', '--test-reporter=spec', '--test-reporter-destination=stdout'],
      ...[`--test-reporter=${join(root, 'scripts', 'count-reporter.mjs')}`],
      ...[`--test-reporter-destination=${counts}`, ...testFiles],
    ],
    { cwd: root, stdio: 'inherit', env: environment() },
  );
  let counted = { passed: 0, failed: 0, skipped: 0 };
  try {
    counted = JSON.parse(readFileSync(counts, 'utf8'));
  } catch {}
  if (result.status !== 0 && counted.failed === 0) counted.failed = 1;
  for (const key of Object.keys(total)) total[key] += counted[key];
  console.log(`── ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

function environment() {
  const path = `${join(root, 'node_modules', '.bin')}:${process.env.PATH}:/usr/sbin:/sbin`;
  const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, ...rest } = process.env;
  return { ...rest, PATH: path, NODE_COMPILE_CACHE: join(root, 'build', 'compile-cache') };
}
