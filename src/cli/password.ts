/** Passwords as arguments of commands: an argument shows in `ps`, so `-` stands for one line of standard input. */
import { UsageError } from './failure.ts';

/** As in the local API. */
const maxPasswordCharacters = 1000;
/** A line of that many characters of four bytes, with its end. */
const maxLineBytes = 4 * maxPasswordCharacters + 2;

const interrupt = 0x03;
const endOfInput = 0x04;
const backspace = 0x7f;

/** The password that the argument stands for; undefined when there is none. UsageError when it is unusable. */
export async function passwordOf(argument: string | undefined): Promise<string | undefined> {
  if (argument === undefined) return undefined;
  const password = argument === '-' ? await passwordFromInput(process.stdin) : argument;
  if (password === '') {
    throw new UsageError('the password is empty; leave it out for a network without one');
  }
  if ([...password].length > maxPasswordCharacters || password.length > maxPasswordCharacters) {
    throw new UsageError(`the password is longer than ${maxPasswordCharacters} characters`);
  }
  return password;
}

/** One line, without its end; asked for without echo where a person types it. */
export async function passwordFromInput(input: typeof process.stdin): Promise<string> {
  if (!input.isTTY) return text(await firstLine(input));
  // Before the question: what is typed ahead must not show either.
  input.setRawMode(true);
  try {
    process.stderr.write('Password: ');
    return text(await typedLine(input));
  } finally {
    input.setRawMode(false);
    process.stderr.write('\n');
  }
}

async function firstLine(input: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of input) {
    const end = chunk.indexOf('\n');
    chunks.push(end < 0 ? chunk : chunk.subarray(0, end));
    length += chunk.length;
    if (end >= 0) break;
    if (length > maxLineBytes) throw new UsageError('the line on standard input is too long');
  }
  const line = Buffer.concat(chunks);
  if (line.length > maxLineBytes) throw new UsageError('the line on standard input is too long');
  return line.at(-1) === 0x0d ? line.subarray(0, -1) : line;
}

async function typedLine(input: AsyncIterable<Buffer>): Promise<Buffer> {
  const line: number[] = [];
  for await (const chunk of input) {
    for (const byte of chunk) {
      if (byte === interrupt) interrupted();
      if (byte === 0x0a || byte === 0x0d || byte === endOfInput) return Buffer.from(line);
      if (byte === backspace || byte === 0x08) removeCharacter(line);
      else if (line.length < maxLineBytes) line.push(byte);
    }
  }
  return Buffer.from(line);
}

/** Takes one UTF-8 character off the end: its continuation bytes and the byte that leads them. */
function removeCharacter(line: number[]): void {
  while (line.length > 0) if ((line.pop()! & 0xc0) !== 0x80) return;
}

/** In raw mode Ctrl-C is a byte like others; the terminal must be as before when the signal ends the process. */
function interrupted(): void {
  process.stdin.setRawMode(false);
  process.stderr.write('\n');
  process.kill(process.pid, 'SIGINT');
}

function text(line: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(line);
  } catch {
    throw new UsageError('the password on standard input is not UTF-8 text');
  }
}
