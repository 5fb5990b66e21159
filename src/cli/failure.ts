/** How a command ends when it does not succeed: one line, and an exit code that scripts rely on. */
import { BuriError } from '#core/errors.ts';
import { jsonLine, oneLine } from './text.ts';

export const exitOk = 0;
/** A refused or failed request. */
export const exitFailed = 1;
/** Wrong usage. */
export const exitUsage = 2;

/** Wrong usage: the command line cannot mean anything. */
export class UsageError extends BuriError {
  constructor(message: string) {
    super('usage', message);
    this.name = 'UsageError';
  }
}

export interface Failure {
  readonly exitCode: number;
  readonly code: string;
  readonly message: string;
}

/** What to print for anything thrown. A bug keeps its message and has code `internal`. */
export function failureOf(error: unknown): Failure {
  if (error instanceof UsageError) {
    return { exitCode: exitUsage, code: error.code, message: error.message };
  }
  if (error instanceof BuriError) {
    return { exitCode: exitFailed, code: error.code, message: error.message };
  }
  const message = error instanceof Error ? error.message : String(error);
  return { exitCode: exitFailed, code: 'internal', message: `unexpected error: ${message}` };
}

/** The line for standard error. */
export const failureText = ({ message }: Failure): string => `buri: ${oneLine(message)}\n`;

/** The line for standard output with `--json`. */
export const failureJson = ({ code, message }: Failure): string =>
  jsonLine({ error: { code, message: oneLine(message) } });
