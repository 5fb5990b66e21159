import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../.cache/bench', import.meta.url));

/** A program to measure, and what to call it in tables. */
export interface Program {
  readonly binary: string;
  readonly name: string;
}

/**
 * A program as Debian unstable has it, unpacked into a cache directory and not installed: Debian stable's may be years old and several
 * times slower. Falls back to the installed one, and says so in its name; undefined without any. For statically linked programs only.
 */
export function findUnstable(program: string): Program | undefined {
  const binary = join(CACHE, 'root', 'usr', 'bin', program);
  try {
    if (!existsSync(binary)) fetch(program);
    return { binary, name: `${program} ${versionOf(program)} (Debian unstable)` };
  } catch (error) {
    console.error(`bench: fetching Debian unstable's ${program} failed: ${String(error)}`);
  }
  const installed = `/usr/bin/${program}`;
  return existsSync(installed)
    ? { binary: installed, name: `${program} (INSTALLED, may be old)` }
    : undefined;
}

function fetch(name: string): void {
  const directories = ['sources', 'lists/partial', 'cache/archives/partial', 'root'];
  for (const directory of directories) mkdirSync(join(CACHE, directory), { recursive: true });
  const sources = readFileSync('/etc/apt/sources.list.d/debian.sources', 'utf8');
  // Unstable has no security archive of its own.
  const archive = sources.split(/\n\n+/).find((stanza) => !/^URIs:.*security/m.test(stanza)) ?? '';
  const unstable = `${archive.replace(/^Suites:.*$/m, 'Suites: sid')}\n`;
  writeFileSync(join(CACHE, 'sources', 'sid.sources'), unstable);
  const options = [
    'Dir::Etc::sourcelist=/dev/null',
    `Dir::Etc::sourceparts=${join(CACHE, 'sources')}`,
    `Dir::State::lists=${join(CACHE, 'lists')}`,
    `Dir::Cache=${join(CACHE, 'cache')}`,
    'APT::Sandbox::User=root',
  ].flatMap((option) => ['-o', option]);
  const apt = (...args: string[]) =>
    execFileSync('apt-get', [...options, ...args], { cwd: CACHE, stdio: 'ignore' });
  apt('update');
  apt('download', name);
  execFileSync('dpkg', ['-x', join(CACHE, packageOf(name)), join(CACHE, 'root')]);
}

const versionOf = (name: string): string => packageOf(name).split('_')[1]!;

/** The file of a package that was fetched. */
function packageOf(name: string): string {
  const file = readdirSync(CACHE).find((entry) => entry.startsWith(`${name}_`));
  if (file === undefined) throw new Error('no package came');
  return file;
}
