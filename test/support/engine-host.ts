/**
 * A process inside a namespace with one packet engine, driven over IPC by `engine-lab.ts`. Also holds a plain addon for sending
 * what no engine would send, and TCP ends for transfers.
 */
import { createHash } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { type Addon, loadAddon } from '#engine/addon.ts';
import type { EngineEvents, TransportKeys } from '#engine/engine.ts';
import { OFFLOAD_UDP_SEGMENT, SHARE_NOT } from '#engine/layout.ts';
import { PacketEngine, type PacketEngineOptions } from '#engine/packet-engine.ts';
import { newSharedCounters, newTables, OUT_BATCH_BYTES, type Tables } from '#engine/tables.ts';
import { addressBytes, type Endpoint } from '#wire/endpoint.ts';
import { flowEnds } from './flow-ends.ts';

export interface HostCall {
  readonly id: number;
  readonly method: string;
  readonly args: readonly unknown[];
}

export type HostMessage =
  | { readonly type: 'event'; readonly name: string; readonly args: readonly unknown[] }
  | { readonly type: 'result'; readonly id: number; readonly value: unknown }
  | {
      readonly type: 'error';
      readonly id: number;
      readonly code: string;
      readonly message: string;
    };

const tell = (message: HostMessage): void => void process.send!(message);
const event =
  (name: string) =>
  (...args: readonly unknown[]): void =>
    tell({ type: 'event', name, args });

const events: EngineEvents = {
  onDatagram: event('datagram'),
  onWantSession: event('want-session'),
  onActivity: event('activity'),
  onRoam: event('roam'),
  onConfirmed: event('confirmed'),
  onRekeyLimit: event('rekey-limit'),
  onGroupsChanged: event('groups-changed'),
  onMessage: event('message'),
  onDeviceLost: event('device-lost'),
};

let engine: PacketEngine | undefined;
let raw: { addon: Addon; tables: Tables; socket: number } | undefined;
const received: Uint8Array[] = [];
let plain: Socket | undefined;
let listener: Socket | undefined;

const extras = {
  create: (options: PacketEngineOptions): void => {
    const onFewerThreads = (threads: number, { message }: Error): void =>
      event('fewer-threads')(threads, message);
    engine = new PacketEngine(events, { ...options, onFewerThreads });
  },
  /** In one turn, so that the datagram follows the keys closely. */
  installAndSend: (keys: TransportKeys, socket: number, remote: Endpoint): void => {
    engine!.installKeys(keys);
    engine!.sendDatagram(socket, remote, new Uint8Array(1));
  },
  ...flowEnds,
  /** Opens a socket below the engine, for `rawSend`. Returns its port. */
  rawOpen: (): number => {
    const addon = loadAddon();
    const tables = newTables(newSharedCounters(1).engine);
    const { out, incoming, run, items, messages, runs, units, pieces, counters } = tables;
    addon.bind(out, OUT_BATCH_BYTES, incoming, run, items, messages, runs, units, pieces, counters);
    const [socket, port] = addon.socketOpen(
      new Uint8Array(4),
      0,
      OFFLOAD_UDP_SEGMENT,
      SHARE_NOT,
      -1,
    );
    raw = { addon, tables, socket };
    return port;
  },
  /** Sends datagrams of `segment` bytes (the last may be shorter) in one call, as UDP_SEGMENT does. */
  rawSend: (address: string, port: number, bytes: Uint8Array, segment: number): void => {
    const { addon, tables, socket } = raw!;
    addon.setPath(0, socket, addressBytes(address)!, port, new Uint8Array(0), 0);
    tables.run.set(bytes);
    addon.sendRun(0, bytes.length, segment, Math.ceil(bytes.length / segment));
  },
  /** Collects datagrams on a port, or 0 for any; returns the port. */
  udpListen: (port: number): Promise<number> =>
    new Promise((resolve) => {
      plain = createSocket({ type: 'udp4', recvBufferSize: 4 << 20 });
      plain.on('message', (bytes) => received.push(bytes));
      plain.bind(port, () => resolve(plain!.address().port));
    }),
  udpSend: async (
    address: string,
    port: number,
    datagrams: readonly Uint8Array[],
  ): Promise<void> => {
    plain ??= createSocket('udp4');
    for (const bytes of datagrams) {
      await new Promise((resolve) => plain!.send(bytes, port, address, resolve));
    }
  },
  /** Sends to broadcast or a group through an interface (its address; IPv6: its name), `count` datagrams of some bytes. */
  groupSend: async (
    to: { readonly address: string; readonly port: number; readonly through: string },
    payload: Uint8Array,
    count: number,
  ): Promise<void> => {
    const v6 = to.address.includes(':');
    const socket = createSocket(v6 ? 'udp6' : 'udp4');
    await new Promise<void>((resolve) =>
      socket.bind(0, v6 ? '::' : to.through, () => {
        socket.setBroadcast(!v6);
        socket.setMulticastInterface(v6 ? `::%${to.through}` : to.through);
        resolve();
      }),
    );
    for (let i = 0; i < count; i++) {
      await new Promise((resolve) => socket.send(payload, to.port, to.address, resolve));
    }
    socket.close();
  },
  /** Joins a group on an interface, and collects what comes for the port. */
  groupListen: (port: number, group?: string, through?: string): Promise<void> =>
    new Promise((resolve) => {
      const v6 = group?.includes(':') === true;
      listener = createSocket({ type: v6 ? 'udp6' : 'udp4', reuseAddr: true });
      listener.on('message', (bytes) => received.push(bytes));
      listener.bind(port, () => {
        if (group !== undefined) listener!.addMembership(group, through);
        resolve();
      });
    }),
  groupLeave: (group: string, through: string): void => listener!.dropMembership(group, through),
  udpReceived: (): Uint8Array[] => received.splice(0),
  /** Accepts one connection and answers with the hash of what came. */
  tcpServe: (address: string, port: number): Promise<void> =>
    new Promise((resolve) => {
      const server = createServer({ allowHalfOpen: true }, (connection) => {
        const hash = createHash('sha256');
        connection.on('data', (bytes) => hash.update(bytes));
        connection.on('end', () => connection.end(hash.digest('hex')));
        server.close();
      });
      server.listen(port, address, () => resolve());
    }),
  /** Sends bytes and returns the hash sent and the one that came back. */
  tcpSend: (address: string, port: number, megabytes: number): Promise<[string, string]> =>
    new Promise((resolve, reject) => {
      const block = new Uint8Array(1 << 20);
      const hash = createHash('sha256');
      const connection = connect(port, address, async () => {
        for (let i = 0; i < megabytes; i++) {
          block.fill(i + 1).set([i, 255, 254], i * 1_000);
          hash.update(block);
          const more = connection.write(block.slice());
          if (!more) await new Promise((drained) => connection.once('drain', drained));
        }
        connection.end();
      });
      let answer = '';
      connection.on('data', (bytes) => {
        answer += bytes.toString();
      });
      connection.on('end', () => resolve([hash.digest('hex'), answer]));
      connection.on('error', reject);
    }),
  threadCount: (): number => engine!.threads,
  pid: (): number => process.pid,
  rssKib: (): number => process.memoryUsage.rss() / 1024,
  cpuMicroseconds: (): number => {
    const { user, system } = process.cpuUsage();
    return user + system;
  },
  dispose: async (): Promise<void> => engine?.[Symbol.asyncDispose](),
};

process.on('message', async (call: HostCall) => {
  try {
    const target = (call.method in extras ? extras : engine!) as unknown as Record<
      string,
      (...args: readonly unknown[]) => unknown
    >;
    const value = await target[call.method]!(...call.args);
    tell({ type: 'result', id: call.id, value });
  } catch (error) {
    const { code = 'none', message } = error as { code?: string; message: string };
    tell({ type: 'error', id: call.id, code, message });
  }
});
process.on('disconnect', () => process.exit(0));
