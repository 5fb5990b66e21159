/** Starting where something is in the way: the real programs say what, touch nothing, and leave nothing. */
import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { BuriDaemon, BuriServer, buriProgram } from '../../lab/buri.ts';
import { Host } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

const skip = labSkipReason();
const nobody = 65_534;

let lab: Lab;
let host: Host;

before(async () => {
  if (skip !== false) return;
  lab = await Lab.create();
  host = await Host.create(lab, 'alone');
});
after(async () => await lab?.[Symbol.asyncDispose]());

interface Program {
  readonly role: 'daemon' | 'server';
  /** The directory that it is given. */
  readonly directory: string;
  readonly args?: readonly string[];
  /**
   * Shell commands before it starts, in a mount namespace of its own, the directory being `$DIR`;
   * the last one may be a program that runs the rest.
   */
  readonly prepare?: string;
}

interface Refusal {
  readonly code: number;
  /** What it printed, all of it. */
  readonly text: string;
}

/** Runs a program that is expected to end by itself. */
async function start({ role, directory, args = [], prepare = '' }: Program): Promise<Refusal> {
  const own =
    role === 'daemon'
      ? ['--state', directory, '--socket', join(directory, 'buri.sock')]
      : ['--data', directory, '--public', '127.0.0.1'];
  const script = `set -e\n${prepare} "$@"`;
  const words = ['-c', script, 'sh', buriProgram, role, ...own, ...args];
  const { code, stdout, stderr } = await host.run('sh', words, {
    env: { DIR: directory },
    timeoutMs: 20_000,
  });
  return { code, text: `${stdout}${stderr}` };
}

/** One line for a person, exit code 1, no stack. */
function assertRefused({ code, text }: Refusal, reason: RegExp): void {
  const lines = text.trim().split('\n');
  assert.equal(code, 1, text);
  assert.equal(lines.length, 1, text);
  assert.match(text, /^buri: /);
  assert.match(text, reason);
  assert.doesNotMatch(text, /node:|\.ts\b|\bready\b/);
}

const scratch = (label: string) => lab.temporaryDirectory(label);
const devices = async () =>
  JSON.parse(await host.check('ip', ['-json', 'link'])).map(
    ({ ifname }: { ifname: string }) => ifname,
  );

describe('a daemon', { skip }, () => {
  test('does not start on a read-only directory, whether fresh or used before', async () => {
    const reason = /cannot write .*read-only.* --state/;
    const fresh = scratch('read-only');
    const mountReadOnly = 'mount -t tmpfs -o ro buri-test "$DIR"\n';
    assertRefused(
      await start({ role: 'daemon', directory: fresh, prepare: mountReadOnly }),
      reason,
    );
    const used = scratch('used');
    await (await BuriDaemon.start(host, { directory: used })).stop();
    const identity = readFileSync(join(used, 'identity.key'));
    const bindReadOnly = 'mount --bind "$DIR" "$DIR"\nmount -o remount,bind,ro "$DIR"\n';
    assertRefused(await start({ role: 'daemon', directory: used, prepare: bindReadOnly }), reason);
    assert.deepEqual(readFileSync(join(used, 'identity.key')), identity);
  });

  test('does not start on a full disk', async () => {
    const fill = 'mount -t tmpfs -o size=64k buri-test "$DIR"\ncat /dev/zero >"$DIR/x" 2>&- ||:\n';
    const refusal = await start({ role: 'daemon', directory: scratch('full'), prepare: fill });
    assertRefused(refusal, /no space left to write .*; free some disk space/);
  });

  test('does not start where its directory is a file, or belongs to somebody else', async () => {
    const file = join(scratch('file'), 'state');
    writeFileSync(file, 'mine');
    assertRefused(
      await start({ role: 'daemon', directory: file }),
      /cannot write .*it is no directory/,
    );
    assert.equal(readFileSync(file, 'utf8'), 'mine');
    const theirs = scratch('theirs');
    const asNobody = `setpriv --reuid=${nobody} --regid=${nobody} --clear-groups`;
    assertRefused(
      await start({ role: 'daemon', directory: theirs, prepare: asNobody }),
      /cannot write .*no permission.*run as a user who may/,
    );
    assert.deepEqual(readdirSync(theirs), []);
  });

  test('says that it lacks the right to make the interface', async () => {
    const directory = scratch('nobody');
    chownSync(directory, nobody, nobody);
    chmodSync(directory, 0o755);
    const prepare = `setpriv --reuid=${nobody} --regid=${nobody} --clear-groups`;
    assertRefused(
      await start({ role: 'daemon', directory, prepare }),
      /no right to create the interface 'buri0': run as root or give the program CAP_NET_ADMIN/,
    );
  });

  test('says that the machine has no /dev/net/tun', async () => {
    const prepare = 'mount -t tmpfs buri-test /dev/net\n';
    assertRefused(
      await start({ role: 'daemon', directory: scratch('no-tun'), prepare }),
      /\/dev\/net\/tun is missing.*modprobe tun/,
    );
  });

  test('does not take the interface of somebody else, nor remove it', async () => {
    await host.ip('link add taken type veth peer name taken-peer');
    const args = ['--device', 'taken'];
    assertRefused(
      await start({ role: 'daemon', directory: scratch('device'), args }),
      /'taken'.*(in use|exists|taken|another)/,
    );
    assert.ok((await devices()).includes('taken'));
    await host.ip('link del taken');
  });

  test('does not take the UDP port of somebody else, and says whose option that is', async () => {
    const socket = await host.udp();
    const args = ['--port', `${socket.port}`];
    assertRefused(
      await start({ role: 'daemon', directory: scratch('port'), args }),
      new RegExp(`${socket.port}.*(in use|uses).*--port`),
    );
    assert.ok(!(await devices()).includes('buri0'));
  });

  test('leaves the directory and the socket of a running daemon alone', async () => {
    const running = await BuriDaemon.start(host, { device: 'buri7' });
    const { directory, socket } = running;
    const state = join(scratch('second'), 'state');
    assertRefused(
      await start({ role: 'daemon', directory, args: ['--device', 'buri8'] }),
      /another daemon is using .*--state/,
    );
    assertRefused(
      await start({ role: 'daemon', directory: state, args: ['--socket', socket] }),
      /another daemon answers at .*--socket/,
    );
    assert.equal((await running.verb('status')).state, 'offline');
    await running.stop();
  });

  test('does not replace a file, or follow a link, where its socket is to be', async () => {
    const directory = scratch('socket');
    const file = join(directory, 'precious');
    const link = join(directory, 'link');
    writeFileSync(file, 'precious');
    symlinkSync(file, link);
    for (const socket of [file, link]) {
      assertRefused(
        await start({ role: 'daemon', directory, args: ['--socket', socket] }),
        /exists and is no socket/,
      );
    }
    assert.equal(readFileSync(file, 'utf8'), 'precious');
  });

  test('sets damaged state aside, keeps it to the byte, says so in status, and serves', async () => {
    const directory = scratch('damaged');
    await (await BuriDaemon.start(host, { directory })).stop();
    const damage = { 'state.json': '{"version":1,"identity":', 'identity.key': '\0'.repeat(180) };
    for (const [name, text] of Object.entries(damage)) writeFileSync(join(directory, name), text);
    const daemon = await BuriDaemon.start(host, { directory });
    const { notices } = await daemon.verb('status');
    assert.deepEqual(notices.map(({ code }) => code).sort(), ['identity-corrupt', 'state-corrupt']);
    await daemon.stop();
    for (const [name, text] of Object.entries(damage)) {
      const aside = readdirSync(directory).filter((file) => file.startsWith(`${name}.corrupt-`));
      assert.equal(aside.length, 1, `${name} was set aside once`);
      assert.equal(readFileSync(join(directory, aside[0]!), 'utf8'), text);
    }
    const again = await BuriDaemon.start(host, { directory });
    assert.deepEqual((await again.verb('status')).notices, []);
    await again.stop();
  });

  test('keeps its files and its socket from everybody else', async () => {
    const daemon = await BuriDaemon.start(host);
    const { directory, socket } = daemon;
    await waitFor('its state on the disk', () => readdirSync(directory).includes('state.json'));
    for (const name of readdirSync(directory)) {
      // The socket may belong to the group `buri`.
      const others = name === 'buri.sock' ? 0o007 : 0o077;
      assert.equal(statSync(join(directory, name)).mode & others, 0, name);
    }
    // Its directory lets everybody through here, so that it is the socket's own mode that refuses.
    chmodSync(directory, 0o755);
    const asNobody = ['--reuid', `${nobody}`, '--regid', `${nobody}`, '--clear-groups'];
    const words = [...asNobody, buriProgram, 'status', '--socket', socket, '--json'];
    const { code, stdout } = await host.run('setpriv', words);
    assert.equal(code, 1);
    assert.equal(JSON.parse(stdout).error.code, 'socket-forbidden');
    assert.equal((await daemon.verb('status')).state, 'offline');
    await daemon.stop();
    assert.ok(!readdirSync(directory).includes('buri.sock'));
  });
});

describe('a server', { skip }, () => {
  test('does not start on a read-only directory, whether fresh or used before', async () => {
    const reason = /cannot use .*read-only.* --data/;
    const mountReadOnly = 'mount -t tmpfs -o ro buri-test "$DIR"\n';
    const fresh = scratch('server-read-only');
    assertRefused(
      await start({ role: 'server', directory: fresh, prepare: mountReadOnly }),
      reason,
    );
    const used = scratch('server-used');
    await (await BuriServer.start(host, { directory: used, publicHost: '127.0.0.1' })).stop();
    const bindReadOnly = 'mount --bind "$DIR" "$DIR"\nmount -o remount,bind,ro "$DIR"\n';
    assertRefused(await start({ role: 'server', directory: used, prepare: bindReadOnly }), reason);
  });

  test('does not start on a disk that is full, or fills before the database is made', async () => {
    for (const sizeKib of [4, 16, 40]) {
      const prepare = `mount -t tmpfs -o size=${sizeKib}k buri-test "$DIR"\n`;
      assertRefused(
        await start({ role: 'server', directory: scratch('server-full'), prepare }),
        /no space left|disk (is|may be) full/,
      );
    }
  });

  test('does not start where it may not write, or where a file is', async () => {
    const asNobody = `setpriv --reuid=${nobody} --regid=${nobody} --clear-groups`;
    assertRefused(
      await start({ role: 'server', directory: scratch('server-theirs'), prepare: asNobody }),
      /cannot use .*no permission/,
    );
    const file = join(scratch('server-file'), 'data');
    writeFileSync(file, 'mine');
    assertRefused(
      await start({ role: 'server', directory: file }),
      /cannot use .*it is no directory/,
    );
    assert.equal(readFileSync(file, 'utf8'), 'mine');
  });

  test('does not start on ports of somebody else, and names the option', async () => {
    const running = await BuriServer.start(host, { publicHost: '127.0.0.1' });
    const directory = scratch('server-ports');
    const free = ['--stun', 'none'];
    assertRefused(await start({ role: 'server', directory, args: free }), /8443.*--listen/);
    const other = ['--listen', '127.0.0.1:9443'];
    assertRefused(await start({ role: 'server', directory, args: other }), /347[89].*--stun/);
    assertRefused(
      await start({ role: 'server', directory, args: ['--listen', '192.0.2.1:9443', ...free] }),
      /192\.0\.2\.1:9443 is no address of this machine/,
    );
    assertRefused(
      await start({
        role: 'server',
        directory: running.directory,
        args: [...other, ...free],
      }),
      /another server is using/,
    );
    await running.stop();
  });

  test('does not replace a damaged key or database, nor change a byte of it', async () => {
    for (const [name, damage, reason] of [
      ['cluster.key', 'not a key\n', /cluster\.key.*does not hold a key.*restore it/],
      ['node.key', '', /node\.key.*does not hold a key/],
      ['buri.db', 'not a database '.repeat(1000), /buri\.db.*(damaged|no database|not a database)/],
    ] as const) {
      const directory = scratch('server-damaged');
      writeFileSync(join(directory, name), damage);
      assertRefused(await start({ role: 'server', directory }), reason);
      assert.equal(readFileSync(join(directory, name), 'utf8'), damage);
    }
  });

  test('keeps its keys, database and socket from everybody else', async () => {
    // Others may look in, so that it is the modes of the files that keep them out.
    const directory = scratch('server-modes');
    chmodSync(directory, 0o755);
    const server = await BuriServer.start(host, { directory, publicHost: '127.0.0.1' });
    for (const name of readdirSync(directory)) {
      assert.equal(statSync(join(directory, name)).mode & 0o777, 0o600, name);
    }
    const asNobody = ['--reuid', `${nobody}`, '--regid', `${nobody}`, '--clear-groups'];
    const verb = [buriProgram, 'server', 'token', 'create', '--data', directory];
    const { code, stderr } = await host.run('setpriv', [...asNobody, ...verb]);
    assert.equal(code, 1);
    assert.match(stderr, /^buri: .*permission/);
    await server.stop();
  });
});
