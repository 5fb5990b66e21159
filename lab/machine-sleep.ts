/**
 * A laptop that sleeps, for one program: it is stopped, and afterwards the time since boot is further ahead than the monotonic
 * clock, which stands still while a machine sleeps. Programs read that time from /proc/uptime; the stopped one has a file of its
 * own there, in its mount namespace (`ip netns exec` makes one for every program).
 */
import { closeSync, constants, openSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { execChecked } from './exec.ts';
import type { Lab } from './lab.ts';
import type { LabProcess } from './process.ts';

/** The file is written over in place and must not be read half: always as long. */
const width = 32;

export class MachineSleep {
  readonly #process: LabProcess;
  readonly #file: string;
  #sleptSeconds = 0;

  private constructor(process: LabProcess, file: string) {
    this.#process = process;
    this.#file = file;
  }

  static async of(lab: Lab, process: LabProcess): Promise<MachineSleep> {
    if (process.pid === undefined) throw new Error('the program is gone');
    const file = join(lab.temporaryDirectory('uptime'), 'uptime');
    const sleep = new MachineSleep(process, file);
    sleep.#write();
    const mount = ['mount', '--bind', file, '/proc/uptime'];
    await execChecked('nsenter', ['--target', `${process.pid}`, '--mount', ...mount]);
    return sleep;
  }

  /** @param seconds of the sleep, as the program's clocks have it; it is stopped for `stoppedSeconds` of them */
  async sleep(
    { seconds, stoppedSeconds }: { readonly seconds: number; readonly stoppedSeconds: number },
    meanwhile: () => Promise<void>,
  ): Promise<void> {
    this.#process.signal('SIGSTOP');
    try {
      await pause(stoppedSeconds * 1000);
      await meanwhile();
      this.#sleptSeconds += seconds - stoppedSeconds;
      this.#write();
    } finally {
      this.#process.signal('SIGCONT');
    }
  }

  #write(): void {
    const [sinceBoot] = readFileSync('/proc/uptime', 'latin1').split(' ');
    const text = `${(Number(sinceBoot) + this.#sleptSeconds).toFixed(2)} 0.00`;
    const file = openSync(this.#file, constants.O_WRONLY | constants.O_CREAT);
    writeSync(file, `${text.padEnd(width)}\n`, 0);
    closeSync(file);
  }
}
