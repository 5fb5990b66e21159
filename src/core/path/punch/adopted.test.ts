import assert from 'node:assert/strict';
import { test } from 'node:test';
import { monotonicMs, wallMs } from '#core/time.ts';
import type { LocalSocket, PathOutput } from '../io.ts';
import { AdoptedSockets } from './adopted.ts';
import type { PunchHost } from './host.ts';
import { maxAdopted } from './limits.ts';

const now = (ms: number) => ({ monotonic: monotonicMs(ms), wall: wallMs(ms) });
const socketOf = (socket: number): LocalSocket => ({
  ...{ socket, family: 4, localPort: 1000 + socket, isPunched: true },
});

function filled(used: ReadonlySet<number>) {
  const emitted: PathOutput[] = [];
  const host = {
    isInUse: (socket: number) => used.has(socket),
    socketsChanged: () => {},
    emit: (output: PathOutput) => emitted.push(output),
  } as unknown as PunchHost;
  const adopted = new AdoptedSockets();
  for (let i = 0; i < maxAdopted; i++) adopted.add(socketOf(i), monotonicMs(i));
  return { adopted, host, emitted };
}

test('when all places are taken, the socket without a path that is idle for longest makes room', () => {
  const used = new Set(Array.from({ length: maxAdopted }, (_, i) => i));
  used.delete(7);
  used.delete(9);
  const { adopted, host, emitted } = filled(used);
  assert.ok(adopted.hasRoom(host));
  adopted.makeRoom(host, now(5000));
  assert.deepEqual(emitted, [{ type: 'drop-socket', socket: 7 }]);
  assert.equal(adopted.list.length, maxAdopted - 1);
  adopted.makeRoom(host, now(5000));
  assert.equal(emitted.length, 1, 'there is room now');
});

test('sockets with paths stay, and nothing more is begun', () => {
  const used = new Set(Array.from({ length: maxAdopted }, (_, i) => i));
  const { adopted, host, emitted } = filled(used);
  assert.ok(!adopted.hasRoom(host));
  adopted.makeRoom(host, now(5000));
  assert.deepEqual(emitted, []);
});
