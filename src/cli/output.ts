/** Standard output: whole, with back-pressure, and quiet when the reader has gone. */
import { BuriError } from '#core/errors.ts';
import { coloured, type Paint, plain } from './table.ts';

/**
 * Writes and waits until the text has left. A reader that went away (`buri list | head`) wants no more, and no
 * complaint either. BuriError `output-failed` when it cannot be written (a full disk).
 */
export function print(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error: NodeJS.ErrnoException | null | undefined) => {
      if (error === null || error === undefined || error.code === 'EPIPE') resolve();
      else {
        reject(new BuriError('output-failed', `cannot write the answer: ${error.message}`));
      }
    });
  });
}

/** Colours on a terminal only, and not where NO_COLOR (no-color.org) or TERM=dumb say no. */
export function standardPaint(): Paint {
  const { NO_COLOR, TERM } = process.env;
  const allowed = process.stdout.isTTY && !NO_COLOR && TERM !== 'dumb';
  return allowed ? coloured : plain;
}
