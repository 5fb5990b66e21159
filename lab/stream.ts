/** 100 numbered datagrams a second between two members, both ways, kept running: `stream-agent.ts` on both hosts. */
import { join } from 'node:path';
import { pinnedNode, repositoryRoot } from './exec.ts';
import type { Host } from './host.ts';
import type { LabProcess } from './process.ts';
import { withinMs } from './wait.ts';

const program = join(repositoryRoot, 'lab', 'stream-agent.ts');

export interface Arrivals {
  /** Moments of the monotonic clock, in nanoseconds; undefined while nothing has arrived. */
  readonly first: number | undefined;
  /** Since when nothing has been missing for more than 200 ms. */
  readonly steady: number | undefined;
  readonly count: number;
}

export class StreamEnd {
  readonly #process: LabProcess;
  readonly #waiting = new Map<number, (arrivals: Arrivals) => void>();
  #nextId = 1;

  private constructor(host: Host) {
    this.#process = host.spawn(pinnedNode, ['--disable-warning=ExperimentalWarning', program], {
      name: `stream of ${host.name}`,
      stdin: true,
      onLine: (line, stream) => stream === 'stdout' && this.#hear(JSON.parse(line)),
    });
  }

  static async start(host: Host): Promise<StreamEnd> {
    const end = new StreamEnd(host);
    await end.#process.line(/listening/);
    return end;
  }

  /** From now on datagrams go there, with this label (one word). */
  send(label: string, address: string): void {
    this.#say({ stream: label, address });
  }

  pause(): void {
    this.#say({ pause: true });
  }

  /** What has arrived of the peer's datagrams with this label that were sent after a moment. */
  arrivals(label: string, after = 0): Promise<Arrivals> {
    const { promise, resolve } = Promise.withResolvers<Arrivals>();
    const id = this.#nextId++;
    this.#waiting.set(id, resolve);
    this.#say({ ask: id, label, after });
    return withinMs('an answer of a stream', 20_000, promise);
  }

  #say(message: object): void {
    if (!this.#process.running) throw new Error(this.#process.tail);
    this.#process.stdin?.write(`${JSON.stringify(message)}\n`);
  }

  #hear(message: Record<string, unknown>): void {
    const { answer, first, steady, count } = message;
    if (typeof answer !== 'number') return;
    const moment = (value: unknown) => (typeof value === 'number' ? value : undefined);
    const arrivals = { first: moment(first), steady: moment(steady), count: Number(count) };
    this.#waiting.get(answer)?.(arrivals);
    this.#waiting.delete(answer);
  }
}

/** The monotonic clock that all processes of a machine share. */
export function nowNs(): number {
  return Number(process.hrtime.bigint());
}
