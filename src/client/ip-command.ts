import { spawn } from 'node:child_process';
import { BuriError } from '#core/errors.ts';

const maxOutputBytes = 64 * 1024 * 1024;
const timeoutMs = 10_000;

/** Runs iproute2's `ip`; its output. BuriError: ip-missing, ip-failed with what it said. */
export function ip(args: readonly string[], input?: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn('ip', args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: timeoutMs,
      env: { ...process.env, PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
    });
    const output: Buffer[] = [];
    let outputBytes = 0;
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => {
      outputBytes += chunk.length;
      if (outputBytes <= maxOutputBytes) output.push(chunk);
      else child.kill();
    });
    child.stderr.on('data', (chunk: Buffer) => {
      complaint = (complaint + chunk.toString()).slice(0, 500);
    });
    child.stdin.on('error', () => {});
    child.on('error', (error) => reject(missing(error)));
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(output).toString());
      else reject(failed(args, complaint.trim() || `exit code ${code}`));
    });
    child.stdin.end(input ?? '');
  });
}

/** Several commands of `ip` in one process, all or an error at the first that fails. */
export const ipBatch = (lines: readonly string[]): Promise<string> =>
  ip(['-batch', '-'], lines.map((line) => `${line}\n`).join(''));

const missing = (error: NodeJS.ErrnoException): BuriError =>
  new BuriError(
    'ip-missing',
    error.code === 'ENOENT'
      ? "the command 'ip' is missing; install the package iproute2"
      : `cannot run the command 'ip': ${error.message}`,
    { cause: error },
  );

const failed = (args: readonly string[], complaint: string): BuriError =>
  new BuriError('ip-failed', `'ip ${args.join(' ')}' failed: ${complaint}`);
