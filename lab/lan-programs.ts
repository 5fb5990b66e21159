/**
 * Programs that find each other on a LAN, as people run them: mDNS (avahi), NetBIOS (Samba), SSDP (miniupnpd), a game.
 * Each serves on one member of a Buri network and is sought from another one.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { environment } from './exec.ts';
import type { Host } from './host.ts';
import type { LabProcess } from './process.ts';
import { waitFor } from './wait.ts';

const device = 'buri0';

/** Debian packages that bring the programs, by the program that proves it. */
const programs = {
  'avahi-daemon': 'avahi-daemon',
  'avahi-browse': 'avahi-utils',
  'dbus-daemon': 'dbus',
  nmbd: 'samba',
  nmblookup: 'samba-common-bin',
  miniupnpd: 'miniupnpd-nftables',
  upnpc: 'miniupnpc',
  'chocolate-server': 'chocolate-doom',
  socat: 'socat',
} as const;
export type LanProgram = keyof typeof programs;

/** For `test(name, { skip: missingPrograms(…) }, …)`: which packages are missing, or false. */
export function missingPrograms(...names: LanProgram[]): string | false {
  const path = [...(environment().PATH ?? '').split(':'), games];
  const missing = names.filter((name) => !path.some((dir) => existsSync(join(dir, name))));
  if (missing.length === 0) return false;
  return `not installed: ${missing.map((name) => programs[name]).join(' ')}`;
}

const games = '/usr/games';

/**
 * Runs a shell script here with a /run of its own, where daemons of the whole machine keep their sockets. All that it starts ends
 * with it.
 */
function isolated(host: Host, name: string, script: string): LabProcess {
  const setup = [
    'set -e',
    'mount --make-rprivate /',
    'mount -t tmpfs tmpfs /run',
    'mkdir -p /run/dbus /run/avahi-daemon',
  ];
  const args = ['--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
  return host.spawn('unshare', [...args, 'sh', '-c', [...setup, script].join('\n')], { name });
}

/** A point-to-point interface (TUN) is avahi's business only when it is told so. */
function avahiScript(host: Host, pointToPoint: boolean): string {
  const config = join(host.lab.temporaryDirectory(`${host.name}-avahi`), 'avahi.conf');
  const lines = [
    '[server]',
    `host-name=${host.name}`,
    `allow-interfaces=${device}`,
    `allow-point-to-point=${pointToPoint ? 'yes' : 'no'}`,
    '[publish]',
    'publish-workstation=no',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  return [
    'dbus-daemon --system --fork --nopidfile',
    `avahi-daemon --no-drop-root --no-rlimits -f ${config} &`,
    'while ! [ -S /run/avahi-daemon/socket ]; do sleep 0.1; done',
  ].join('\n');
}

/** Publishes a service by mDNS. */
export async function publish(
  host: Host,
  service: string,
  options: { readonly pointToPoint: boolean },
): Promise<LabProcess> {
  const script = `${avahiScript(host, options.pointToPoint)}\nexec avahi-publish -s '${service}' _buri._tcp 4242`;
  const publisher = isolated(host, `avahi-publish on ${host.name}`, script);
  await publisher.line(/^Established under name/, { timeoutMs: 20_000 });
  return publisher;
}

/** Browses for services by mDNS; lines of `avahi-browse -rp` until it is stopped. */
export function browse(host: Host, options: { readonly pointToPoint: boolean }): LabProcess {
  const script = `${avahiScript(host, options.pointToPoint)}\nexec avahi-browse -rp _buri._tcp`;
  return isolated(host, `avahi-browse on ${host.name}`, script);
}

/** Answers NetBIOS name queries for `name` at an address of this host. */
export async function netbiosServer(
  host: Host,
  name: string,
  address: string,
): Promise<LabProcess> {
  const directory = host.lab.temporaryDirectory(`${host.name}-nmbd`);
  const config = join(directory, 'smb.conf');
  const directories = ['private dir', 'lock directory', 'state directory', 'cache directory'];
  const lines = [
    '[global]',
    `netbios name = ${name}`,
    `interfaces = ${address}/10`,
    'bind interfaces only = yes',
    ...directories.map((option) => `${option} = ${directory}`),
    `pid directory = ${directory}`,
    `ncalrpc dir = ${join(directory, 'ncalrpc')}`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const args = ['-F', '--no-process-group', '--debug-stdout', '-s', config];
  const server = host.spawn('nmbd', args, { name: `nmbd on ${host.name}` });
  await server.line(/nmbd version .* started/);
  return server;
}

/** Asks for a NetBIOS name by broadcast; what nmblookup printed. */
export async function netbiosLookup(host: Host, name: string, broadcast: string): Promise<string> {
  return (await host.run('nmblookup', ['-B', broadcast, name])).stdout;
}

/** An Internet gateway device that answers SSDP searches on the virtual interface. */
export async function gatewayDevice(host: Host): Promise<LabProcess> {
  const directory = host.lab.temporaryDirectory(`${host.name}-upnp`);
  const config = join(directory, 'miniupnpd.conf');
  // It insists on an outer interface with a routable address.
  await host.run('ip', ['link', 'delete', 'wan0']);
  await host.ip(
    'link add wan0 type veth peer name wan1',
    'address add 9.9.9.9/32 dev wan0',
    'link set dev wan1 up',
    'link set dev wan0 up',
  );
  const lines = [
    'ext_ifname=wan0',
    `listening_ip=${device}`,
    'port=5000',
    'enable_upnp=yes',
    'enable_natpmp=no',
    'secure_mode=yes',
    'uuid=6275726e-6564-4000-8000-000000000001',
    `lease_file=${join(directory, 'leases')}`,
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const args = ['-d', '-f', config, '-P', join(directory, 'pid')];
  const server = host.spawn('miniupnpd', args, { name: `miniupnpd on ${host.name}` });
  await server.line(/HTTP listening on port/);
  return server;
}

/** Searches by SSDP, bound to no interface; what upnpc printed. */
export async function ssdpSearch(host: Host): Promise<string> {
  return (await host.run('upnpc', ['-s'])).stdout;
}

/** A dedicated Doom server. */
export async function doomServer(host: Host): Promise<LabProcess> {
  const server = host.spawn(join(games, 'chocolate-server'), ['-privateserver'], {
    name: `chocolate-server on ${host.name}`,
  });
  // It says nothing until its output is full.
  await waitFor('the game server to listen', async () => {
    const { stdout } = await host.run('ss', ['-Huln', 'sport', '=', ':2342']);
    return stdout !== '';
  });
  return server;
}

/** The game's own list of servers on the LAN, which it fills by broadcast. */
export async function doomServers(host: Host): Promise<string> {
  const directory = host.lab.temporaryDirectory(`${host.name}-doom`);
  const env = { HOME: directory, SDL_VIDEODRIVER: 'dummy', SDL_AUDIODRIVER: 'dummy' };
  return (await host.run(join(games, 'chocolate-doom'), ['-localsearch'], { env })).stdout;
}
