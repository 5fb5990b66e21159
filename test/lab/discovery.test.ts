/** What the real daemon finds out about the laboratory's NATs, and the STUN server with other people's clients. */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { Home, type HomeOptions } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import {
  type NatKind,
  type NatKindRow,
  natKind,
  natKinds,
  portBlock,
} from '../../lab/nat-kinds.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';

/** One router with IPv4, made of nftables, that drops what nobody asked for. */
const plainKinds = natKinds
  .map((row): NatKindRow & { readonly name: NatKind } => row)
  .filter(({ madeBy, carrier }) => madeBy === 'nftables' && carrier === undefined)
  .filter(({ ipv6, unsolicited }) => ipv6 === undefined && unsolicited === undefined)
  .map(({ name }) => name);
const secondAddress = '198.51.100.240';
const patterns: Readonly<Record<string, string>> = {
  preserving: 'preserving',
  random: 'random',
  'random-in-block': 'block',
  sequential: 'sequential',
};

describe('discovery by a server with two addresses', { skip: labSkipReason() }, () => {
  let lab: Lab;
  let internet: Internet;
  let machine: Host;
  let server: BuriServer;
  let url: string;

  before(async () => {
    lab = await Lab.create();
    internet = await Internet.create(lab);
    machine = await internet.host('server');
    // The first cable of the core leads to it.
    await machine.ip(`addr add ${secondAddress}/32 dev eth0`);
    await internet.core.ip(`route add ${secondAddress}/32 dev p0`);
    server = await BuriServer.start(machine, {
      enrol: 'open',
      args: ['--stun', `${machine.ipv4}:3478,${secondAddress}:3479`],
    });
    url = await server.url();
  });
  after(async () => {
    await server?.[Symbol.asyncDispose]();
    await lab?.[Symbol.asyncDispose]();
  });

  const daemonAt = async (host: Host, nick: string) => {
    const daemon = await BuriDaemon.start(host);
    await daemon.verb('login', [url, '--nick', nick]);
    return daemon;
  };
  const homeOf = (name: string, options: Omit<HomeOptions, 'name'>) =>
    Home.create(internet, { name, ...options });

  for (const [i, kind] of plainKinds.entries()) {
    const { mapping, filtering, allocation, hairpin } = natKind(kind);
    test(`a daemon behind ${kind} finds out that it is`, async () => {
      const home = await homeOf(`k${i}`, { nat: kind });
      await using daemon = await daemonAt(home.firstHost, kind);
      const { udp, ipv4, nat, meaning } = await daemon.verb('netcheck');
      if (mapping === 'blocked') {
        assert.equal(udp, 'blocked');
        assert.equal(nat.mapping, 'unknown');
        assert.match(meaning[0]!.text, /no UDP/);
        return;
      }
      assert.deepEqual([udp, ipv4?.udp], ['works', 'works']);
      assert.deepEqual([nat.mapping, nat.filtering], [mapping, filtering], JSON.stringify(nat));
      assert.equal(nat.allocation?.pattern, allocation && patterns[allocation]);
      const isTranslated = mapping !== 'none';
      assert.equal(nat.hairpin, isTranslated ? hairpin === true : null);
      assert.equal(nat.portPreserved, isTranslated ? allocation === 'preserving' : null);
      const address = isTranslated ? home.publicIpv4 : home.firstHost.ipv4;
      assert.equal(ipv4?.publicEndpoint?.split(':')[0], address);
      const { block } = nat.allocation ?? {};
      if (allocation !== 'random-in-block') return;
      assert(block !== undefined && block.size <= 4 * portBlock.size, JSON.stringify(block));
      assert(block.first + block.size > portBlock.first);
      assert(block.first < portBlock.first + portBlock.size);
    });
  }

  test('a NAT that hairpins is found to', async () => {
    const home = await homeOf('hairpin', { nat: 'port-restricted', hairpin: true });
    await using daemon = await daemonAt(home.firstHost, 'hairpin');
    assert.equal((await daemon.verb('netcheck')).nat.hairpin, true);
  });

  test('the lifetime of mappings is found, longer than none and shorter than what the NAT does', async () => {
    const home = await homeOf('short', { nat: 'port-restricted', timeoutSeconds: 8 });
    await using daemon = await daemonAt(home.firstHost, 'short');
    assert.equal((await daemon.verb('netcheck')).nat.mappingLifetimeMs, null);
    const lifetimeMs = async () => (await daemon.verb('netcheck')).nat.mappingLifetimeMs;
    // Asking voids the round that is under way: seldom.
    await waitFor('the first answers', async () => (await lifetimeMs()) !== null, {
      timeoutMs: 240_000,
      intervalMs: 70_000,
    });
    assert(((await lifetimeMs()) ?? 0) < 10_000, `${await lifetimeMs()}`);
  });

  test('a computer with IPv6 alone checks what it has', async () => {
    const where = await internet.host('six');
    await using own = await BuriServer.start(where, {
      enrol: 'open',
      publicHost: `[${where.ipv6}]`,
    });
    const host = await internet.host('only-six');
    await host.ip(`addr del ${host.ipv4}/32 dev eth0`).catch(() => {});
    await using daemon = await BuriDaemon.start(host);
    await daemon.verb('login', [await own.url()]);
    const { ipv4, ipv6, udp } = await daemon.verb('netcheck');
    assert.equal(udp, 'works');
    assert.equal(ipv6?.udp, 'works');
    assert.equal(ipv4, null);
  });

  test('without a login there is a clear error', async () => {
    const host = await internet.host('nobody');
    await using daemon = await BuriDaemon.start(host);
    await assert.rejects(daemon.verb('netcheck'), { code: 'not-logged-in' });
  });

  test('clients of coturn and of Debian are answered', async (t) => {
    const host = await internet.host('client');
    const home = await homeOf('strangers', { nat: 'symmetric' });
    const found = await host.run('sh', ['-c', 'command -v turnutils_stunclient stun']);
    if (found.code !== 0) {
      t.skip('coturn and stun-client are not installed');
      return;
    }
    const plain = await host.check('turnutils_stunclient', ['-p', '3478', machine.ipv4]);
    assert.match(plain, new RegExp(`reflexive addr: ${host.ipv4.replaceAll('.', '\\.')}:`));
    const flags = ['-m', '-f', '-p', '3478', machine.ipv4];
    const nat = await home.firstHost.check('turnutils_natdiscovery', flags);
    assert.match(nat, /Address and Port Dependent Mapping/i);
    assert.match(nat, /Address and Port Dependent Filtering/i);
    const old = await host.run('stun', [machine.ipv4], { timeoutMs: 60_000 });
    assert.match(old.stdout + old.stderr, /Primary: Open/);
  });
});
