/** Thousands of random scenarios of paths, relays and NATs, on every core. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { nightlyOptions } from './options.ts';

const defaultCount = 10_000;
const { seed = 1, count = defaultCount } = nightlyOptions();
const program = join(import.meta.dirname, '../../sim/run-paths.ts');
const args = [program, '--seed', `${seed}`, '--count', `${count}`];
const quiet = '--disable-warning=ExperimentalWarning';
process.exit(spawnSync(process.execPath, [quiet, ...args], { stdio: 'inherit' }).status ?? 1);
