/** A relay on real sockets: UDP with and without offloads, IPv6, WebSocket and the bridge between them, floods, and its end. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { decodeRelay, readDelivered, relayMacIsValid, sealRelay } from '#wire/relay.ts';
import { bare, Served, UdpClient, WebSocketClient } from '../support/served-relay.ts';

for (const without of [[], ['udp-segment', 'udp-gro']] as const) {
  describe(`by UDP ${without.length === 0 ? 'with' : 'without'} offloads`, () => {
    test('transport messages arrive bare, everything else behind its sender', async () => {
      await using served = new Served(without);
      await using anna = await new UdpClient(served.udp).join(served.ticket(1));
      await using bert = await new UdpClient(served.udp6, '::1').join(served.ticket(2));
      anna.data(2, bare('a'));
      assert.deepEqual(await bert.next('data'), bare('a'));
      bert.data(1, Buffer.alloc(148, 'h'));
      const delivered = readDelivered(await anna.next('data'));
      assert.deepEqual([delivered?.from, delivered?.payload.length], [2, 148]);
    });

    test('a burst arrives whole and in order', async () => {
      await using served = new Served(without);
      await using anna = await new UdpClient(served.udp).join(served.ticket(1));
      await using bert = await new UdpClient(served.udp).join(served.ticket(2));
      for (let i = 0; i < 2000; i++) {
        const packet = Buffer.alloc(i % 7 === 0 ? 600 : 1200);
        packet.writeUInt32BE(0x04000000);
        packet.writeUInt32BE(i, 4);
        anna.data(2, packet);
        if (i % 50 === 49) await sleep(1);
      }
      for (let i = 0; i < 2000; i++) assert.equal((await bert.next(`${i}`)).readUInt32BE(4), i);
    });

    test('a padded probe passes as it is, with its sender', async () => {
      await using served = new Served(without);
      await using anna = await new UdpClient(served.udp).join(served.ticket(1));
      await using bert = await new UdpClient(served.udp).join(served.ticket(2));
      const probe = Buffer.concat([Uint8Array.of(0x42, 0x55, 0x52, 1), Buffer.alloc(1296, 'p')]);
      anna.data(2, probe);
      const delivered = readDelivered(await bert.next('the probe'));
      assert.deepEqual(Buffer.from(delivered!.payload), probe);
    });
  });
}

test('clients by WebSocket and by UDP reach each other', async () => {
  await using served = new Served();
  const port = await served.listen();
  await using anna = await (await WebSocketClient.open(port)).join(served.ticket(1));
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  await using carl = await (await WebSocketClient.open(port)).join(served.ticket(3));
  anna.data(2, bare('a'));
  assert.deepEqual(await bert.next('data'), bare('a'));
  bert.data(1, bare('b'));
  assert.deepEqual(await anna.next('data'), bare('b'));
  bert.data(1, Buffer.alloc(148, 'h'));
  assert.equal(readDelivered(await anna.next('data'))?.from, 2);
  carl.data(1, Buffer.alloc(148, 'c'));
  assert.equal(readDelivered(await anna.next('data'))?.from, 3);
});

test('a client moves from WebSocket to UDP by one refresh, with the same token', async () => {
  await using served = new Served();
  await using first = await WebSocketClient.open(await served.listen());
  const mine = served.ticket(1);
  await first.join(mine);
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  await using then = new UdpClient(served.udp);
  const refresh = {
    type: 'refresh',
    token: first.token,
    transaction: crypto.random(12),
    time: Date.now(),
  } as const;
  let answer = await then.ask(sealRelay(crypto, mine.key, refresh));
  assert.equal(answer.type, 'challenge');
  const cookie = answer.type === 'challenge' ? answer.cookie : new Uint8Array(16);
  answer = await then.ask(sealRelay(crypto, mine.key, { ...refresh, cookie }));
  assert.equal(answer.type, 'refreshed');
  bert.data(1, bare('x'));
  assert.deepEqual(await then.next('data'), bare('x'));
});

/** To the client with the first ticket, until some of it is dropped because it reads slowly. */
async function flood(served: Served, from: UdpClient): Promise<void> {
  const payload = Buffer.concat([bare('s'), Buffer.alloc(1200)]);
  for (let i = 0; served.count('dropped-slow-reader') === 0; i++) {
    assert.ok(i < 100_000, 'nothing was dropped');
    from.data(1, payload);
    if (i % 50 === 49) await sleep(1);
  }
}

test('who reads slowly by WebSocket costs a bounded queue, and nobody else anything', async () => {
  await using served = new Served();
  await using slow = await (await WebSocketClient.open(await served.listen())).join(
    served.ticket(1),
  );
  await using anna = await new UdpClient(served.udp).join(served.ticket(2));
  await using bert = await new UdpClient(served.udp).join(served.ticket(3));
  slow.socket.pause();
  await flood(served, anna);
  anna.data(3, bare('n'));
  assert.deepEqual(await bert.next('data'), bare('n'));
});

for (const scheme of ['ws', 'wss']) {
  test(`what waits for a slow reader waits where it is bounded, not in the kernel (${scheme})`, async () => {
    await using served = new Served([], scheme === 'wss');
    const port = await served.listen();
    await using slow = await (await WebSocketClient.open(port, scheme)).join(served.ticket(1));
    await using anna = await new UdpClient(served.udp).join(served.ticket(2));
    slow.socket.pause();
    await flood(served, anna);
    // What is with the kernel: a window of the reader, and what is not sent yet.
    const queued = queuedBytes(port);
    assert.ok(queued < 1_000_000, `${queued} bytes`);
  });
}

/** Of the connection to a port of 127.0.0.1, from its side. */
function queuedBytes(port: number): number {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const rows = readFileSync('/proc/net/tcp', 'utf8').split('\n');
  const row = rows
    .map((line) => line.trim().split(/ +/))
    .find((row) => {
      return row[1] === local && row[3] === '01';
    });
  return Number.parseInt(row?.[4]?.split(':')[0] ?? '', 16);
}

test('one client that floods leaves another its service', async () => {
  await using served = new Served();
  const slow = { packetsPerSecond: 100, bytesPerSecond: 10_000_000 };
  await using mallory = await new UdpClient(served.udp).join(served.ticket(66, slow));
  await using anna = await new UdpClient(served.udp).join(served.ticket(1));
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  let arrived = 0;
  for (let i = 0; i < 100; i++) {
    for (let k = 0; k < 100; k++) mallory.data(2, bare('m'));
    anna.data(2, bare('a'));
    await sleep(5);
  }
  await sleep(200);
  for (const bytes of bert.received) if (bytes[4] === 97) arrived++;
  assert.ok(arrived >= 95, `${arrived} of 100 arrived`);
  assert.ok(served.count('dropped-packet-rate') > 5000);
});

test('whoever is no client gets nothing through and less back than was sent', async () => {
  await using served = new Served();
  await using anna = await new UdpClient(served.udp).join(served.ticket(1));
  await using bert = await new UdpClient(served.udp).join(served.ticket(2));
  await using stranger = new UdpClient(served.udp);
  stranger.token = anna.token;
  stranger.data(2, bare('s'));
  stranger.token = 1n;
  stranger.data(2, bare('s'));
  for (const size of [0, 1, 7, 8, 20, 21, 68, 1400]) {
    const junk = Buffer.alloc(size, 'j');
    stranger.send(junk);
    if (size >= 8)
      stranger.send(Buffer.concat([Uint8Array.of(0x42, 0x55, 0x52, 2, 9, 0, 0, 0), junk]));
  }
  anna.data(2, bare('a'));
  assert.deepEqual(await bert.next('data'), bare('a'));
  assert.equal(bert.received.length, 0);
  // It is told that the allocation is elsewhere, which is of no use without the key.
  assert.equal((await stranger.next('challenge')).length, 36);
  assert.equal(stranger.received.length, 0);
  assert.equal(served.count('dropped-wrong-source'), 1);
  assert.equal(served.count('dropped-unknown-token'), 1);
});

test('at its end it tells its clients and serves them until they have gone', async () => {
  await using served = new Served();
  const mine = served.ticket(1);
  await using anna = await new UdpClient(served.udp).join(mine);
  const theirs = served.ticket(2);
  await using bert = await new UdpClient(served.udp).join(theirs);
  const closed = served.relay.close(5000);
  const told = await anna.next('the news');
  assert.equal(decodeRelay(told)?.type, 'draining');
  assert.ok(relayMacIsValid(crypto, mine.key, told));
  await bert.next('the news');
  anna.data(2, bare('l'));
  assert.deepEqual(await bert.next('data'), bare('l'));
  const began = performance.now();
  for (const [client, { key }] of [
    [anna, mine],
    [bert, theirs],
  ] as const) {
    const release = {
      type: 'release',
      token: client.token,
      transaction: crypto.random(12),
      time: Date.now(),
    } as const;
    client.send(sealRelay(crypto, key, release));
  }
  await closed;
  assert.ok(performance.now() - began < 4000);
});
