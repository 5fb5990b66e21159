/** Sockets of attempts at hard NATs, real ones: opened beside the engine, one handed over to it, the others closed. */
import assert from 'node:assert/strict';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync } from 'node:fs';
import { describe, test } from 'node:test';
import { PunchSockets } from '#client/punch-sockets.ts';
import { BuriError } from '#core/errors.ts';
import type { PathInput } from '#core/path/io.ts';
import type { EngineEvents } from '#engine/engine.ts';
import { MAX_SOCKETS } from '#engine/layout.ts';
import { PacketEngine } from '#engine/packet-engine.ts';
import { openUdpDescriptor } from '#engine/udp-descriptor.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import { waitFor } from '../../lab/wait.ts';
import { silentEvents } from '../support/silent-events.ts';

/** A datagram of Buri's own kind, numbered. */
function numbered(number: number): Uint8Array {
  const bytes = new Uint8Array(96);
  bytes.set([0x42, 0x55, 0x52, 0x01, 1]);
  new DataView(bytes.buffer).setUint32(80, number);
  return bytes;
}

const numberOf = (bytes: Uint8Array) =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.length).getUint32(80);

const descriptors = () => readdirSync('/proc/self/fd').length;

class Rig implements AsyncDisposable {
  readonly inputs: PathInput[] = [];
  /** What the engine received, by its socket. */
  readonly received: { readonly number: number; readonly socket: number }[] = [];
  readonly engine: PacketEngine;
  readonly sockets: PunchSockets;
  readonly far: Socket;
  readonly heard: { readonly number: number; readonly port: number }[] = [];

  private constructor(far: Socket, threads: number, open?: () => number) {
    this.far = far;
    far.on('message', (bytes, { port }) => this.heard.push({ number: numberOf(bytes), port }));
    const events: EngineEvents = {
      ...silentEvents,
      onDatagram: (_, bytes, socket) => this.received.push({ number: numberOf(bytes), socket }),
    };
    this.engine = new PacketEngine(events, { threads });
    this.sockets = new PunchSockets({
      engine: this.engine,
      report: (input) => void this.inputs.push(input),
      ...(open === undefined ? {} : { open }),
    });
  }

  static async create(options: { threads?: number; open?: () => number } = {}): Promise<Rig> {
    const far = createSocket('udp4').bind(0, '127.0.0.1');
    await once(far, 'listening');
    return new Rig(far, options.threads ?? 1, options.open);
  }

  get remote(): Endpoint {
    return { address: '127.0.0.1', port: this.far.address().port };
  }

  of<T extends PathInput['type']>(type: T): Extract<PathInput, { type: T }>[] {
    return this.inputs.filter((input) => input.type === type) as never;
  }

  async open(count: number): Promise<number> {
    const before = this.of('punch-opened').length;
    this.sockets.handle({ type: 'punch-open', count });
    await waitFor('the sockets', () => this.of('punch-opened').length > before);
    return this.of('punch-opened').at(-1)!.count;
  }

  send(index: number): void {
    const bytes = numbered(index);
    this.sockets.handle({ type: 'punch-send', index, remote: this.remote, bytes, ttl: 3 });
  }

  /** The port of a socket, as the far end sees it. */
  async portOf(index: number): Promise<number> {
    this.send(index);
    await waitFor('its packet', () => this.heard.some(({ number }) => number === index));
    return this.heard.find(({ number }) => number === index)!.port;
  }

  async adopt(index: number) {
    this.sockets.handle({ type: 'punch-adopt', index });
    await waitFor('the engine', () => this.of('punch-adopted').length > 0);
    return this.of('punch-adopted').at(-1)!;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.sockets.close();
    this.far.close();
    await this.engine[Symbol.asyncDispose]();
  }
}

describe('sockets of an attempt', () => {
  test('256 of them send from 256 ports, and hear what comes back', async () => {
    await using rig = await Rig.create();
    assert.equal(await rig.open(256), 256);
    for (let index = 0; index < 256; index++) rig.send(index);
    await waitFor('all packets', () => rig.heard.length === 256);
    assert.equal(new Set(rig.heard.map(({ port }) => port)).size, 256);
    const { port } = rig.heard.find(({ number }) => number === 200)!;
    rig.far.send(numbered(7), port, '127.0.0.1');
    await waitFor('the datagram', () => rig.of('punch-datagram').length === 1);
    const [arrived] = rig.of('punch-datagram');
    assert.equal(arrived?.index, 200);
    assert.deepEqual(arrived?.remote, rig.remote);
  });

  test('none is open any more when the attempt ends', async () => {
    await using rig = await Rig.create();
    // Once the engine's thread answers it has opened what it needs.
    const { socket } = await rig.engine.openSocket({ family: 4, port: 0 });
    const before = descriptors();
    await rig.open(64);
    assert(descriptors() >= before + 64);
    rig.sockets.handle({ type: 'punch-close' });
    await waitFor('their descriptors', () => descriptors() <= before);
    assert.equal(await rig.open(2), 2, 'another attempt begins at none');
    await rig.engine.closeSocket(socket);
  });

  test('fewer are opened when descriptors run out, and the attempt is told', async () => {
    let left = 5;
    const open = () => {
      if (left-- > 0) return openUdpDescriptor();
      throw new BuriError('too-many-files', 'no descriptor is left');
    };
    await using rig = await Rig.create({ open });
    assert.equal(await rig.open(256), 5);
  });
});

describe('the one that is met', () => {
  for (const threads of [1, 2]) {
    test(`goes to an engine of ${threads} with its port, and nothing gets lost on the way`, async () => {
      await using rig = await Rig.create({ threads });
      await rig.open(8);
      const port = await rig.portOf(3);
      let sent = 0;
      const sending = setInterval(() => {
        rig.far.send(numbered(1000 + sent++), port, '127.0.0.1');
      }, 1);
      const { socket, reason } = await rig.adopt(3);
      assert.equal(reason, undefined);
      assert.equal(socket?.localPort, port);
      rig.sockets.handle({ type: 'punch-close' });
      await waitFor('the engine to receive', () => rig.received.length > 20);
      clearInterval(sending);
      const arrived = () => rig.received.length + rig.of('punch-datagram').length;
      await waitFor('all datagrams', () => arrived() === sent);
      const numbers = rig.received.map(({ number }) => number);
      assert.deepEqual(
        numbers,
        [...numbers].sort((a, b) => a - b),
        'in order',
      );
      assert(rig.received.every((one) => one.socket === socket!.socket));
      rig.engine.sendDatagram(socket!.socket, rig.remote, numbered(5000));
      await waitFor('its answer', () => rig.heard.some(({ number }) => number === 5000));
      assert.equal(rig.heard.find(({ number }) => number === 5000)?.port, port);
    });
  }

  test('is closed when it is dropped, and its port is free', async () => {
    await using rig = await Rig.create();
    await rig.open(2);
    const { socket } = await rig.adopt(1);
    rig.sockets.handle({ type: 'drop-socket', socket: socket!.socket });
    const again = createSocket('udp4');
    await waitFor('the port', async () => {
      const bound = await new Promise<boolean>((resolve) => {
        again.once('error', () => resolve(false));
        again.bind(socket!.localPort, () => resolve(true));
      });
      return bound;
    });
    again.close();
  });

  test('stays out when the engine is full, and the attempt hears why', async () => {
    await using rig = await Rig.create();
    for (let i = 0; i < MAX_SOCKETS; i++) await rig.engine.openSocket({ family: 4, port: 0 });
    const before = descriptors();
    await rig.open(2);
    const { socket, reason } = await rig.adopt(0);
    assert.equal(socket, undefined);
    assert.match(reason!, new RegExp(`at most ${MAX_SOCKETS} sockets`));
    rig.sockets.handle({ type: 'punch-close' });
    await waitFor('the descriptors', () => descriptors() <= before);
  });

  test('is told to be gone when there is none', async () => {
    await using rig = await Rig.create();
    await rig.open(1);
    assert.match((await rig.adopt(77)).reason!, /gone/);
  });

  test('is given back when the client ends meanwhile', async () => {
    await using rig = await Rig.create();
    await rig.open(1);
    rig.sockets.handle({ type: 'punch-adopt', index: 0 });
    rig.sockets.close();
    for (let i = 0; i < MAX_SOCKETS; i++) await rig.engine.openSocket({ family: 4, port: 0 });
    assert.equal(rig.of('punch-adopted').length, 0);
  });
});

test('an engine takes nothing that is no bound UDP socket', async () => {
  await using rig = await Rig.create();
  const file = openSync('/dev/null', 'r');
  await assert.rejects(rig.engine.adoptSocket(file), { code: 'socket-failed' });
  closeSync(file);
  await assert.rejects(rig.engine.adoptSocket(999_999), { code: 'socket-failed' });
});
