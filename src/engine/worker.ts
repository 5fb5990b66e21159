import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { BuriError } from '#core/errors.ts';
import { type Addon, type ByteWork, loadAddon } from './addon.ts';
import { DataPlane } from './data-plane.ts';
import type { Command, Report, WorkerSettings } from './messages.ts';
import type { Tables } from './tables.ts';

/** Entry of a worker thread of the engine. */
const port = parentPort;
if (port === null) throw new Error('the engine worker runs in a worker thread only');

const settings = workerData as WorkerSettings;
const post = (report: Report): void => port.postMessage(report);

try {
  const addon = loadAddon();
  const catchUp = (): void => {
    for (;;) {
      const next = receiveMessageOnPort(port) as { message: Command } | undefined;
      if (next === undefined) return;
      plane.execute(next.message);
    }
  };
  const plane = new DataPlane(settings, addon, await byteWorkOf(addon), post, catchUp);
  port.on('message', (command: Command) => plane.execute(command));
} catch (error) {
  if (!(error instanceof BuriError)) throw error;
  post({ type: 'failed', code: error.code, message: error.message });
}

/** The twin and its libraries are loaded only where they are used. */
async function byteWorkOf(addon: Addon): Promise<(tables: Tables) => ByteWork> {
  if (!settings.portable) return () => addon;
  const { nodeCrypto } = await import('#crypto/node-crypto.ts');
  const { PortableByteWork } = await import('./twin/portable.ts');
  return (tables) => new PortableByteWork(tables, nodeCrypto, addon);
}
