import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Contender,
  innerAddress,
  type Side,
  type Tunnel,
  tunnelOf,
  until,
} from './contenders.ts';
import { findUnstable } from './debian-unstable.ts';
import { inside, outerAddress, type Pair, run, spawnInside } from './namespaces.ts';

/**
 * Other VPNs over IPv4, each with the defaults of its manual and AES where it lets one choose; undefined when the program is not
 * here. Their keys live in a directory that goes with the tunnel.
 */
export const RIVALS: Readonly<Record<string, () => Contender | undefined>> = {
  nebula: () => {
    const nebula = findUnstable('nebula');
    return (
      nebula && rival(`${nebula.name}, AES-256-GCM`, (...on) => startNebula(nebula.binary, ...on))
    );
  },
  openvpn: () => {
    const path = installed('openvpn');
    if (path === undefined) return undefined;
    const version = /OpenVPN (\S+)/.exec(outputOf(path, '--version'))?.[1];
    return rival(`OpenVPN ${version}, userspace (no DCO), AES-256-GCM`, startOpenvpn);
  },
  tinc: () => {
    const path = installed('tincd');
    if (path === undefined) return undefined;
    const version = /tinc version (\S+)/.exec(outputOf(path, '--version'))?.[1];
    return rival(`tinc ${version}, AES-256-CBC, SHA-256`, startTinc);
  },
  n2n: () => {
    if (installed('edge') === undefined || installed('supernode') === undefined) return undefined;
    return rival(`n2n ${packageVersion('n2n')}, its default cipher`, startN2n);
  },
};

const BOTH = ['a', 'b'] as const;

type Start = (pair: Pair, directory: string) => Promise<Tunnel>;

function rival(name: string, start: Start): Contender {
  const started = async (pair: Pair): Promise<Tunnel> => {
    const directory = mkdtempSync(join(tmpdir(), 'buri-bench-'));
    const remove = (): void => rmSync(directory, { recursive: true });
    try {
      const { pids, stop } = await start(pair, directory);
      return { pids, stop: () => stop().finally(remove) };
    } catch (error) {
      remove();
      throw error;
    }
  };
  return { name, families: [4], start: started };
}

async function startNebula(binary: string, pair: Pair, directory: string): Promise<Tunnel> {
  const file = (name: string): string => join(directory, name);
  const cert = (...args: string[]) => run(`${binary}-cert`, ...args);
  const ca = ['-out-crt', file('ca.crt'), '-out-key', file('ca.key')];
  cert('ca', '-name', 'bench', ...ca);
  const children = BOTH.map((side) => {
    const out = ['-out-crt', file(`${side}.crt`), '-out-key', file(`${side}.key`)];
    const signer = ['-ca-crt', file('ca.crt'), '-ca-key', file('ca.key')];
    cert('sign', ...signer, '-name', side, '-networks', `${innerAddress(side, 4)}/24`, ...out);
    const everything = [{ port: 'any', proto: 'any', host: 'any' }];
    const config = {
      pki: { ca: file('ca.crt'), cert: file(`${side}.crt`), key: file(`${side}.key`) },
      static_host_map: { [innerAddress('b', 4)]: [`${outerAddress('b', 4)}:4242`] },
      lighthouse: {
        am_lighthouse: side === 'b',
        hosts: side === 'a' ? [innerAddress('b', 4)] : [],
      },
      listen: { host: '0.0.0.0', port: 4242 },
      cipher: 'aes',
      tun: { dev: `nb${process.pid}${side}` },
      firewall: { outbound: everything, inbound: everything },
      logging: { level: 'error' },
    };
    // JSON is YAML.
    writeFileSync(file(`${side}.yml`), JSON.stringify(config));
    return start(pair, side, [binary, '-config', file(`${side}.yml`)]);
  });
  return tunnelOf(children, () => addressesOf(pair));
}

async function startOpenvpn(pair: Pair, directory: string): Promise<Tunnel> {
  const [key, certificate] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  const files = ['-keyout', key, '-out', certificate];
  run('openssl', 'req', '-x509', ...curve, ...files, '-days', '30', '-subj', '/CN=bench');
  const shown = run('openssl', 'x509', '-in', certificate, '-noout', '-fingerprint', '-sha256');
  const fingerprint = shown.trim().replace(/.*=/, '');
  const common = [
    ...['--dev-type', 'tun', '--proto', 'udp', '--cert', certificate, '--key', key],
    ...['--peer-fingerprint', fingerprint, '--data-ciphers', 'AES-256-GCM', '--disable-dco'],
  ];
  const addresses = (local: Side, remote: Side): string[] => [
    '--ifconfig',
    innerAddress(local, 4),
    innerAddress(remote, 4),
  ];
  const server = ['--tls-server', '--dh', 'none', '--port', '1194', ...addresses('b', 'a')];
  const client = ['--tls-client', '--remote', outerAddress('b', 4), ...addresses('a', 'b')];
  const device = (side: Side): string[] => ['openvpn', '--dev', `ov${process.pid}${side}`];
  const children = [
    start(pair, 'b', [...device('b'), ...server, ...common]),
    start(pair, 'a', [...device('a'), ...client, ...common]),
  ];
  return tunnelOf(children, () => addressesOf(pair));
}

async function startTinc(pair: Pair, directory: string): Promise<Tunnel> {
  const home = (side: Side): string => join(directory, side);
  for (const side of BOTH) {
    mkdirSync(join(home(side), 'hosts'), { recursive: true });
    const connect = side === 'a' ? 'ConnectTo = b\n' : '';
    const config = `Name = ${side}\nInterface = ti${process.pid}${side}\nMode = router\n${connect}`;
    writeFileSync(join(home(side), 'tinc.conf'), config);
    const host = [
      `Subnet = ${innerAddress(side, 4)}/32`,
      `Address = ${outerAddress(side, 4)}`,
      'Cipher = aes-256-cbc',
      'Digest = sha256',
    ];
    writeFileSync(join(home(side), 'hosts', side), `${host.join('\n')}\n`);
    const up = `#!/bin/sh\nip addr add ${innerAddress(side, 4)}/24 dev $INTERFACE\nip link set $INTERFACE up\n`;
    writeFileSync(join(home(side), 'tinc-up'), up);
    chmodSync(join(home(side), 'tinc-up'), 0o755);
    execFileSync('tincd', ['-c', home(side), '-K', '2048'], { stdio: 'ignore' });
  }
  run('cp', join(home('a'), 'hosts', 'a'), join(home('b'), 'hosts'));
  run('cp', join(home('b'), 'hosts', 'b'), join(home('a'), 'hosts'));
  const children = BOTH.toReversed().map((side) => {
    const files = ['-c', home(side), `--pidfile=${join(home(side), 'pid')}`];
    return start(pair, side, ['tincd', ...files, '-D']);
  });
  return tunnelOf(children, () => addressesOf(pair));
}

async function startN2n(pair: Pair): Promise<Tunnel> {
  // The letter changed its meaning: it forked up to version 1, and keeps from forking since.
  const foreground = /-f.*Fork and run/.test(outputOf('edge', '-h')) ? [] : ['-f'];
  const supernode = start(pair, 'b', ['supernode', '-l', '7777', ...foreground]);
  await sleep(500);
  const edges = BOTH.map((side) => {
    const member = ['-a', innerAddress(side, 4), '-c', 'bench', '-k', 'secret'];
    const at = ['-d', `n2${process.pid}${side}`, '-l', `${outerAddress('b', 4)}:7777`];
    return start(pair, side, ['edge', ...member, ...at, ...foreground]);
  });
  return tunnelOf([supernode, ...edges], () => addressesOf(pair));
}

const start = (pair: Pair, side: Side, command: readonly string[]) =>
  spawnInside(pair[side], command, { stdio: 'ignore' });

/** Waits until both sides have their inner address; the first answer is awaited by whoever measures. */
async function addressesOf(pair: Pair): Promise<void> {
  for (const side of BOTH) {
    await until(() => inside(pair[side], 'ip', '-4', 'addr').includes(innerAddress(side, 4)), 200);
  }
}

function installed(program: string): string | undefined {
  const directories = `${process.env.PATH}${delimiter}/usr/sbin`.split(delimiter);
  return directories.map((directory) => join(directory, program)).find((path) => existsSync(path));
}

function outputOf(command: string, ...args: string[]): string {
  try {
    return run(command, ...args);
  } catch (error) {
    // OpenVPN says its version with exit code 1.
    return String((error as { stdout?: unknown }).stdout ?? '');
  }
}

const packageVersion = (name: string): string => {
  try {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: dpkg-query's own syntax
    return run('dpkg-query', '-W', '-f=${Version}', name);
  } catch {
    return '';
  }
};
