/** `buri create NETWORK [PASSWORD]` */
import type { Command } from 'commander';
import { clientCommand, given, serverTimeoutMs, word } from './client-command.ts';
import { passwordOf } from './password.ts';
import { printable } from './text.ts';

export const createCommand = (): Command =>
  clientCommand('create', {
    details:
      'You become its owner and first member. Without a password everybody at the server who knows its name ' +
      'can join, and the server could read its traffic keys. A password as an argument shows in the list of ' +
      'processes: give - to be asked for it, or to pass it through a pipe.',
    arguments: [
      ['<network>', 'name of the new network: 1 to 64 characters'],
      ['[password]', 'what others need to join; - reads it from standard input'],
    ],
    examples: [
      ['buri create games -', 'asks for the password'],
      ['pass show games | buri create games -', 'password from a program'],
      ['buri create lobby', 'no password'],
    ],
    timeoutMs: serverTimeoutMs,
    request: async (words) => ({
      network: word(words, 0),
      ...given('password', await passwordOf(words[1])),
    }),
    render: ({ id, name }, { password }) =>
      `created ${printable(name)} [${id}]\n` +
      `others join it with: buri join ${quoted(printable(name))}${password === undefined ? '' : ' -'}\n`,
  });

/** As a shell needs it. */
const quoted = (name: string): string =>
  /^[\p{L}\p{N}_.,:+@%/][\p{L}\p{N}_.,:+@%/-]*$/u.test(name)
    ? name
    : `'${name.replaceAll("'", "'\\''")}'`;
