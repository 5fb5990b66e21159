import { Writable } from 'node:stream';
import { type Logger, pino } from 'pino';

export type Log = Logger;

/** Lines of JSON on standard error; on a terminal, lines for people. Nothing secret is ever given to it. */
export function createLog(level: string, name = 'buri-server'): Log {
  const options = { name, level, base: null };
  if (process.stderr.isTTY) return pino(options, new Readable());
  return pino(options, pino.destination({ dest: 2, sync: true }));
}

const levelNames: Record<number, string> = {
  30: '',
  40: 'warning: ',
  50: 'error: ',
  60: 'fatal: ',
};

class Readable extends Writable {
  override _write(line: Buffer, _encoding: string, done: () => void): void {
    const { level, time, msg, name: _, err, ...rest } = JSON.parse(line.toString('utf8'));
    const facts = Object.entries(rest).map(([key, value]) => `  ${key}=${shown(value)}`);
    const cause = err === undefined ? '' : `  ${err.message}`;
    const clock = new Date(time).toTimeString().slice(0, 8);
    process.stderr.write(`${clock}  ${levelNames[level] ?? ''}${msg}${cause}${facts.join('')}\n`);
    done();
  }
}

const shown = (value: unknown) => (typeof value === 'string' ? value : JSON.stringify(value));
