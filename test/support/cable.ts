/** A TCP connection's way through this process, which can be cut: then nothing passes, and nobody is told, as when a network is split. */
import { connect, createServer, type Server, type Socket } from 'node:net';

export class Cable implements Disposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #isCut = false;
  port = 0;

  private constructor(target: number) {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#join(socket, target));
  }

  /** @param target port on loopback that those who connect to `port` reach. */
  static async to(target: number): Promise<Cable> {
    const cable = new Cable(target);
    await new Promise<void>((resolve) => cable.#server.listen(0, '127.0.0.1', resolve));
    cable.port = (cable.#server.address() as { port: number }).port;
    return cable;
  }

  /** What is sent meanwhile arrives later, as TCP sends it again. */
  cut(): void {
    this.#isCut = true;
    for (const socket of this.#sockets) socket.pause();
  }

  mend(): void {
    this.#isCut = false;
    for (const socket of this.#sockets) socket.resume();
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(near: Socket, target: number): void {
    const far = connect({ port: target, host: '127.0.0.1', allowHalfOpen: true });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(from);
      // Not `pipe`, which would resume what was cut.
      from.on('data', (bytes) => to.write(bytes));
      from.on('end', () => to.end());
      from.on('error', () => to.destroy());
      from.on('close', () => {
        this.#sockets.delete(from);
        to.destroy();
      });
      if (this.#isCut) from.pause();
    }
  }
}
