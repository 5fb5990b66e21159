/**
 * What strangers send to the tunnel port of a running daemon: noise, cut and changed copies of real messages, replays, and
 * floods of handshakes, also under the address of a peer. Its tunnel goes on, what it drops it counts, and its memory stays.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import type { BuriDaemon } from '../../lab/buri.ts';
import { labSkipReason } from '../../lab/needs.ts';
import { waitFor } from '../../lab/wait.ts';
import { CookieHolder } from '../../src/core/session/cookie.ts';
import { monotonicMs } from '../../src/core/time.ts';
import { nodeCrypto as crypto } from '../../src/crypto/node-crypto.ts';
import { encodeInitiation, messageKind } from '../../src/wire/wireguard.ts';
import type { Flood } from '../support/datagram-flood.ts';
import {
  counted,
  counters,
  flood,
  HostileWorld,
  homePassword,
  memoryMb,
  privateKeys,
  reaches,
  tunnelPort,
  virtualAddress,
} from '../support/hostile-world.ts';
import { type CapturedDatagram, readCapture } from '../support/pcap.ts';

const skip = labSkipReason() || (!existsSync('/usr/bin/tcpdump') && 'needs tcpdump');
const million = 1_000_000;
const roundDatagrams = 200_000;
const mostGrowthMb = 64;
let world: HostileWorld;
let anna: BuriDaemon;
let bert: BuriDaemon;
/** Where anna's tunnel port is, and bert as seen from outside. */
let target: { address: string; port: number };
let inner: { anna: string; bert: string };
/** What bert and the server sent to anna. */
let captured: CapturedDatagram[];

before(async () => {
  if (skip !== false) return;
  world = await HostileWorld.create();
  anna = await world.device('anna');
  const host = await world.host('bert');
  const file = join(world.lab.temporaryDirectory('capture'), 'bert.pcap');
  const options = ['--immediate-mode', '-U', '-n', '-i', 'eth0', '-w', file];
  const capture = host.spawn('tcpdump', [...options, 'udp']);
  await capture.line(/listening on/);
  bert = await world.device('bert', host);
  await anna.verb('create', ['home', homePassword]);
  await bert.verb('join', ['home', homePassword, '--wait', '20']);
  target = { address: anna.host.ipv4, port: await tunnelPort(anna) };
  inner = { anna: await virtualAddress(anna), bert: await virtualAddress(bert) };
  await reaches(bert, inner.anna);
  assert.equal((await bert.host.ping(inner.anna, { count: 10, sizeBytes: 900 })).received, 10);
  await capture.stop('SIGINT');
  const { address, port } = target;
  captured = readCapture(file).filter(({ to }) => to === `${address}:${port}`);
});

after(async () => await world?.[Symbol.asyncDispose]());

/** Datagrams that the engine has read, or fewer: some come merged. What its socket buffer lost is not among them. */
const arrived = async () => (await counters(anna))['in-messages']!;

const isKind = (kind: string) => (datagram: CapturedDatagram) =>
  messageKind(datagram.bytes) === kind;
const base64 = (datagrams: readonly { bytes: Uint8Array }[]) =>
  datagrams.map(({ bytes }) => Buffer.from(bytes).toString('base64'));

/** Goes on until that many have arrived. */
async function floodUntilArrived(count: number, order: Pick<Flood, 'kind' | 'messages'>) {
  const end = (await arrived()) + count;
  for (let sent = 0; (await arrived()) < end; sent += roundDatagrams) {
    assert.ok(
      sent < 10 * count,
      `${sent} were sent, ${end - (await arrived())} have yet to arrive`,
    );
    await flood(world.mallory, { ...target, count: roundDatagrams, ...order });
  }
}

/** The tunnel carries everything again at once, on the path of before. */
async function assertUnharmed(): Promise<void> {
  await reaches(bert, inner.anna);
  for (const [from, to] of [
    [bert, inner.anna],
    [anna, inner.bert],
  ] as const) {
    await waitFor(`${from.host.name} to reach ${to} without loss`, async () => {
      const { received, output } = await from.host.ping(to, { count: 20, intervalMs: 10 });
      assert.equal(received, 20, output);
      return true;
    });
  }
  const { path } = await anna.verb('peer', ['bert']);
  assert.equal(path.kind, 'direct');
  assert.equal(path.endpoint?.split(':')[0], bert.host.ipv4);
  assert.ok(anna.process.running);
}

describe('a running daemon', { skip }, () => {
  test('was recorded: the attacks below use real messages', () => {
    assert.ok(captured.filter(isKind('transport')).length >= 10, 'packets');
    const handshakes = captured.filter(({ bytes }) => /^handshake/.test(messageKind(bytes) ?? ''));
    assert.ok(handshakes.length > 0, 'handshakes');
    assert.ok(
      captured.some(({ bytes }) => bytes.readUInt32BE(0) === 0x42555201),
      'probes',
    );
  });

  for (const kind of ['random', 'truncated'] as const) {
    test(`keeps serving under a million ${kind} datagrams, and its memory stays flat`, async () => {
      const order = { kind, messages: base64(captured) };
      // Buffers and compiled code grow to their working size first.
      await floodUntilArrived(roundDatagrams / 2, order);
      const beforeMb = memoryMb(anna);
      const pings = bert.host.ping(inner.anna, { count: 100, intervalMs: 50, timeoutMs: 1000 });
      await floodUntilArrived(million, order);
      const { received, output } = await pings;
      const grownMb = memoryMb(anna) - beforeMb;
      // The socket's buffer is shared with the flood: some are lost there, as on any flooded cable.
      assert.ok(received >= 20, `answered during the flood: ${output}`);
      assert.ok(grownMb < mostGrowthMb, `memory grew by ${grownMb.toFixed(1)} MB`);
      await assertUnharmed();
    });
  }

  test('drops replayed packets and handshakes, and does not follow them to another address', async () => {
    const transports = captured.filter(isKind('transport'));
    const added = await counted(anna, async () => {
      const messages = base64(captured);
      await flood(world.mallory, { ...target, kind: 'replayed', count: captured.length, messages });
      await waitFor('the replays to be counted', async () => {
        const { 'in-replayed': replayed = 0, 'in-unknown-index': unknown = 0 } =
          await counters(anna);
        return replayed + unknown >= transports.length;
      });
    });
    assert.ok(added('in-replayed') >= 10, 'packets of the session in force');
    const initiations = captured.filter(isKind('handshake-initiation')).length;
    assert.ok(added('session-drop-replayed') + added('session-drop-peer-rate') >= initiations);
    assert.ok(added('session-sessions') === 0, 'no session came of it');
    await assertUnharmed();
  });

  test('asks a flood of handshakes that know its key for cookies, and serves its peer', async () => {
    const messages = handshakesFor(anna, 5_000);
    const added = await counted(anna, async () => {
      await flood(world.mallory, { ...target, kind: 'replayed', count: 20_000, messages });
      await assertUnharmed();
    });
    assert.ok(added('session-cookies-sent') > 100, `${added('session-cookies-sent')} cookies`);
    // Beyond the bound a Diffie-Hellman is done for nobody who has not shown a cookie.
    assert.ok(
      added('session-drop-mac2') > added('session-drop-forged'),
      'most were not worth a look inside',
    );
    assert.equal(added('session-drop-unknown-peer'), 0);
  });

  test('survives the same flood under the address and port of its peer', async () => {
    await forgeable(bert.host.ipv4);
    const messages = handshakesFor(anna, 2_000);
    const from = { address: bert.host.ipv4, port: await tunnelPort(bert) };
    const cookies = await counted(bert, async () => {
      const added = await counted(anna, async () => {
        await flood(world.mallory, { ...target, from, kind: 'replayed', count: 20_000, messages });
        await assertUnharmed();
      });
      assert.ok(added('session-cookies-sent') > 0, 'the flood arrived');
    });
    // The cookies went to bert, who never asked.
    assert.ok(cookies('session-drop-unknown-index') > 0);
    assert.equal(cookies('session-cookies-received'), 0);
  });

  test('takes no cookie that it did not ask for', async () => {
    const messages = Array.from({ length: 5_000 }, () => {
      const bytes = randomBytes(64);
      bytes.set([3, 0, 0, 0]);
      return bytes.toString('base64');
    });
    const added = await counted(anna, async () => {
      await flood(world.mallory, { ...target, kind: 'replayed', count: 20_000, messages });
    });
    const seen = added('session-drop-unknown-index') + added('up-dropped-handshake');
    assert.ok(seen > 500, `${seen} were seen`);
    assert.equal(added('session-cookies-received'), 0);
    await assertUnharmed();
  });

  test('starts a new session with its peer after all of it', async () => {
    await bert.stop('SIGKILL');
    const again = await world.restart(bert);
    await reaches(again, inner.anna);
    bert = again;
    await assertUnharmed();
  });
});

/** Initiations whose mac1 is right, as anybody can make who knows the public key; inside they are noise. */
function handshakesFor(daemon: BuriDaemon, count: number): string[] {
  const publicKey = crypto.x25519PublicKey(privateKeys(daemon).tunnel);
  const holder = new CookieHolder(crypto, publicKey, 120_000);
  return Array.from({ length: count }, (_, senderIndex) => {
    const message = encodeInitiation({ senderIndex, noise: randomBytes(108) });
    holder.addMacs(message, monotonicMs(0));
    return Buffer.from(message).toString('base64');
  });
}

/** Lets mallory send as somebody else, which the Internet otherwise does not. */
async function forgeable(address: string): Promise<void> {
  const { core } = world.internet;
  await core.sysctl({ 'net.ipv4.conf.all.rp_filter': 0 });
  const names = JSON.parse(await core.check('ip', ['-json', 'link'])) as { ifname: string }[];
  for (const { ifname } of names) {
    const device = ifname.split('@')[0];
    await core.sysctl({ [`net.ipv4.conf.${device}.rp_filter`]: 0 });
  }
  await world.mallory.ip(`addr add ${address}/32 dev lo`);
}
