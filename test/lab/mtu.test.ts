/** Links on the way get narrower and wider, and swallow what is large: the real daemons follow. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { pinnedNode } from '../../lab/exec.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { interfaceCounters } from '../../lab/link.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { nft } from '../../lab/netns.ts';
import type { LabProcess } from '../../lab/process.ts';
import { waitFor } from '../../lab/wait.ts';

const skip = labSkipReason();
const sides = ['a', 'b'] as const;
type Side = (typeof sides)[number];
const other = { a: 'b', b: 'a' } as const;
/** Outer headers and WireGuard's, of a packet of the inside. */
const overheadBytes = { 4: 28 + 32, 6: 48 + 32 } as const;

/** A steady stream over one connection, and how much of it arrived is on the interface's counters. */
const receiver = `require('node:net').createServer((s) => s.resume()).listen(9000, '::', () => console.log('listening'))`;
const sender = (address: string) => `
const s = require('node:net').connect(9000, '${address}', () => console.log('connected'));
setInterval(() => { if (s.writableLength < 1 << 20) s.write(Buffer.alloc(1 << 16)); }, 20);`;

interface Inside {
  readonly ipv4: string;
  readonly ipv6: string;
}

/**
 *   a ── core ── b     and a server; what the core does to packets between a and b is the subject
 */
class World {
  readonly internet: Internet;
  readonly hosts: Readonly<Record<Side, Host>>;
  readonly daemons: Readonly<Record<Side, BuriDaemon>>;
  readonly inside: Readonly<Record<Side, Inside>>;
  readonly #ids: Readonly<Record<Side, string>>;

  private constructor(
    internet: Internet,
    hosts: Readonly<Record<Side, Host>>,
    daemons: Readonly<Record<Side, BuriDaemon>>,
    logins: Readonly<Record<Side, Inside & { readonly clientId: string }>>,
  ) {
    this.internet = internet;
    this.hosts = hosts;
    this.daemons = daemons;
    this.inside = logins;
    this.#ids = { a: logins.a.clientId, b: logins.b.clientId };
  }

  static async create(
    lab: Lab,
    { outer, mode = 'tun' }: { readonly outer: 4 | 6; readonly mode?: 'tun' | 'tap' },
  ): Promise<World> {
    const internet = await Internet.create(lab);
    const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    const hosts = { a: await internet.host('a'), b: await internet.host('b') };
    for (const host of Object.values(hosts)) {
      // Datagrams one by one, so that the core sees them as a real router does.
      await host.check('ethtool', ['-K', 'eth0', 'tx-udp-segmentation', 'off']);
      if (outer === 4) await host.sysctl({ 'net.ipv6.conf.eth0.disable_ipv6': 1 });
    }
    const start = (side: Side) => BuriDaemon.start(hosts[side], { mode });
    const daemons = { a: await start('a'), b: await start('b') };
    const url = await server.url();
    const login = async (side: Side) => {
      const { clientId, ipv4, ipv6 } = await daemons[side].verb('login', [url, '--wait', '20']);
      return { clientId, ipv4, ipv6 };
    };
    const logins = { a: await login('a'), b: await login('b') };
    await daemons.a.verb('create', ['net', '-'], 'secret');
    await daemons.b.verb('join', ['net', '-', '--wait', '30'], 'secret');
    const world = new World(internet, hosts, daemons, logins);
    await world.pathIs(outer);
    return world;
  }

  async pathMtu(side: Side): Promise<number | undefined> {
    const { path } = await this.daemons[side].verb('peer', [this.#ids[other[side]]]);
    return path.mtuBytes;
  }

  async pathIs(outer: 4 | 6): Promise<void> {
    const endpoint = new RegExp(outer === 6 ? '^\\[2001:' : '^198\\.51');
    await waitFor('the direct path', async () => {
      const { path } = await this.daemons.a.verb('peer', [this.#ids.b]);
      return path.kind === 'direct' && endpoint.test(path.endpoint ?? '');
    });
  }

  /** The link MTU of the core's routes to both hosts: what is larger is fragmented, or answered by ICMP. */
  async linkMtu(bytes: number): Promise<void> {
    for (const { link, ipv4, ipv6 } of Object.values(this.hosts)) {
      const device = link.far.device;
      await this.internet.core.ip(
        `route replace ${ipv4}/32 dev ${device} mtu ${bytes}`,
        `route replace ${ipv6}/128 dev ${device} mtu ${Math.max(bytes, 1280)}`,
      );
    }
  }

  /** Packets beyond so many bytes, and all fragments, vanish without a word. */
  async swallow(beyondBytes: number): Promise<void> {
    await nft(
      this.internet.core.namespace,
      `table inet swallow {}
       delete table inet swallow
       table inet swallow {
         chain forward {
           type filter hook forward priority -300; policy accept;
           ip length > ${beyondBytes} counter drop
           ip frag-off & 0x3fff != 0 counter drop
           ip6 length > ${beyondBytes - 40} counter drop
           exthdr frag exists counter drop
         }
       }`,
    );
  }

  async swallowNothing(): Promise<void> {
    await nft(this.internet.core.namespace, 'delete table inet swallow');
  }

  /** A stream from `a` to `b` until the laboratory ends. */
  async stream(address: string): Promise<Stream> {
    const server = this.hosts.b.spawn(pinnedNode, ['-e', receiver]);
    await server.line(/listening/);
    const client = this.hosts.a.spawn(pinnedNode, ['-e', sender(address)]);
    await client.line(/connected/);
    return new Stream(this.hosts.b, client);
  }
}

class Stream implements AsyncDisposable {
  readonly #to: Host;
  readonly #client: LabProcess;

  constructor(to: Host, client: LabProcess) {
    this.#to = to;
    this.#client = client;
  }

  /** Returns after how long another megabyte and a half has arrived. */
  async goesOn(withinMs: number): Promise<number> {
    const arrived = async () => (await interfaceCounters(this.#to.namespace, 'buri0')).rxBytes;
    const [start, before] = [performance.now(), await arrived()];
    const more = async () => (await arrived()) > before + 1_500_000;
    await waitFor('the stream to go on', more, { timeoutMs: withinMs });
    return performance.now() - start;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#client.stop('SIGKILL');
  }
}

/** The segment size that TCP on a host settled on with somebody, and the path MTU that the system knows of. */
async function segmentBytes(host: Host, address: string): Promise<{ mss: number; pmtu: number }> {
  const text = await host.check('ss', ['-tinH', 'dst', address]);
  const value = (name: string) => Number(new RegExp(`\\b${name}:(\\d+)`).exec(text)?.[1]);
  return { mss: value('mss'), pmtu: value('pmtu') };
}

/** Real programs on a busy machine: the machine itself needs 3 s. */
const healMs = 10_000;

for (const [outer, links] of [
  [4, [1300, 1000]],
  [6, [1300, 1280]],
] as const) {
  describe(`a tunnel over IPv${outer}`, { skip }, () => {
    test('follows links that get narrower and wider, under TCP', async (t) => {
      await using lab = await Lab.create();
      const world = await World.create(lab, { outer });
      await using stream = await world.stream(world.inside.b.ipv4);
      await waitFor('the path MTU', async () => (await world.pathMtu('a')) === 1400);
      for (const link of [...links, 1500]) {
        await world.linkMtu(link);
        const ms = await stream.goesOn(healMs);
        t.diagnostic(`link of ${link}: 1.5 MB more after ${Math.round(ms)} ms`);
        const wanted = Math.min(1400, link - overheadBytes[outer]);
        const known = async () => (await world.pathMtu('a')) === wanted;
        await waitFor(`a path MTU of ${wanted}`, known, { timeoutMs: 60_000 });
      }
    });

    test('heals when what is large is swallowed without a word', async (t) => {
      await using lab = await Lab.create();
      const world = await World.create(lab, { outer });
      await using stream = await world.stream(world.inside.b.ipv4);
      await waitFor('the path MTU', async () => (await world.pathMtu('a')) === 1400);
      for (const link of links) {
        await world.swallow(link);
        const ms = await stream.goesOn(healMs);
        t.diagnostic(`beyond ${link} swallowed: 1.5 MB more after ${Math.round(ms)} ms`);
        const wanted = link - overheadBytes[outer];
        await waitFor(`a path MTU of ${wanted}`, async () => (await world.pathMtu('a')) === wanted);
      }
      await world.swallowNothing();
      await waitFor('the full path MTU', async () => (await world.pathMtu('a')) === 1400, {
        timeoutMs: 60_000,
      });
    });

    test('answers what is too big, and cuts what may be cut', async () => {
      await using lab = await Lab.create();
      const world = await World.create(lab, { outer });
      const link = links[1];
      await world.swallow(link);
      const { a } = world.hosts;
      const { ipv4, ipv6 } = world.inside.b;
      const mtu = link - overheadBytes[outer];
      await waitFor(`a path MTU of ${mtu}`, async () => {
        await a.ping(ipv4);
        return (await world.pathMtu('a')) === mtu && (await world.pathMtu('b')) === mtu;
      });
      // Whoever has learnt nothing yet sends pieces of the interface's size, which are cut again.
      for (const sizeBytes of [3000, 20_000]) {
        const { received, output } = await a.ping(ipv4, { sizeBytes });
        assert.equal(received, 1, output);
      }
      // The SYNs of new connections carry an MSS that fits, so that nobody has to be told.
      await using stream = await world.stream(ipv4);
      await stream.goesOn(healMs);
      const { mss, pmtu } = await segmentBytes(a, ipv4);
      assert.equal(pmtu, 1400, 'the system was told nothing');
      assert.ok(mss > mtu - 40 - 40 && mss <= mtu - 40, `${mss} of ${mtu}`);
      // Larger than the path, smaller than the interface: only the engine can know.
      const large = await a.ping(ipv4, { sizeBytes: mtu - 28 + 1, dontFragment: true });
      assert.match(large.output, new RegExp(`Frag needed.*mtu = ${mtu}`), large.output);
      assert.equal((await a.ping(ipv4, { sizeBytes: mtu - 28, dontFragment: true })).received, 1);
      const large6 = await a.ping(ipv6, { sizeBytes: 1300 });
      assert.match(large6.output, new RegExp(`too big: mtu=${Math.max(mtu, 1280)}`), large6.output);
      for (const sizeBytes of [1300, 3000]) {
        const { received, output } = await a.ping(ipv6, { sizeBytes, timeoutMs: 5000 });
        // Where less than IPv6's least passes, and no fragments outside, nothing can be done.
        assert.equal(received, mtu < 1280 ? 0 : 1, output);
      }
      const { counters } = await world.daemons.a.verb('status');
      assert.ok((counters['out-too-big'] ?? 0) > 0);
      assert.ok((counters['out-fragmented'] ?? 0) > 0);
    });
  });
}

describe('a tunnel of Ethernet interfaces', { skip }, () => {
  test('heals, answers what is too big, and cuts what may be cut', async (t) => {
    await using lab = await Lab.create();
    const world = await World.create(lab, { outer: 4, mode: 'tap' });
    await using stream = await world.stream(world.inside.b.ipv4);
    await waitFor('the path MTU', async () => (await world.pathMtu('a')) === 1400);
    await world.swallow(1300);
    const ms = await stream.goesOn(healMs);
    t.diagnostic(`beyond 1300 swallowed: 1.5 MB more after ${Math.round(ms)} ms`);
    const mtu = 1300 - overheadBytes[4];
    // The answers to large packets are as large: the other side has to know, too.
    await waitFor(`a path MTU of ${mtu} both ways`, async () => {
      return (await world.pathMtu('a')) === mtu && (await world.pathMtu('b')) === mtu;
    });
    const { a } = world.hosts;
    // Another address than the stream's, whose MTU the system has learnt.
    const { ipv6 } = world.inside.b;
    const large = await a.ping(ipv6, { sizeBytes: 1300 });
    assert.match(large.output, /too big: mtu=1280/, large.output);
    const { received, output } = await a.ping(world.inside.b.ipv4, { sizeBytes: 3000 });
    assert.equal(received, 1, output);
  });
});
