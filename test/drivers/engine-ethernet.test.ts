/** Packet engines with TAP devices, facing each other and a TUN device, keys installed by hand. */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { describe, test } from 'node:test';
import type { DeviceMode } from '#engine/engine.ts';
import { nativeProgram } from '../../lab/native.ts';
import {
  type End,
  type EndOptions,
  EngineLab,
  type Host,
  INNER,
  INNER6,
  indexOf,
  keysOf,
  OUTER,
  ping,
  type Side,
  transfer,
  until,
} from '../support/engine-lab.ts';
import { arp, BROADCAST, frame, ipBetween, ipxFrames, memberMac } from '../support/frames.ts';
import { needsRoot } from '../support/needs-root.ts';

const MAC = { a: memberMac(INNER.a), b: memberMac(INNER.b) };
const device = (side: Side): string => `buri-${side}`;
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

async function ends(lab: EngineLab, a: DeviceMode, b: DeviceMode, more: EndOptions = {}) {
  return {
    a: await lab.liveEnd('a', { mode: a, otherMode: b, ...more }),
    b: await lab.liveEnd('b', { mode: b, otherMode: a }),
  };
}

/** Frames that come into a host's device, past the system's protocols. */
class Listener implements Disposable {
  readonly lines: string[] = [];
  readonly #child;

  static async on(host: Host, name: string): Promise<Listener> {
    const listener = new Listener(host, await nativeProgram('ethernet-frames'), name);
    await until('the listener', async () => listener.lines.shift() === 'ready');
    return listener;
  }

  private constructor(host: Host, program: string, name: string) {
    const command = ['netns', 'exec', host.namespace, program, 'listen', name];
    this.#child = spawn('ip', command, { stdio: ['ignore', 'pipe', 'inherit'] });
    let rest = '';
    this.#child.stdout.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop()!;
      this.lines.push(...lines);
    });
  }

  /** Waits for this frame, whatever padding is behind it. */
  receives(bytes: Uint8Array): Promise<void> {
    return until(`frame ${text(bytes).slice(0, 40)}…`, async () => this.has(bytes));
  }

  has(bytes: Uint8Array): boolean {
    return this.lines.some((line) => line.startsWith(text(bytes)));
  }

  [Symbol.dispose](): void {
    this.#child.kill();
  }
}

async function sendFrames(host: Host, name: string, frames: readonly Uint8Array[]): Promise<void> {
  const program = await nativeProgram('ethernet-frames');
  execFileSync('ip', ['netns', 'exec', host.namespace, program, 'send', name], {
    input: frames.map((bytes) => `${text(bytes)}\n`).join(''),
  });
}

async function exchange(a: End, b: End): Promise<void> {
  for (const size of [0, 1, 17, 1_372]) ping(a.host, INNER.b, '-s', String(size), '-M', 'do');
  ping(b.host, INNER6.a, '-s', '1352');
  ping(a.host, INNER.b, '-s', '3000');
  await transfer(a.host, b.host, INNER.b, 16);
  await transfer(b.host, a.host, INNER6.a, 16);
}

describe('a TAP device', needsRoot, () => {
  for (const [a, b] of [
    ['tap', 'tap'],
    ['tap', 'tun'],
    ['tun', 'tap'],
  ] as const) {
    test(`carries IP between members as a TUN device does: ${a} to ${b}`, async () => {
      await using lab = new EngineLab();
      const pair = await ends(lab, a, b);
      await exchange(pair.a, pair.b);
      for (const { host } of [pair.a, pair.b]) {
        const counters = await host.counters();
        for (const name of ['in-malformed', 'in-device-error', 'out-malformed'])
          assert.equal(counters[name], 0, name);
        assert.ok(counters['out-packets']! > 5 * counters['out-super-packets']!, 'super-packets');
        assert.ok(counters['in-packets']! > 5 * counters['in-units']!, 'joined for the device');
      }
    });
  }

  test('carries the same in TypeScript alone, and without any offload', async () => {
    await using lab = new EngineLab();
    const pair = await ends(lab, 'tap', 'tap', { portable: true });
    await transfer(pair.a.host, pair.b.host, INNER.b, 2);
    await using other = new EngineLab();
    const plain = await ends(other, 'tap', 'tap', {
      withoutOffloads: ['vnet-hdr', 'csum', 'tso4', 'tso6', 'uso4', 'uso6'],
    });
    await transfer(plain.a.host, plain.b.host, INNER.b, 4);
    await transfer(plain.b.host, plain.a.host, INNER6.a, 4);
  });

  test('carries the same in two threads, each with a queue of the device', async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tap', { threads: 2 });
    await transfer(a.host, b.host, INNER.b, 8);
    await transfer(b.host, a.host, INNER6.a, 8);
    using heard = await Listener.on(b.host, device('b'));
    const bytes = frame(BROADCAST, MAC.a, 0x88b5, new Uint8Array(46).fill(3));
    await sendFrames(a.host, device('a'), [bytes]);
    await heard.receives(bytes);
  });

  test('keeps frames until the member has a session', async () => {
    await using lab = new EngineLab();
    const a = await lab.end('a', { mode: 'tap', otherMode: 'tap' });
    const b = await lab.liveEnd('b', { mode: 'tap', otherMode: 'tap' });
    using heard = await Listener.on(b.host, device('b'));
    const frames = [BROADCAST, MAC.b].map((to) =>
      frame(to, MAC.a, 0x88b5, new Uint8Array(600).fill(4)),
    );
    await sendFrames(a.host, device('a'), frames);
    await a.host.counter('out-staged', 2);
    await a.host.engine('installKeys', keysOf('a', 'aes256gcm'));
    await a.host.engine('activateKeys', indexOf('a'));
    for (const bytes of frames) await heard.receives(bytes);
  });

  test('tells the system by ICMP that a packet is too big for the path, while frames pass', async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tap');
    const { socket } = a.socket;
    const remote = { address: OUTER.b, port: 41_641 };
    await a.host.engine('setPath', 0, { socket, remote, mtuBytes: 1300 });
    for (const [address, size] of [
      [INNER.b, '1350'],
      [INNER6.b, '1330'],
    ] as const) {
      assert.throws(() =>
        a.host.run('ping', '-c', '2', '-W', '1', '-M', 'do', '-s', size, address),
      );
      await until('the system to know', async () =>
        a.host.run('ip', 'route', 'get', address).includes('mtu 1300'),
      );
    }
    await transfer(a.host, b.host, INNER.b, 4);
    using heard = await Listener.on(b.host, device('b'));
    const bytes = frame(MAC.b, MAC.a, 0x88b5, new Uint8Array(1_400).fill(5));
    await sendFrames(a.host, device('a'), [bytes]);
    await heard.receives(bytes);
  });

  test("has the member's MAC, and resolves members without a frame through the tunnel", async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tap');
    assert.match(a.host.run('ip', 'link', 'show', device('a')), new RegExp(`ether ${MAC.a}`));
    ping(a.host, INNER.b);
    ping(a.host, INNER6.b);
    const neighbours = a.host.run('ip', 'neigh', 'show', 'dev', device('a'));
    assert.match(neighbours, new RegExp(`${INNER.b} lladdr ${MAC.b}`));
    assert.match(neighbours, new RegExp(`${INNER6.b} lladdr ${MAC.b}`));
    const counters = await a.host.counters();
    assert.ok(counters['out-frame-answered']! >= 2);
    // Its own link-local address may be asked for; ARP never is.
    using heard = await Listener.on(b.host, device('b'));
    a.host.run('ip', 'neigh', 'flush', 'dev', device('a'));
    ping(a.host, INNER.b);
    assert.deepEqual(
      heard.lines.filter((line) => line.slice(24, 28) === '0806' && line.startsWith('f')),
      [],
    );
  });

  test('does not answer when the system asks whether its own address is free', async () => {
    await using lab = new EngineLab();
    const { a } = await ends(lab, 'tap', 'tap');
    using heard = await Listener.on(a.host, device('a'));
    const probe = arp({ senderMac: MAC.a, senderIp: '0.0.0.0', targetIp: INNER.a });
    const taken = arp({ senderMac: MAC.a, senderIp: '0.0.0.0', targetIp: INNER.b });
    await sendFrames(a.host, device('a'), [
      frame(BROADCAST, MAC.a, 0x0806, probe),
      frame(BROADCAST, MAC.a, 0x0806, taken),
    ]);
    const reply = arp({
      operation: 2,
      senderMac: MAC.b,
      senderIp: INNER.b,
      targetMac: MAC.a,
      targetIp: '0.0.0.0',
    });
    await heard.receives(frame(MAC.a, MAC.b, 0x0806, reply));
    assert.equal(heard.lines.filter((line) => line.slice(24, 28) === '0806').length, 1);
  });

  test('carries frames of any kind to the other end: IPX in four framings, tags, the smallest and the largest', async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tap');
    using heard = await Listener.on(b.host, device('b'));
    const frames = [
      ...Object.values(ipxFrames(BROADCAST, MAC.a, new Uint8Array(40).fill(7))),
      ...Object.values(ipxFrames(MAC.b, MAC.a, new Uint8Array(40).fill(8))),
      frame(MAC.b, MAC.a, '8100 0005 88b5', new Uint8Array(46).fill(9)),
      frame(MAC.b, MAC.a, 0x88b5, new Uint8Array(1)),
      frame(MAC.b, MAC.a, 0x88b6, new Uint8Array(1_400).fill(1)),
    ];
    await sendFrames(a.host, device('a'), frames);
    for (const bytes of frames) {
      // The system shows a tag beside the frame, not in it.
      if (bytes[12] !== 0x81) await heard.receives(bytes);
    }
    assert.equal((await b.host.counters())['in-frames']! >= frames.length, true);
  });

  test('carries another subnet by TCP, UDP and ping, both families', async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tap');
    for (const [{ host }, side, n] of [
      [a, 'a', 1],
      [b, 'b', 2],
    ] as const) {
      host.run('ip', 'addr', 'add', `192.168.77.${n}/24`, 'dev', device(side));
      host.run('ip', 'addr', 'add', `fd99::${n}/64`, 'dev', device(side), 'nodad');
    }
    for (const address of ['192.168.77.2', 'fd99::2']) {
      ping(a.host, address);
      ping(a.host, address, '-s', '3000');
      await transfer(a.host, b.host, address, 8);
    }
    const counters = await a.host.counters();
    assert.ok(counters['out-frames']! > 0);
    assert.ok(
      counters['out-packets']! > 2 * counters['out-super-packets']!,
      'super-packets in frames',
    );
    for (const name of ['in-source-refused', 'in-malformed', 'in-device-error'])
      assert.equal((await b.host.counters())[name], 0, name);
  });

  test('takes nothing that lies about its source, and a TUN device takes no frames at all', async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tap');
    const payload = new Uint8Array(46);
    await sendFrames(a.host, device('a'), [
      frame(BROADCAST, '02:00:00:00:00:01', 0x88b5, payload),
      frame(BROADCAST, MAC.b, 0x88b5, payload),
      frame('01:80:c2:00:00:00', MAC.a, 0x0026, payload),
    ]);
    await a.host.counter('out-frame-stranger', 2);
    await a.host.counter('out-frame-nobody', 1);
    // What its own engine would never send comes behind a tag, which it does not look into.
    const spoofed = (type: string, bytes: Uint8Array) =>
      frame(MAC.b, MAC.a, `8100 0000 ${type}`, bytes);
    await sendFrames(a.host, device('a'), [
      spoofed('0800', ipBetween('10.9.0.77', INNER.b)),
      spoofed('0806', arp({ senderMac: MAC.a, senderIp: INNER.b, targetIp: INNER.b })),
      spoofed('86dd', ipBetween('fd00:9::77', INNER6.b)),
    ]);
    await b.host.counter('in-source-refused', 3);
    await using other = new EngineLab();
    const mixed = await ends(other, 'tap', 'tun');
    // As if it had not been told that the other end is none.
    await mixed.a.host.engine('setLan', 0, { ethernet: true, groups: 'all' });
    await sendFrames(mixed.a.host, device('a'), [frame(BROADCAST, MAC.a, 0x88b5, payload)]);
    await mixed.b.host.counter('in-destination-refused', 1);
    assert.equal((await mixed.b.host.counters())['in-frames'], 0);
  });

  test('sends no frames to a member in TUN mode', async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tun');
    await sendFrames(a.host, device('a'), [
      frame(BROADCAST, MAC.a, 0x88b5, new Uint8Array(46)),
      frame(MAC.b, MAC.a, 0x88b5, new Uint8Array(46)),
    ]);
    await a.host.counter('out-frame-nobody', 2);
    assert.equal((await a.host.counters())['out-frames'], 0);
    assert.equal((await b.host.counters())['in-destination-refused'], 0);
  });

  test('contains a storm: at the sender, at the receiver, and the tunnel answers meanwhile', async () => {
    await using lab = new EngineLab();
    const { a, b } = await ends(lab, 'tap', 'tap');
    const storm = text(frame(BROADCAST, MAC.a, 0x88b5, new Uint8Array(60)));
    const program = await nativeProgram('ethernet-frames');
    const flooding = a.host.runMeanwhile(program, 'flood', device('a'), '2000', storm);
    ping(b.host, INNER.a, '-c', '20');
    const sent = Number(await flooding);
    const counters = await a.host.counters();
    assert.ok(sent > 5_000, `${sent} frames in two seconds`);
    // A second's worth at once, and a second's worth a second.
    assert.ok(counters['out-frames']! <= 4_500, `${counters['out-frames']} frames left`);
    assert.ok(counters['out-group-limited']! > 0);
    assert.ok((await b.host.counters())['in-frames']! > 500);
  });
});
