import { spawn } from 'node:child_process';

export interface CommandBounds {
  readonly timeoutMs: number;
  readonly maxOutputBytes: number;
}

export type CommandResult =
  | { readonly ok: true; readonly output: string }
  | { readonly ok: false; readonly why: string; readonly missing: boolean };

/** Runs a program that only looks at something, in bounded time and with bounded output. Never throws. */
export function runBounded(
  command: string,
  args: readonly string[],
  { timeoutMs, maxOutputBytes }: CommandBounds,
): Promise<CommandResult> {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: timeoutMs,
      killSignal: 'SIGKILL',
      env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin:/usr/bin:/bin`, LC_ALL: 'C' },
    });
    const output: Buffer[] = [];
    let outputBytes = 0;
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes <= maxOutputBytes) output.push(chunk);
      else child.kill('SIGKILL');
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(0, 300);
    });
    child.on('error', (error: NodeJS.ErrnoException) => {
      const missing = error.code === 'ENOENT';
      const why = missing ? `the command '${command}' is missing` : error.message;
      resolve({ ok: false, why, missing });
    });
    child.on('close', (code, signal) => {
      if (code === 0) resolve({ ok: true, output: Buffer.concat(output).toString() });
      else {
        const tooMuch = outputBytes > maxOutputBytes ? 'it printed too much' : undefined;
        const late = signal === null ? undefined : `it took longer than ${timeoutMs / 1000} s`;
        const first = complaint.trim().split('\n')[0];
        const why = `${command}: ${tooMuch ?? late ?? (first || `exit code ${code}`)}`;
        resolve({ ok: false, why, missing: false });
      }
    });
  });
}
