/** `buri set-pass NETWORK [PASSWORD]` */
import type { Command } from 'commander';
import { clientCommand, given, serverTimeoutMs, word } from './client-command.ts';
import { passwordOf } from './password.ts';
import { printable } from './text.ts';

export const setPassCommand = (): Command =>
  clientCommand('set-pass', {
    details:
      'Who is a member stays one, and no tunnel notices. Without PASSWORD the network has none from now on. A ' +
      'password as an argument shows in the list of processes: give - instead.',
    arguments: [
      ['<network>', 'name or identifier of the network'],
      ['[password]', 'the new password; - reads it from standard input'],
    ],
    examples: [
      ['buri set-pass games -', 'asks for the new password'],
      ['buri set-pass games', 'removes the password'],
    ],
    timeoutMs: serverTimeoutMs,
    request: async (words) => ({
      network: word(words, 0),
      ...given('password', await passwordOf(words[1])),
    }),
    render: (_response, { network, password }) =>
      password === undefined
        ? `${printable(network)} has no password now: who knows its name can join\n`
        : `${printable(network)} has a new password\n`,
  });
