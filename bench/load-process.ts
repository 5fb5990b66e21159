/** A process of `load-clients.ts` as `control.ts` sees it: one order after the other, each with its answer. */
import { type ChildProcess, fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import type { LoadOrder, LoadResult } from './load-clients.ts';

const program = fileURLToPath(new URL('./load-clients.ts', import.meta.url));

export class LoadProcess implements Disposable {
  readonly #child: ChildProcess;

  constructor() {
    this.#child = fork(program, [], { execArgv: ['--disable-warning=ExperimentalWarning'] });
  }

  ask(order: LoadOrder): Promise<LoadResult> {
    return new Promise((resolve, reject) => {
      const ended = (code: number | null) => reject(new Error(`a load process ended: ${code}`));
      this.#child.once('exit', ended);
      this.#child.once('message', (result) => {
        this.#child.off('exit', ended);
        resolve(result as LoadResult);
      });
      this.#child.send(order);
    });
  }

  [Symbol.dispose](): void {
    this.#child.kill('SIGKILL');
  }
}
