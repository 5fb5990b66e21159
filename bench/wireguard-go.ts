import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../.cache/bench', import.meta.url));
const BINARY = join(CACHE, 'root', 'usr', 'bin', 'wireguard-go');

export interface WireguardGo {
  readonly binary: string;
  /** For tables: says which one it is. */
  readonly name: string;
}

/**
 * The current wireguard-go: Debian unstable's package, unpacked into a cache directory and not installed. Debian stable's is
 * years old and several times slower. Falls back to the installed one, and says so in its name; undefined without any.
 */
export function findWireguardGo(): WireguardGo | undefined {
  try {
    if (!existsSync(BINARY)) fetch();
    const version = readFileSync(join(CACHE, 'version'), 'utf8').trim();
    return { binary: BINARY, name: `wireguard-go ${version} (Debian unstable)` };
  } catch (error) {
    console.error(`bench: fetching Debian unstable's wireguard-go failed: ${String(error)}`);
  }
  if (!existsSync('/usr/bin/wireguard-go')) return undefined;
  return { binary: '/usr/bin/wireguard-go', name: 'wireguard-go (INSTALLED, may be old)' };
}

function fetch(): void {
  const directories = ['sources', 'lists/partial', 'cache/archives/partial', 'root'];
  for (const name of directories) mkdirSync(join(CACHE, name), { recursive: true });
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
  apt('download', 'wireguard-go');
  const deb = readdirSync(CACHE).find((name) => name.endsWith('.deb'));
  if (deb === undefined) throw new Error('no package came');
  execFileSync('dpkg', ['-x', join(CACHE, deb), join(CACHE, 'root')]);
  writeFileSync(join(CACHE, 'version'), deb.split('_')[1] ?? 'of unknown version');
}
