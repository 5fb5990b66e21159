import { execFileSync } from 'node:child_process';

/** Keeps a process with all its threads, those to come too, on one core; undefined: as the kernel likes. */
export function pinned(pid: number, core: number | undefined): void {
  if (core === undefined) return;
  execFileSync('taskset', ['-a', '-c', '-p', String(core), String(pid)], { stdio: 'ignore' });
}
