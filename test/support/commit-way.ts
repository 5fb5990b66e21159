/** A way to PostgreSQL on which a commit can be stopped, and its connection break: the client cannot know what came of it. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';

/** The message of the protocol: a text, ended by a zero. */
const commitMessage = Buffer.from('commit\0');

export interface StoppedCommit {
  /** It goes on its way, long after its client has gone. */
  readonly deliver: () => void;
}

export class CommitWay implements Disposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #target: number;
  #stop: ((commit: StoppedCommit) => void) | undefined;
  #isShut = false;

  private constructor(target: number) {
    this.#target = target;
    this.#server = createServer((near) => this.#join(near));
  }

  /** @param target port of PostgreSQL on loopback. */
  static async to(target: number): Promise<CommitWay> {
    const way = new CommitWay(target);
    way.#server.listen(0, '127.0.0.1');
    await once(way.#server, 'listening');
    return way;
  }

  /** The same database by this way. */
  url(url: string): string {
    const { port } = this.#server.address() as { port: number };
    return url.replace(`:${this.#target}/`, `:${port}/`);
  }

  /** Resolves when the next commit has come here; its client has lost its connection then, PostgreSQL has not. */
  stopNext(): Promise<StoppedCommit> {
    return new Promise((resolve) => {
      this.#stop = resolve;
    });
  }

  /** Whether it lets anybody through who comes now. */
  shut(isShut: boolean): void {
    this.#isShut = isShut;
  }

  [Symbol.dispose](): void {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  #join(near: Socket): void {
    if (this.#isShut) {
      near.destroy();
      return;
    }
    const far = connect(this.#target, '127.0.0.1');
    let isStopped = false;
    for (const socket of [near, far]) {
      this.#sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        this.#sockets.delete(socket);
        if (!isStopped) (socket === near ? far : near).destroy();
      });
    }
    far.on('data', (bytes) => near.write(bytes));
    near.on('data', (bytes: Buffer) => {
      const stop = this.#stop;
      if (stop === undefined || !bytes.includes(commitMessage)) {
        far.write(bytes);
        return;
      }
      this.#stop = undefined;
      isStopped = true;
      near.destroy();
      stop({ deliver: () => far.write(bytes) });
    });
  }
}
