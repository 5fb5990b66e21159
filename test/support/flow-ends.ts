/** UDP ends of a test host that speak in many flows at once: numbered packets, copies from several ports. */
import { createSocket, type Socket } from 'node:dgram';

/** How the packets of one flow arrived. */
export interface FlowSeen {
  readonly received: number;
  /** Those that came after one with a higher number. */
  readonly late: number;
}

/** Sends waiting for the system at most, so that the sender does not run away from the receiver. */
const SENDS_UNDER_WAY = 32;

const sockets: Socket[] = [];
const seen = new Map<number, { received: number; late: number; highest: number }>();

async function openSockets(count: number): Promise<readonly Socket[]> {
  while (sockets.length < count) {
    const socket = createSocket('udp4');
    await new Promise<void>((resolve) => socket.bind(0, resolve));
    sockets.push(socket);
  }
  return sockets.slice(0, count);
}

const send = (socket: Socket, bytes: Uint8Array, port: number, address: string): Promise<unknown> =>
  new Promise((resolve) => socket.send(bytes, port, address, resolve));

export const flowEnds = {
  /** Counts what arrives on a port, by source port. */
  flowsServe: (port: number): Promise<void> =>
    new Promise((resolve) => {
      const socket = createSocket({ type: 'udp4', recvBufferSize: 8 << 20 });
      socket.on('message', (bytes, { port: from }) => {
        const flow = seen.get(from) ?? { received: 0, late: 0, highest: -1 };
        const number = bytes.readUInt32BE(0);
        flow.received++;
        if (number < flow.highest) flow.late++;
        else flow.highest = number;
        seen.set(from, flow);
      });
      socket.bind(port, resolve);
    }),
  flowsSeen: (): FlowSeen[] => [...seen.values()].map(({ received, late }) => ({ received, late })),
  /** Sends packets with the numbers from `first` on in so many flows, in turn. */
  flowsSend: async (
    address: string,
    port: number,
    flows: number,
    packets: number,
    first = 0,
  ): Promise<void> => {
    const ends = await openSockets(flows);
    let underWay: Promise<unknown>[] = [];
    for (let i = first; i < first + packets; i++) {
      for (const end of ends) {
        const bytes = Buffer.alloc(200, i);
        bytes.writeUInt32BE(i, 0);
        underWay.push(send(end, bytes, port, address));
      }
      if (underWay.length < SENDS_UNDER_WAY) continue;
      await Promise.all(underWay);
      underWay = [];
    }
    await Promise.all(underWay);
  },
  /** Sends each datagram from so many ports. */
  spray: async (
    address: string,
    port: number,
    ports: number,
    datagrams: readonly Uint8Array[],
  ): Promise<void> => {
    const ends = await openSockets(ports);
    for (const bytes of datagrams) {
      await Promise.all(ends.map((end) => send(end, bytes, port, address)));
    }
  },
  /** Sends these datagrams, each from another port, to whoever sends the next datagram to a port of ours, which is returned. */
  answerWith: async (datagrams: readonly Uint8Array[]): Promise<number> => {
    const [first, ...others] = await openSockets(datagrams.length + 1);
    first!.once('message', (_, { port, address }) => {
      for (const [i, bytes] of datagrams.entries()) others[i]!.send(bytes, port, address);
    });
    return first!.address().port;
  },
};
