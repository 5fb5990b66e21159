import { parentPort, workerData } from 'node:worker_threads';
import { BuriError } from '#core/errors.ts';
import { loadAddon, READABLE } from '#engine/addon.ts';
import { SHARE_NOT } from '#engine/layout.ts';
import { ALL_OFFLOADS } from '#engine/offloads.ts';
import { newSharedCounters, newTables, OUT_BATCH_BYTES } from '#engine/tables.ts';
import type { BridgeCommand, BridgeReport, BridgeSettings } from './messages.ts';
import { BridgePipe } from './pipe.ts';

/** Entry of the thread that carries datagrams between the engine and the WebSockets of relays. */
const parent = parentPort;
if (parent === null) throw new Error('the thread of the bridges runs in a worker only');

const { enginePort, counters } = workerData as BridgeSettings;
const post = (report: BridgeReport): void => parent.postMessage(report);
const addon = loadAddon();
const tables = newTables(newSharedCounters(1).engine);
addon.bind(
  ...([
    tables.out,
    OUT_BATCH_BYTES,
    tables.incoming,
    tables.run,
    tables.items,
    tables.messages,
  ] as const),
  ...([tables.runs, tables.units, tables.pieces, tables.counters] as const),
);
const pipes = new Map<string, { readonly pipe: BridgePipe; readonly socket: number }>();
const bySocket = new Map<number, BridgePipe>();
addon.onReady((id) => bySocket.get(id - 1)?.receive());

function open({ relay, targets }: Extract<BridgeCommand, { type: 'open' }>): void {
  close(relay);
  const onDown = ({ code, message: reason }: BuriError) =>
    post({ type: 'down', relay, code, reason });
  const [socket, port] = addon.socketOpen(
    Uint8Array.of(127, 0, 0, 1),
    0,
    ALL_OFFLOADS,
    SHARE_NOT,
    -1,
  );
  if (socket < 0) {
    onDown(
      new BuriError('bridge-failed', `no socket on the loopback interface (error ${-socket})`),
    );
    return;
  }
  const onUp = () => post({ type: 'up', relay, port });
  const pipe = new BridgePipe({
    ...{ addon, tables, counters, socket, enginePort, targets, onUp, onDown },
  });
  pipes.set(relay, { pipe, socket });
  bySocket.set(socket, pipe);
  addon.watch(1 + socket, READABLE);
}

function close(relay: string): void {
  const there = pipes.get(relay);
  if (there === undefined) return;
  pipes.delete(relay);
  bySocket.delete(there.socket);
  there.pipe.end();
  addon.watch(1 + there.socket, 0);
  addon.clearPath(there.socket);
  addon.socketClose(there.socket);
}

parent.on('message', (command: BridgeCommand) => {
  switch (command.type) {
    case 'open':
      open(command);
      break;
    case 'close':
      close(command.relay);
      break;
    case 'check':
      for (const { pipe } of pipes.values()) pipe.check();
      break;
    default:
      command satisfies never;
  }
});
