/** The laboratory's own C programs, compiled by the system's compiler when they are first needed. */
import { existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { environment, execChecked, repositoryRoot } from './exec.ts';

const sourceDirectory = join(repositoryRoot, 'lab', 'native');
const outputDirectory = join(repositoryRoot, 'build', 'lab');

/** What each is made of, besides the file of its name. */
const parts = {
  'ethernet-frames': [],
  'impairment-router': ['commands', 'policy', 'frame', 'hold'],
  'impairment-trial': ['policy', 'hold'],
  'nat-trial': ['nat-packet', 'nat-table', 'siphash'],
  'udp-flow': ['siphash'],
  'userspace-nat': ['commands', 'nat-packet', 'nat-table', 'siphash'],
} as const;

/** Built to stop at the first byte read or written where none belongs. */
const sanitized: ReadonlySet<string> = new Set<keyof typeof parts>(['nat-trial']);
const sanitizers = ['-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all'];

export type NativeProgram = keyof typeof parts;

const building = new Map<NativeProgram, Promise<string>>();

/** For `{ skip: … }`: why they cannot be compiled here, or false when they can. */
export function nativeSkipReason(): string | false {
  const path = (environment().PATH ?? '').split(':');
  const missing = [compiler(), 'ethtool'].filter(
    (name) => !path.some((dir) => existsSync(join(dir, name))),
  );
  return missing.length > 0 && `the lab needs ${missing.join(', ')}`;
}

/** Compiles a program unless that was done since its sources changed. Returns its path. */
export function nativeProgram(name: NativeProgram): Promise<string> {
  const under = building.get(name) ?? build(name);
  building.set(name, under);
  return under;
}

async function build(name: NativeProgram): Promise<string> {
  const output = join(outputDirectory, name);
  const files = readdirSync(sourceDirectory).map((file) => join(sourceDirectory, file));
  const newest = Math.max(...files.map((file) => statSync(file).mtimeMs));
  if (existsSync(output) && statSync(output).mtimeMs > newest) return output;
  mkdirSync(outputDirectory, { recursive: true });
  // Another process may be doing the same.
  const partial = `${output}.${process.pid}`;
  const sources = [name, ...parts[name]].map((file) => join(sourceDirectory, `${file}.c`));
  const options = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror=implicit'];
  if (sanitized.has(name)) options.push(...sanitizers);
  const args = [...options, '-o', partial, ...sources, '-lm'];
  await execChecked(compiler(), args, { timeoutMs: 120_000 });
  renameSync(partial, output);
  return output;
}

function compiler(): string {
  return process.env.CC ?? 'cc';
}
