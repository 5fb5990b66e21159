/** An HTTP proxy that opens tunnels by CONNECT, or answers with what a test wants. */
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';

export interface FakeProxyOptions {
  /** Says what is sent in place of opening the tunnel; undefined opens it. */
  readonly answer?: (head: string, socket: Socket) => string | undefined;
}

export class FakeProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Heads of the requests that came. */
  readonly heads: string[] = [];

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start({ answer }: FakeProxyOptions = {}): Promise<FakeProxy> {
    const server = createServer();
    const proxy = new FakeProxy(server);
    server.on('connection', (socket) => {
      proxy.#keep(socket);
      let head = '';
      const onData = (bytes: Buffer) => {
        head += bytes.toString('latin1');
        if (!head.includes('\r\n\r\n')) return;
        socket.off('data', onData);
        proxy.heads.push(head);
        const text = answer?.(head, socket);
        if (text === undefined) proxy.#open(head, socket);
        else socket.write(text, 'latin1');
      };
      socket.on('data', onData);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get open(): number {
    return this.#sockets.size;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #open(head: string, socket: Socket): void {
    const [, host, port] = /^CONNECT \[?([^ ]+?)\]?:([0-9]+) HTTP/.exec(head) ?? [];
    const far = connect({ host: host ?? '', port: Number(port) }, () => {
      socket.write('HTTP/1.1 200 Connection established\r\n\r\n');
      socket.pipe(far);
      far.pipe(socket);
    });
    this.#keep(far);
    socket.on('close', () => far.destroy());
    far.on('close', () => socket.destroy());
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {}).on('close', () => this.#sockets.delete(socket));
  }
}
