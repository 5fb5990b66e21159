/** `buri set-nick NICK` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const setNickCommand = (): Command =>
  clientCommand('set-nick', {
    arguments: [['<nick>', 'the new nickname: 1 to 64 characters']],
    examples: [
      ['buri set-nick anna', ''],
      ["buri set-nick 'Anna at work'", 'with spaces'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ nick: word(words, 0) }),
    render: (_response, { nick }) => `others see you as ${printable(nick)} now\n`,
  });
