/**
 * Everything that this project says about its speed, one bench after the other, each with its own table. About 70 minutes at the defaults
 * of all; `--quick` takes one short round of each to see that they run.
 *
 *   npm run bench [-- --quick]
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const { values } = parseArgs({ options: { quick: { type: 'boolean', default: false } } });

const BENCHES = [
  ['tunnel'],
  ['tunnel', '--scenario', 'loaded,parallel,bidir,uso,segmenting,gro,ipv6'],
  [
    'tunnel',
    '--scenario',
    'bad-lines',
    '--only',
    'buri-aes,wireguard-go,cable',
    '--reference',
    'cable',
  ],
  ['rivals'],
  ['sessions'],
  ['fan-out'],
  ['memory'],
] as const;
const TIMED = new Set(['tunnel', 'rivals', 'sessions', 'fan-out']);

const directory = fileURLToPath(new URL('../build/bench/', import.meta.url));
mkdirSync(directory, { recursive: true });
let failed = false;
for (const [i, [name, ...options]] of BENCHES.entries()) {
  const quick = ['--rounds', '1', ...(TIMED.has(name) ? ['--seconds', '1'] : [])];
  const file = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  const more = [...(values.quick ? quick : []), '--json', `${directory}${i}-${name}.json`];
  console.log(`\n## ${[name, ...options].join(' ')}\n`);
  const { status } = spawnSync(process.execPath, [file, ...options, ...more], { stdio: 'inherit' });
  failed ||= status !== 0;
}
console.log(`\nJSON of each: ${directory}`);
process.exit(failed ? 1 : 0);
