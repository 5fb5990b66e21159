/**
 * Sends datagrams as fast as one thread can: a program of its own, so that it runs in an attacker's namespace.
 *
 *   node datagram-flood.ts <ORDER        the order as JSON, see `Flood`
 */
import { randomBytes } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';

export interface Flood {
  readonly address: string;
  readonly port: number;
  readonly count: number;
  /**
   * random: any bytes of any length, of which every other begins like a message of some kind.
   * truncated: the messages, cut anywhere or with one byte changed.
   * replayed: the messages as they are, in turn.
   */
  readonly kind: 'random' | 'truncated' | 'replayed';
  /** In base64. */
  readonly messages?: readonly string[];
  /** Where they come from: an address of the machine, and a port. */
  readonly from?: { readonly address: string; readonly port: number };
}

const longestBytes = 1472;
const poolBytes = 1 << 24;
const burst = 500;
/** First bytes and length of what the receiver tells apart; undefined length: any. */
const shapes: readonly (readonly [readonly number[], number | undefined])[] = [
  [[1, 0, 0, 0], 148],
  [[2, 0, 0, 0], 92],
  [[3, 0, 0, 0], 64],
  [[4, 0, 0, 0], undefined],
  [[0x42, 0x55, 0x52, 0x01, 1, 0, 0, 0], 96],
  [[1, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42], 32],
];

if (process.argv[1] === import.meta.filename) await run(JSON.parse(readFileSync(0, 'utf8')));

async function run(flood: Flood): Promise<void> {
  const socket = createSocket('udp4');
  if (flood.from !== undefined) socket.bind(flood.from);
  else socket.bind();
  await once(socket, 'listening');
  socket.setSendBufferSize(1 << 20);
  socket.connect(flood.port, flood.address);
  await once(socket, 'connect');
  // Nobody listens, or a router says so: an attacker goes on.
  socket.on('error', () => {});
  const next = source(flood);
  for (let sent = 0; sent < flood.count; ) {
    for (let i = 0; i < burst && sent < flood.count; i++, sent++) socket.send(next());
    await new Promise((resolve) => setImmediate(resolve));
  }
  socket.close();
}

function source({ kind, messages = [] }: Flood): () => Uint8Array {
  const pool = randomBytes(poolBytes);
  const random = (limit: number) => Math.floor(Math.random() * limit);
  const piece = (length: number) => {
    const start = random(poolBytes - length);
    return pool.subarray(start, start + length);
  };
  if (kind === 'random') {
    return () => {
      if (Math.random() < 0.5) return piece(random(longestBytes + 1));
      const [head, length = 32 + random(longestBytes - 32)] = shapes[random(shapes.length)]!;
      const bytes = Buffer.from(piece(length));
      bytes.set(head);
      return bytes;
    };
  }
  const originals = messages.map((text) => Buffer.from(text, 'base64'));
  if (originals.length === 0) throw new Error('no messages were given');
  let turn = 0;
  const original = () => originals[turn++ % originals.length]!;
  if (kind === 'replayed') return original;
  return () => {
    const bytes = original();
    if (Math.random() < 0.8) return bytes.subarray(0, random(bytes.length));
    const changed = Buffer.from(bytes);
    changed[random(bytes.length)]! ^= 1 << random(8);
    return changed;
  };
}
