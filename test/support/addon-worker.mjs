// A worker that uses the addon as an engine does, and then waits to be ended. Plain JavaScript, so that a thousand start fast.
import { createRequire } from 'node:module';
import { parentPort, workerData } from 'node:worker_threads';

const addon = createRequire(import.meta.url)(workerData);
const { layout } = addon;
const words = (count) => new Int32Array(count);
addon.bind(
  new Uint8Array(layout.SUPER_PACKET_BYTES + layout.PACKET_GAP_BYTES),
  1,
  new Uint8Array(layout.MAX_SLOTS * layout.SLOT_BYTES),
  new Uint8Array(layout.SUPER_PACKET_BYTES),
  words(layout.MAX_ITEMS * layout.ITEM_WORDS),
  words(layout.MAX_SLOTS * layout.MESSAGE_WORDS),
  words(layout.MAX_RUNS * layout.RUN_WORDS),
  words(layout.MAX_UNITS * layout.UNIT_WORDS),
  words(layout.MAX_PIECES * layout.PIECE_WORDS),
  new Float64Array(addon.counterNames.length),
);
const loopback = Uint8Array.of(127, 0, 0, 1);
const [socket, port] = addon.socketOpen(loopback, 0, 255, 0, -1);
for (let slot = 0; slot < 8; slot++) {
  addon.setKey(slot, slot % 2, 1, new Uint8Array(32), new Uint8Array(32), 0, 0);
  addon.setPath(slot, socket, loopback, port, new Uint8Array(0), 0);
}
// Ends with the callback having run: its socket gets a datagram of its own.
addon.onReady(() => {
  if (addon.receive(socket) > 0) parentPort.postMessage('ready');
});
addon.watch(1 + socket, 1);
addon.keepalive(0, 0);
