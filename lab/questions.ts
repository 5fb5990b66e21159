/**
 * Programs of the laboratory that are asked and told things while they run: `ID QUESTION` on their
 * standard input is answered by `ID ANSWER` on their standard output.
 */
import type { LabProcess, SpawnOptions } from './process.ts';
import { withinMs } from './wait.ts';

const answerTimeoutMs = 20_000;

export class Questions {
  readonly #process: LabProcess;
  readonly #name: string;
  readonly #waiting: Map<number, PromiseWithResolvers<string>>;
  #nextId = 1;

  private constructor(
    process: LabProcess,
    name: string,
    waiting: Map<number, PromiseWithResolvers<string>>,
  ) {
    this.#process = process;
    this.#name = name;
    this.#waiting = waiting;
    void process.ended.then(() => {
      for (const { reject } of waiting.values()) reject(new Error(process.tail));
    });
  }

  /** @param spawn starts the program with an open standard input, and `onLine` for its output */
  static spawn(
    spawn: (onLine: NonNullable<SpawnOptions['onLine']>) => LabProcess,
    name: string,
  ): { readonly process: LabProcess; readonly questions: Questions } {
    const waiting = new Map<number, PromiseWithResolvers<string>>();
    const process = spawn((text, stream) => {
      const [, id, answer] = (stream === 'stdout' && /^(\d+) (.*)$/.exec(text)) || [];
      if (id !== undefined) waiting.get(Number(id))?.resolve(answer as string);
    });
    return { process, questions: new Questions(process, name, waiting) };
  }

  async ask(question: string): Promise<string> {
    if (!this.#process.running) throw new Error(this.#process.tail);
    const id = this.#nextId++;
    const answer = Promise.withResolvers<string>();
    this.#waiting.set(id, answer);
    this.#process.stdin?.write(`${id} ${question}\n`);
    try {
      return await withinMs(`an answer to '${question}'`, answerTimeoutMs, answer.promise);
    } finally {
      this.#waiting.delete(id);
    }
  }

  /** Throws RangeError with what is wrong with it. */
  async order(command: string): Promise<void> {
    const answer = await this.ask(command);
    if (answer !== 'ok') throw new RangeError(`${this.#name}: ${answer}`);
  }
}
