/**
 * Runs in a host's namespace and opens UDP sockets there for the laboratory, which no process can
 * do in a namespace that is not its own. One JSON object a line; it ends when its standard input
 * does.
 *
 *   in:   {"open":ID,"port":N,"address":A}
 *         {"send":ID,"data":BASE64,"port":N,"address":A}
 *         {"close":ID}
 *   out:  {"opened":ID,"port":N}
 *         {"failed":ID,"error":TEXT}
 *         {"received":ID,"data":BASE64,"port":N,"address":A}
 */
import { createSocket, type Socket } from 'node:dgram';
import { createInterface } from 'node:readline';

const sockets = new Map<number, Socket>();

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  if ('open' in command) open(command.open, command.port, command.address);
  else if ('send' in command) {
    const { send: id, data, port, address } = command;
    // An unreachable destination is an error here and a lost packet in the protocol: the receiver
    // decides.
    sockets.get(id)?.send(Buffer.from(data, 'base64'), port, address, () => {});
  } else if ('close' in command) {
    sockets.get(command.close)?.close();
    sockets.delete(command.close);
  }
}
process.exit(0);

function open(id: number, port: number, address: string): void {
  const type = address.includes(':') ? 'udp6' : 'udp4';
  const socket = createSocket({ type, ipv6Only: type === 'udp6' });
  sockets.set(id, socket);
  socket.on('error', (error) => say({ failed: id, error: error.message }));
  socket.on('message', (data, from) => {
    say({ received: id, data: data.toString('base64'), port: from.port, address: from.address });
  });
  socket.bind(port, address, () => {
    if (type === 'udp4') socket.setBroadcast(true);
    say({ opened: id, port: socket.address().port });
  });
}

function say(message: object): void {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}
