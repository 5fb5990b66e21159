/** `buri join NETWORK [PASSWORD]` */
import type { Command } from 'commander';
import { clientCommand, given, serverTimeoutMs, word } from './client-command.ts';
import { passwordOf } from './password.ts';
import { printable } from './text.ts';

export const joinCommand = (): Command =>
  clientCommand('join', {
    details:
      "Where the owner approves members by hand, this asks to be let in: 'buri list' shows when that has " +
      'happened. A password as an argument shows in the list of processes: give - instead.',
    arguments: [
      ['<network>', 'name of the network'],
      ['[password]', 'its password; - reads it from standard input'],
    ],
    wait: 'answer only when there is a tunnel to every member that is online',
    examples: [
      ['buri join games -', 'asks for the password'],
      ['buri join games - --wait 20 < password-file', 'ready for use when it returns'],
      ['buri join lobby', 'a network without a password'],
    ],
    timeoutMs: serverTimeoutMs,
    request: async (words, { wait }) => ({
      network: word(words, 0),
      ...given('password', await passwordOf(words[1])),
      ...given('waitSeconds', wait),
    }),
    render: ({ id, name, state }) =>
      state === 'member'
        ? `joined ${printable(name)} [${id}]\n`
        : `asked to join ${printable(name)} [${id}]; its owner has to approve it\n`,
  });
