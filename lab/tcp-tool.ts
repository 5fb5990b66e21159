/**
 * Ends of TCP connections for demo and tests, run inside a namespace by the pinned Node:
 *
 *     tcp-tool.ts receive ADDRESS PORT FILE   prints `listening`; writes one connection to FILE; prints `BYTES SHA256`
 *     tcp-tool.ts send    ADDRESS PORT FILE   sends FILE and closes
 *     tcp-tool.ts sink    ADDRESS PORT        prints `listening`; reads one connection; prints `BYTES SHA256`
 *     tcp-tool.ts source  ADDRESS PORT BYTES  sends so many random bytes and closes; prints `BYTES SHA256`
 *     tcp-tool.ts http    PORT TEXT           prints `listening`; answers every request with TEXT, until it is ended
 */
import { createCipheriv, createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createReadStream, createWriteStream } from 'node:fs';
import { createServer as createHttpServer } from 'node:http';
import { createConnection, createServer, type Socket } from 'node:net';
import { pipeline } from 'node:stream/promises';

const [mode = '', ...args] = process.argv.slice(2);

switch (mode) {
  case 'receive':
    await receive(args[0]!, Number(args[1]), args[2]!);
    break;
  case 'send':
    await send(args[0]!, Number(args[1]), args[2]!);
    break;
  case 'sink':
    await sink(args[0]!, Number(args[1]));
    break;
  case 'source':
    await source(args[0]!, Number(args[1]), Number(args[2]));
    break;
  case 'http':
    createHttpServer((_request, response) => response.end(args[1]))
      // The wildcard of both families.
      .listen(Number(args[0]), '::', () => console.log('listening'));
    break;
  default:
    throw new Error(`no mode '${mode}'`);
}

async function receive(address: string, port: number, file: string): Promise<void> {
  const server = createServer();
  server.listen(port, address, () => console.log('listening'));
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  await pipeline(socket, createWriteStream(file));
  const hash = createHash('sha256');
  let bytes = 0;
  // From the file, not from the connection: what counts is what arrived there.
  for await (const chunk of createReadStream(file)) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  console.log(`${bytes} ${hash.digest('hex')}`);
}

async function send(address: string, port: number, file: string): Promise<void> {
  const socket = createConnection(port, address);
  await once(socket, 'connect');
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), socket);
}

async function sink(address: string, port: number): Promise<void> {
  const server = createServer();
  server.listen(port, address, () => console.log('listening'));
  const [socket] = (await once(server, 'connection')) as [Socket];
  server.close();
  const hash = createHash('sha256');
  let bytes = 0;
  for await (const chunk of socket) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  console.log(`${bytes} ${hash.digest('hex')}`);
}

async function source(address: string, port: number, bytes: number): Promise<void> {
  const socket = createConnection(port, address);
  await once(socket, 'connect');
  const hash = createHash('sha256');
  await pipeline(function* () {
    // A key stream: as random as it must be, and faster than the network.
    const cipher = createCipheriv('aes-128-ctr', randomBytes(16), randomBytes(16));
    const zeros = Buffer.alloc(1 << 18);
    for (let left = bytes; left > 0; left -= zeros.length) {
      const chunk = cipher.update(zeros.subarray(0, Math.min(left, zeros.length)));
      hash.update(chunk);
      yield chunk;
    }
  }, socket);
  console.log(`${bytes} ${hash.digest('hex')}`);
}
