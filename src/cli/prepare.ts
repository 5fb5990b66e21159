/**
 * Loads all that the daemon is made of, and ends: then Node has it in its compile cache. Without that the daemon would load Node's
 * type stripper, which it never needs again, and carry its 25 MB for as long as it lives. `bin/buri` runs this after a change.
 */
import { PacketEngine } from '#engine/packet-engine.ts';

await Promise.all([import('./daemon.ts'), import('#client/daemon.ts')]);
const ignore = (): void => {};
await using engine = new PacketEngine({
  onDatagram: ignore,
  onWantSession: ignore,
  onActivity: ignore,
  onRoam: ignore,
  onConfirmed: ignore,
  onRekeyLimit: ignore,
  onGroupsChanged: ignore,
  onMessage: ignore,
  onDeviceLost: ignore,
});
// Answered: the worker has loaded its own.
await engine.openSocket({ family: 4, address: '127.0.0.1', port: 0 });
process.argv.splice(2, Number.POSITIVE_INFINITY, '--version');
await import('./main.ts');
