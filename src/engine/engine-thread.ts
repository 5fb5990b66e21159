import { Worker } from 'node:worker_threads';
import { BuriError } from '#core/errors.ts';
import type { AskedCommand, Command, EngineEvent, Report, WorkerSettings } from './messages.ts';
import { QUEUES, queueOf } from './uplink.ts';

/** A command that is answered, before it has the number that the answer is found by. */
export type Question<Asked extends AskedCommand = AskedCommand> = Asked extends unknown
  ? Omit<Asked, 'id'>
  : never;

export interface ThreadListener {
  onEvent(event: EngineEvent): void;
  /** The thread is of no use any more. */
  onFailure(error: BuriError): void;
}

/** The main thread's end of one worker: commands down, in order; answers and events up. */
export class EngineThread {
  readonly settings: WorkerSettings;
  readonly #listener: ThreadListener;
  readonly #worker: Worker;
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
  #nextId = 1;
  /** Why it takes no more commands. */
  #ended: BuriError | undefined;

  constructor(settings: WorkerSettings, listener: ThreadListener) {
    this.settings = settings;
    this.#listener = listener;
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData: settings });
    this.#worker.on('message', (report: Report) => this.#onReport(report));
    this.#worker.on('error', (error) => {
      const text = error instanceof Error ? error.message : String(error);
      listener.onFailure(
        new BuriError('engine-failed', `the packet engine failed: ${text}`, { cause: error }),
      );
    });
  }

  send(command: Exclude<Command, AskedCommand>): void {
    if (this.#ended === undefined) this.#worker.postMessage(command);
  }

  /** The answer. BuriError of the command, or why the thread ended. */
  ask(question: Question): Promise<unknown> {
    if (this.#ended !== undefined) return Promise.reject(this.#ended);
    const id = this.#nextId++;
    const answer = Promise.withResolvers<unknown>();
    this.#waiting.set(id, answer);
    this.#worker.postMessage({ ...question, id });
    return answer.promise;
  }

  /** Ends the thread; whoever waits for an answer hears why. */
  async end(reason: BuriError): Promise<void> {
    this.#ended ??= reason;
    const waiting = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of waiting) reject(reason);
    await this.#worker.terminate();
  }

  #onReport(report: Report): void {
    switch (report.type) {
      case 'events':
        for (const event of report.events) {
          Atomics.add(this.settings.shared.consumed, QUEUES.indexOf(queueOf(event)), 1);
          if (this.#ended === undefined) this.#listener.onEvent(event);
        }
        return;
      case 'done':
        this.#waiting.get(report.id)?.resolve(report.result);
        this.#waiting.delete(report.id);
        return;
      case 'failed': {
        const error = new BuriError(report.code, report.message);
        if (report.id === undefined) {
          this.#listener.onFailure(error);
          return;
        }
        this.#waiting.get(report.id)?.reject(error);
        this.#waiting.delete(report.id);
        return;
      }
      default:
        report satisfies never;
    }
  }
}
