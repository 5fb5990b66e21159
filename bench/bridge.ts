/**
 * What does a relay over TCP cost this side? Datagrams of 1,452 bytes between an engine's socket and a WebSocket, through the bridge of
 * the daemon, each way by itself; the far end is a process that throws away, or sends, prepared bytes. Loopback interface, no TLS.
 *
 *   node bench/bridge.ts [--seconds 4] [--json FILE]
 */
import { fork } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { noProxy } from '#client/proxy.ts';
import { RelayBridges } from '#client/relay-bridge.ts';
import { loadAddon } from '#engine/addon.ts';
import { MESSAGE_LENGTH, MESSAGE_WORDS, SHARE_NOT } from '#engine/layout.ts';
import { ALL_OFFLOADS } from '#engine/offloads.ts';
import { newSharedCounters, newTables, OUT_BATCH_BYTES } from '#engine/tables.ts';
import { acceptInput } from '#wire/web-socket.ts';

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '4' },
    json: { type: 'string' },
    relay: { type: 'string' },
  },
});
const datagramBytes = 1452;
const datagramsPerRun = 45;

/** The far end: `sink` reads and forgets, `source` writes frames as fast as they are taken. */
function relay(role: string): void {
  const head = Buffer.from([0x82, 126, datagramBytes >> 8, datagramBytes & 255]);
  const frame = Buffer.concat([head, Buffer.alloc(datagramBytes, 7)]);
  const frames = Buffer.concat(Array.from({ length: datagramsPerRun }, () => frame));
  const pour = (socket: Socket) => {
    while (!socket.destroyed && socket.write(frames)) {}
  };
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', (request) => {
      const key = /Sec-WebSocket-Key: (\S+)/.exec(request.toString())?.[1] ?? '';
      const accept = createHash('sha1').update(acceptInput(key)).digest('base64');
      socket.write(`HTTP/1.1 101 S\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`);
      socket.resume();
      if (role !== 'source') return;
      socket.on('drain', () => pour(socket));
      pour(socket);
    });
  }).listen(0, '127.0.0.1', () => process.send?.((server.address() as { port: number }).port));
}

async function measure(role: 'sink' | 'source', seconds: number) {
  const child = fork(fileURLToPath(import.meta.url), ['--relay', role]);
  const [port] = await once(child, 'message');
  const [socket, enginePort] = addon.socketOpen(localhost, 0, ALL_OFFLOADS, SHARE_NOT, -1);
  const up = Promise.withResolvers<number>();
  const bridges = new RelayBridges({
    enginePort,
    proxies: noProxy,
    onBridge: (_, endpoint) => endpoint && up.resolve(endpoint.port),
  });
  bridges.want('bench', [`ws://127.0.0.1:${port}/v1/relay`]);
  addon.setPath(0, socket, localhost, await up.promise, new Uint8Array(0), 0);
  await sleep(300);
  const before = {
    bridge: bridges.counters(),
    cpu: process.cpuUsage(),
    own: process.threadCpuUsage(),
  };
  const start = performance.now();
  let received = 0;
  while (performance.now() - start < seconds * 1000) {
    if (role === 'sink')
      addon.sendRun(0, datagramBytes * datagramsPerRun, datagramBytes, datagramsPerRun);
    else {
      const messages = addon.receive(socket);
      for (let i = 0; i < messages; i++)
        received += tables.messages[i * MESSAGE_WORDS + MESSAGE_LENGTH]!;
    }
    await turn();
  }
  const elapsed = (performance.now() - start) / 1000;
  const cpu = process.cpuUsage(before.cpu);
  const own = process.threadCpuUsage(before.own);
  const after = bridges.counters();
  const grown = (name: string) => after[name]! - before.bridge[name]!;
  const carried = role === 'sink' ? grown('bridge-out') : received / datagramBytes;
  await bridges[Symbol.asyncDispose]();
  addon.socketClose(socket);
  child.kill();
  const threadSeconds = (cpu.user + cpu.system - own.user - own.system) / 1e6;
  return {
    way: role === 'sink' ? 'to the relay' : 'from the relay',
    mbitPerSecond: Math.round((carried * datagramBytes * 8) / elapsed / 1e6),
    thousandPacketsPerSecond: Math.round(carried / elapsed / 1000),
    bridgeCpuMicrosecondsPerPacket: Math.round((threadSeconds * 1e8) / carried) / 100,
    dropped: grown('bridge-out-full') + grown('bridge-out-late'),
  };
}

const localhost = Uint8Array.of(127, 0, 0, 1);
const addon = loadAddon();
const tables = newTables(newSharedCounters(1).engine);

if (values.relay !== undefined) relay(values.relay);
else {
  addon.bind(
    ...([tables.out, OUT_BATCH_BYTES, tables.incoming, tables.run, tables.items] as const),
    ...([tables.messages, tables.runs, tables.units, tables.pieces, tables.counters] as const),
  );
  const seconds = Number(values.seconds);
  const results = [await measure('sink', seconds), await measure('source', seconds)];
  console.table(results);
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results)}\n`);
  process.exit(0);
}
