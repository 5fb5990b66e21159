// `npm run nightly`: what takes too long for `npm test`.
//   npm run nightly                                   every part, one after the other
//   npm run nightly -- soak --hours 8                 these parts
//   npm run nightly -- flow-integrity --gigabytes 10
// A part is a program of its own; it gets the options and ends with 0 when all was well. Plain JavaScript that an older Node can run:
// the pinned Node arrives with the set-up.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { node, root, setup } from './setup.mjs';

/** A part: its program, what it does and options that it has unless told otherwise, in the order of a whole night. */
const parts = {
  cluster: [
    'test/nightly/cluster.ts',
    'three nodes under random operations and faults: what was acknowledged is there, once (half an hour unless told otherwise)',
  ],
  'flow-integrity': [
    'test/nightly/flow-integrity.ts',
    'gigabytes through a tunnel over a bad line',
  ],
  fuzz: [
    'scripts/fuzz.mjs',
    'the fuzzers of everything in C that reads what others sent',
    '--hours',
    '2',
  ],
  paths: [
    'test/nightly/paths.ts',
    'random scenarios of paths, relays and NATs (--count, 10,000 unless told otherwise)',
  ],
  survival: [
    'test/nightly/survival.ts',
    'the server dead for ten minutes under 105 tunnels (--hours), cold starts (--count), an eviction that members pass on',
    '--count',
    '20',
  ],
  soak: ['test/nightly/soak.ts', 'hours of mixed traffic with rekeys, roams and restarts'],
};
/** Options that every part understands, or has no use for. */
const options = new Set(['--hours', '--gigabytes', '--seed', '--count']);

const chosen = [];
const passedOn = [];
const args = process.argv.slice(2);
for (let i = 0; i < args.length; i++) {
  if (Object.hasOwn(parts, args[i])) chosen.push(args[i]);
  else if (options.has(args[i]) && Number(args[i + 1]) > 0) passedOn.push(args[i], args[++i]);
  else usage(args[i]);
}

setup('lab', 'cluster');
const failed = [];
for (const name of chosen.length > 0 ? chosen : Object.keys(parts)) {
  const [program, what, ...defaults] = parts[name];
  console.log(`\n── ${name}: ${what}`);
  const run = [
    '--disable-warning=ExperimentalWarning',
    join(root, program),
    ...defaults,
    ...passedOn,
  ];
  const ok = await ends(spawn(node, run, { cwd: root, stdio: 'inherit', env: environment() }));
  if (!ok) failed.push(name);
  console.log(`${ok ? '✔' : '✖'} ${name}`);
}
if (failed.length > 0) console.log(`\nfailed: ${failed.join(', ')}`);
process.exit(failed.length > 0 ? 1 : 0);

/** Whether it ended well. A signal that is to end this process ends the part first, so that it can tidy up. */
async function ends(child) {
  let interrupted = false;
  const forward = (signal) => {
    interrupted = true;
    // Ctrl-C reaches both by itself.
    if (signal !== 'SIGINT') child.kill(signal);
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'];
  for (const signal of signals) process.on(signal, forward);
  const code = await new Promise((resolve) => {
    child.on('exit', resolve).on('error', () => resolve(127));
  });
  for (const signal of signals) process.off(signal, forward);
  if (interrupted) process.exit(1);
  return code === 0;
}

function usage(wrong) {
  const asked = wrong === '--help';
  if (!asked) console.error(`nightly: '${wrong}' is no part and no option with a number`);
  console.log(
    'usage: npm run nightly -- [PART…] [--hours N] [--gigabytes N] [--seed N] [--count N]',
  );
  for (const [name, [, what]] of Object.entries(parts)) console.log(`  ${name.padEnd(16)}${what}`);
  process.exit(asked ? 0 : 2);
}

function environment() {
  return { ...process.env, NODE_COMPILE_CACHE: join(root, 'build', 'compile-cache') };
}
