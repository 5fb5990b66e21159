/**
 *            server
 *              ║
 *   ═══════ Internet ═══════      Ethernet mode beside TUN, each across two NATs
 *    ║         ║         ║
 *   anna     bert      carol      (Ethernet, Ethernet, TUN)
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { BuriDaemon, BuriServer } from '../../lab/buri.ts';
import { pinnedNode, repositoryRoot } from '../../lab/exec.ts';
import { FrameListener, floodFrame, sendFrames } from '../../lab/frames.ts';
import { Home } from '../../lab/home.ts';
import type { Host } from '../../lab/host.ts';
import { Internet } from '../../lab/internet.ts';
import { Lab } from '../../lab/lab.ts';
import { nativeSkipReason } from '../../lab/native.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';
import { BROADCAST, frame, ipxFrames, memberMac } from '../support/frames.ts';

const tool = `${repositoryRoot}/lab/tcp-tool.ts`;
const streamBytes = 8 * 1024 * 1024;
/** Local experimental EtherTypes (IEEE 802). */
const experiment = 0x88b5;
const signal = 0x88b6;

interface Member {
  readonly nick: string;
  readonly host: Host;
  readonly daemon: BuriDaemon;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly mac: string;
}

async function counters({ daemon }: Member): Promise<Readonly<Record<string, number>>> {
  return (await daemon.verb('status')).counters;
}

/** A stream from one member to an address of another, checked at its end. */
async function stream(from: Member, to: Member, address: string): Promise<void> {
  const sink = to.host.spawn(pinnedNode, [tool, 'sink', address, '5001']);
  await sink.line(/^listening$/);
  const args = [tool, 'source', address, '5001', `${streamBytes}`];
  const sent = await from.host.check(pinnedNode, args, { timeoutMs: 120_000 });
  const received = await sink.line(/^\d+ [0-9a-f]{64}$/, { timeoutMs: 60_000 });
  assert.equal(received, sent.trim().split('\n').at(-1));
}

const skip = labSkipReason() || nativeSkipReason();

describe('Ethernet mode', { skip }, () => {
  let lab: Lab;
  let anna: Member;
  let bert: Member;
  let carol: Member;

  before(async () => {
    lab = await Lab.create();
    const internet = await Internet.create(lab);
    const server = await BuriServer.start(await internet.host('server'), { enrol: 'open' });
    const url = await server.url();
    const start = async (nick: string, mode: 'tun' | 'tap'): Promise<Member> => {
      const home = await Home.create(internet, { name: nick, nat: 'port-restricted' });
      const daemon = await BuriDaemon.start(home.firstHost, { mode });
      const { ipv4, ipv6 } = await daemon.verb('login', ['--nick', nick, url]);
      return { nick, host: home.firstHost, daemon, ipv4, ipv6, mac: memberMac(ipv4) };
    };
    anna = await start('anna', 'tap');
    bert = await start('bert', 'tap');
    carol = await start('carol', 'tun');
    await anna.daemon.verb('create', ['games', 'pw']);
    for (const { daemon } of [bert, carol]) {
      await daemon.verb('join', ['games', 'pw', '--wait', '30']);
    }
    for (const { nick, daemon } of [anna, bert, carol]) {
      await waitFor(`${nick} to have its tunnels`, async () => {
        const { networks } = await daemon.verb('list');
        const paths = networks[0]?.members.filter(({ self }) => !self).map(({ path }) => path.kind);
        return paths?.length === 2 && paths.every((kind) => kind === 'direct');
      });
    }
    for (const [from, to] of [
      [anna, bert],
      [bert, anna],
    ] as const) {
      await using ears = await FrameListener.on(to.host);
      const bytes = frame(to.mac, from.mac, signal, new Uint8Array(46));
      await waitFor(`${from.nick} to know that ${to.nick} takes frames`, async () => {
        await sendFrames(from.host, bytes);
        return ears.heard(bytes);
      });
    }
  });
  after(async () => {
    await lab?.[Symbol.asyncDispose]();
  });

  test('status says so, and the interface has the MAC of its address', async () => {
    assert.equal((await anna.daemon.verb('status')).mode, 'tap');
    assert.equal((await carol.daemon.verb('status')).mode, 'tun');
    assert.match(await anna.host.check('ip', ['link', 'show', 'buri0']), new RegExp(anna.mac));
  });

  test('members of both kinds reach each other by IPv4, IPv6 and TCP', async () => {
    for (const [from, to] of [
      [anna, bert],
      [anna, carol],
      [carol, anna],
    ] as const) {
      for (const address of [to.ipv4, to.ipv6]) {
        const { received, output } = await from.host.ping(address, { count: 3 });
        assert.equal(received, 3, `${from.nick} → ${to.nick}: ${output}`);
        await stream(from, to, address);
      }
    }
  });

  test('members are found without a frame through the tunnel', async () => {
    await using ears = await FrameListener.on(bert.host);
    const answeredBefore = (await counters(anna))['out-frame-answered']!;
    const sentBefore = (await counters(anna))['out-frames'];
    await anna.host.ip('neigh flush dev buri0');
    for (const address of [bert.ipv4, carol.ipv4]) {
      assert.equal((await anna.host.ping(address)).received, 1);
    }
    assert.ok((await counters(anna))['out-frame-answered']! >= answeredBefore + 2);
    // What was asked before this frame would have come before it.
    const last = frame(bert.mac, anna.mac, signal, new Uint8Array(46).fill(1));
    await sendFrames(anna.host, last);
    await waitFor('the frame', () => ears.heard(last));
    assert.equal(ears.count('0806'), 0, 'ARP in the tunnel');
    assert.equal((await counters(anna))['out-frames'], sentBefore! + 1);
    const { stdout } = await anna.host.run('ip', ['neigh', 'show', 'dev', 'buri0']);
    assert.match(stdout, new RegExp(`${carol.ipv4} lladdr ${carol.mac}`), 'also those in TUN mode');
  });

  test('IPX arrives in each of its four framings at who takes frames, and at nobody else', async () => {
    await using ears = await FrameListener.on(bert.host);
    const before = await counters(carol);
    const payload = new Uint8Array(40).fill(5);
    const frames = [
      ...Object.entries(ipxFrames(BROADCAST, anna.mac, payload)),
      ...Object.entries(ipxFrames(bert.mac, anna.mac, payload)),
    ];
    await sendFrames(anna.host, ...frames.map(([, bytes]) => bytes));
    for (const [framing, bytes] of frames)
      await waitFor(`IPX: ${framing}`, () => ears.heard(bytes));
    await using earsBack = await FrameListener.on(anna.host);
    const back = Object.values(ipxFrames(BROADCAST, bert.mac, payload));
    await sendFrames(bert.host, ...back);
    for (const bytes of back) await waitFor('IPX back', () => earsBack.heard(bytes));
    // Behind all of them, so that a frame for carol would have come before.
    assert.equal((await anna.host.ping(carol.ipv4)).received, 1);
    const after = await counters(carol);
    assert.equal(after['in-frames'], 0);
    assert.equal(
      after['in-destination-refused'],
      before['in-destination-refused'],
      'none was sent',
    );
  });

  test('another subnet on the interfaces works, with ARP through the tunnel', async () => {
    const ends = [
      { member: anna, ipv4: '10.9.9.1', ipv6: 'fd99::1' },
      { member: bert, ipv4: '10.9.9.2', ipv6: 'fd99::2' },
    ];
    for (const { member, ipv4, ipv6 } of ends) {
      await member.host.ip(`addr add ${ipv4}/24 dev buri0`, `addr add ${ipv6}/64 dev buri0 nodad`);
    }
    await using ears = await FrameListener.on(bert.host);
    for (const address of ['10.9.9.2', 'fd99::2']) {
      const { received, output } = await anna.host.ping(address, { count: 3 });
      assert.equal(received, 3, output);
    }
    assert.ok(ears.count('0806') >= 1, 'somebody has to be asked');
    for (const address of ['10.9.9.2', 'fd99::2']) await stream(anna, bert, address);
    // Broadcast of that subnet reaches it as well.
    const receiver = await bert.host.udp({ port: 4000 });
    const heard: string[] = [];
    receiver.onDatagram = ({ data, from }) => heard.push(`${from.address} ${Buffer.from(data)}`);
    const script = `const s=require('dgram').createSocket('udp4');s.bind(0,'10.9.9.1',()=>{s.setBroadcast(true);s.send('hello',4000,'10.9.9.255',()=>s.close())})`;
    await waitFor('the broadcast', async () => {
      await anna.host.check(pinnedNode, ['-e', script]);
      return heard.includes('10.9.9.1 hello');
    });
  });

  test('a storm is contained: the tunnels answer meanwhile, and counters tell', async () => {
    const before = { anna: await counters(anna), bert: await counters(bert) };
    const bytes = frame(BROADCAST, anna.mac, experiment, new Uint8Array(1000));
    const storm = floodFrame(anna.host, bytes, 2000);
    const pings = await Promise.all([
      bert.host.ping(anna.ipv4, { count: 20, intervalMs: 80 }),
      carol.host.ping(bert.ipv4, { count: 20, intervalMs: 80 }),
    ]);
    const sent = await storm;
    const rise = (who: 'anna' | 'bert', now: Readonly<Record<string, number>>, name: string) =>
      now[name]! - before[who][name]!;
    const after = { anna: await counters(anna), bert: await counters(bert) };
    const [toAnna, toBert] = pings;
    // Her answers share the queue of her own interface with the storm, which overflows: that few pass is her own doing.
    assert.ok(toAnna.received >= 1, toAnna.output);
    assert.ok(toBert.received >= 18, toBert.output);
    assert.ok(sent > 3000, `${sent} frames in two seconds`);
    const left = rise('anna', after.anna, 'out-frames');
    // A second's worth at once, then a second's worth a second, and somewhat for a late start.
    assert.ok(left <= 6000 && left < sent, `${left} of ${sent} left`);
    // The interface's own queue drops as well, when more comes than is read.
    assert.ok(rise('anna', after.anna, 'out-group-limited') > 0);
    assert.ok(rise('bert', after.bert, 'in-frames') <= left);
  });
});
