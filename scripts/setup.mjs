// Brings a fresh machine to the point where Buri runs: npm packages, the C addon, Debian packages.
// Plain JavaScript that Node 18 can run: the Node that Buri itself needs arrives with `npm ci`.
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { buildNative } from './native.mjs';

export const root = join(dirname(fileURLToPath(import.meta.url)), '..');
export const node = join(root, 'node_modules', '.bin', 'node');

/** Debian packages by purpose: the program that proves it is there, and the package that brings it. */
const debianPackages = {
  build: [
    ['cc', 'gcc'],
    ['/usr/include/linux/if_tun.h', 'libc6-dev'],
  ],
  lab: [
    ['ip', 'iproute2'],
    ['nft', 'nftables'],
    ['ping', 'iputils-ping'],
    ['curl', 'curl'],
    ['conntrack', 'conntrack'],
    ['ethtool', 'ethtool'],
    ['tcpdump', 'tcpdump'],
    ['tinyproxy', 'tinyproxy'],
  ],
  interop: [
    ['wg', 'wireguard-tools'],
    ['wireguard-go', 'wireguard-go'],
    ['iperf3', 'iperf3'],
    ['turnutils_stunclient', 'coturn'],
    ['stun', 'stun-client'],
  ],
  lan: [
    ['avahi-daemon', 'avahi-daemon'],
    ['avahi-browse', 'avahi-utils'],
    ['dbus-daemon', 'dbus'],
    ['nmbd', 'samba'],
    ['nmblookup', 'samba-common-bin'],
    ['miniupnpd', 'miniupnpd-nftables'],
    ['upnpc', 'miniupnpc'],
    ['socat', 'socat'],
    ['/usr/games/chocolate-server', 'chocolate-doom'],
  ],
  cluster: [
    ['/usr/lib/postgresql', 'postgresql'],
    ['nats-server', 'nats-server'],
  ],
  // Both with the first: a compiler has its run-time libraries beside it.
  fuzz: [
    ['clang', 'clang'],
    ['clang', 'libclang-rt-dev'],
  ],
  rivals: [
    ['openvpn', 'openvpn'],
    ['openssl', 'openssl'],
    ['tincd', 'tinc'],
    ['edge', 'n2n'],
  ],
};

const isRoot = process.getuid?.() === 0;

/** `npm ci` when node_modules is absent or was made from another lock file. */
export function ensureNpmPackages() {
  const lock = createHash('sha256')
    .update(readFileSync(join(root, 'package-lock.json')))
    .digest('hex');
  const stamp = join(root, 'node_modules', '.buri-lock');
  if (existsSync(node) && existsSync(stamp) && readFileSync(stamp, 'utf8') === lock) return;
  console.log('setup: npm ci');
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: root, stdio: 'inherit' });
  writeFileSync(stamp, lock);
}

/**
 * Installs what is missing for the named purposes by apt when root.
 * @param {...('build'|'lab'|'interop'|'lan'|'cluster'|'fuzz'|'rivals')} purposes
 * @returns {string[]} the packages that are still missing, said aloud.
 */
export function ensureDebianPackages(...purposes) {
  const wanted = purposes.flatMap((purpose) => debianPackages[purpose]);
  const missing = () => wanted.filter(([probe]) => !present(probe)).map(([, name]) => name);
  const names = missing();
  if (names.length === 0) return [];
  if (isRoot && present('apt-get')) {
    console.log(`setup: apt-get install ${names.join(' ')}`);
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    const apt = (...args) =>
      spawnSync('apt-get', args, { env, stdio: ['ignore', 'ignore', 'inherit'] });
    apt('update', '-q');
    withoutServices(() => apt('install', '-y', '-q', '--no-install-recommends', ...names));
  }
  const left = missing();
  if (left.length > 0) {
    console.log(
      `setup: NOT INSTALLED: ${left.join(' ')} (as root: apt-get install ${left.join(' ')})`,
    );
    console.log('setup: whatever needs them is skipped');
  }
  return left;
}

/** The tests start what they need themselves; a package's service on this machine is nobody's wish. */
function withoutServices(install) {
  const policy = '/usr/sbin/policy-rc.d';
  if (existsSync(policy)) return install();
  writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    return install();
  } finally {
    rmSync(policy, { force: true });
  }
}

/** Everything; returns the Debian packages that are missing. */
export function setup(...purposes) {
  mkdirSync(join(root, 'build'), { recursive: true });
  ensureNpmPackages();
  const missing = ensureDebianPackages('build', ...purposes);
  buildNative();
  return missing;
}

function present(probe) {
  if (probe.startsWith('/')) return existsSync(probe);
  const path = `${process.env.PATH ?? ''}:/usr/local/sbin:/usr/sbin:/sbin`;
  return path.split(':').some((dir) => dir !== '' && existsSync(join(dir, probe)));
}

// With words: Debian packages for these purposes too.
if (process.argv[1] === fileURLToPath(import.meta.url)) setup(...process.argv.slice(2));
