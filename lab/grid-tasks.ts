/** What the grid has to do, cut into pieces that can be done side by side. */
import type { NatKind } from './nat-kinds.ts';

/** Runs of one pair, in one laboratory. */
export interface GridTask {
  readonly a: NatKind;
  readonly b: NatKind;
  readonly runs: readonly number[];
}

/** The first runs of every pair come first: whoever stops early knows something about each. */
export function planOf(
  pairs: readonly (readonly [NatKind, NatKind])[],
  { runs, runsOfTask }: { readonly runs: number; readonly runsOfTask: number },
  isDone: (a: NatKind, b: NatKind, run: number) => boolean,
): GridTask[] {
  const tasks: GridTask[] = [];
  for (let first = 0; first < runs; first += runsOfTask) {
    const length = Math.min(runsOfTask, runs - first);
    const numbers = Array.from({ length }, (_, i) => first + i);
    for (const [a, b] of pairs) {
      const left = numbers.filter((run) => !isDone(a, b, run));
      if (left.length > 0) tasks.push({ a, b, runs: left });
    }
  }
  return tasks;
}
