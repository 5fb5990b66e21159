/** Servers that cannot be used, and servers that mean harm: the running daemon says what is wrong, and goes on. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BuriDaemon, BuriServer, VerbError } from '../../lab/buri.ts';
import { pinnedNode } from '../../lab/exec.ts';
import { Host } from '../../lab/host.ts';
import { Lab } from '../../lab/lab.ts';
import { labSkipReason } from '../../lab/needs.ts';
import type { LabProcess } from '../../lab/process.ts';
import { waitFor } from '../../lab/wait.ts';
import type { HostileMode } from '../support/hostile-server.ts';
import { memoryMb } from '../support/hostile-world.ts';

const skip = labSkipReason();
const program = fileURLToPath(new URL('../support/hostile-server.ts', import.meta.url));

let lab: Lab;
let host: Host;
let daemon: BuriDaemon;

before(async () => {
  if (skip !== false) return;
  lab = await Lab.create();
  host = await Host.create(lab, 'victim');
  await host.ip('link add lan0 type veth peer name lan1', 'addr add 192.168.7.5/24 dev lan0');
  await host.ip('link set lan0 up', 'link set lan1 up');
  daemon = await BuriDaemon.start(host);
});

after(async () => await lab?.[Symbol.asyncDispose]());

async function hostile(mode: HostileMode): Promise<{ url: string; process: LabProcess }> {
  const args = ['--disable-warning=ExperimentalWarning', program, mode];
  const process = host.spawn(pinnedNode, args, { name: mode });
  return { url: await process.line(/^buri:/), process };
}

async function refusalOf(url: string): Promise<VerbError> {
  try {
    await daemon.verb('login', [url]);
  } catch (error) {
    if (error instanceof VerbError) return error;
    throw error;
  }
  throw new assert.AssertionError({ message: `logged in to ${url}` });
}

async function assertOffline(): Promise<void> {
  const { state, device, server } = await daemon.verb('status');
  assert.deepEqual({ state, device }, { state: 'offline', device: null });
  assert.equal(server.connected, false);
  const routes = await host.check('ip', ['route']);
  assert.equal(routes.trim(), '192.168.7.0/24 dev lan0 proto kernel scope link src 192.168.7.5');
}

describe('a daemon', { skip }, () => {
  for (const [mode, code, words] of [
    ['another version', 'version-unsupported', /7.*8/],
    ['random hello', 'not-a-buri-server', /no Buri server/],
    ['cut hello', 'not-a-buri-server', /no Buri server/],
    ['hello without bytes', 'not-a-buri-server', /no Buri server/],
    ['certificate of another key', 'server-certificate-invalid', /certificate/],
    ['expired certificate', 'server-certificate-invalid', /certificate/],
    ['random handshake', /./, /server/],
    ['cut handshake', /./, /server/],
    ['random frames', /./, /server/],
    ['cut frames', /./, /server/],
    ['sealed noise', /./, /server/],
    ['no welcome', 'protocol-error', /welcome/],
    ['pool that is none', 'protocol-error', /pool4/],
    ['pool of everything', 'protocol-error', /pool4/],
    ['address with commands', 'protocol-error', /pool4/],
    ['time beyond all reason', 'protocol-error', /serverTime/],
  ] as const) {
    test(`refuses a server with: ${mode}`, async () => {
      const { url, process } = await hostile(mode);
      const refusal = await refusalOf(url);
      if (typeof code === 'string') assert.equal(refusal.code, code);
      else assert.match(refusal.code, code);
      assert.match(refusal.message, words);
      assert.doesNotMatch(refusal.code, /internal/);
      await assertOffline();
      await process.stop();
    });
  }

  test('refuses another key than the one of the URL, also when it is a Buri server', async () => {
    const { url, process } = await hostile('no welcome');
    const [address] = url.split('#');
    const refusal = await refusalOf(`${address}#${'A'.repeat(43)}`);
    assert.equal(refusal.code, 'server-key-mismatch');
    await assertOffline();
    await process.stop();
    assert.equal((await refusalOf(url)).code, 'server-unreachable');
  });

  test('ends the connection at a message that does not end', async () => {
    const { url, process } = await hostile('message without end');
    await daemon.verb('login', [url]);
    const { error } = await waitFor('the daemon to give it up', async () => {
      const { server } = await daemon.verb('status');
      return server.error === undefined ? undefined : server;
    });
    assert.match(error?.code ?? '', /protocol-error|connection-lost/);
    await daemon.verb('logout');
    await assertOffline();
    await process.stop();
  });

  test('leaves a server whose time runs away, and takes nothing of it to the next one', async () => {
    const { url, process } = await hostile('time that runs away');
    await daemon.verb('login', [url]);
    await waitFor('the daemon to give it up', async () => {
      const { server } = await daemon.verb('status');
      return server.error?.message.includes('time');
    });
    await daemon.verb('logout');
    await assertOffline();
    await process.stop();
  });

  test('keeps its memory, its answers and its terminal under a flood of lies', async () => {
    const before = memoryMb(daemon);
    const { url, process } = await hostile('flood of everything');
    await daemon.verb('login', [url]);
    const { notices } = await waitFor('the end of the flood', async () => {
      const status = await daemon.verb('status');
      return status.notices.some(({ code }) => code === 'notice-2000') ? status : undefined;
    });
    assert.ok(notices.length <= 32, `${notices.length} notices`);
    const { networks } = await daemon.verb('list');
    for (const { members } of networks) {
      assert.deepEqual(
        members.filter(({ self }) => !self),
        [],
        'nobody is believed',
      );
    }
    assert.ok(memoryMb(daemon) - before < 128, `${before} to ${memoryMb(daemon)} MB`);
    await daemon.verb('logout');
    await assertOffline();
    await process.stop();
  });

  test('serves a good server after all of them', async () => {
    const server = await BuriServer.start(host, { publicHost: '127.0.0.1', enrol: 'open' });
    await daemon.verb('login', [await server.url(), '--wait', '20']);
    const { state } = await daemon.verb('create', ['home', 'password']);
    assert.equal(state, 'member');
    await server.stop();
  });
});
