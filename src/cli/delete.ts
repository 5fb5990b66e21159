/** `buri delete NETWORK` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const deleteCommand = (): Command =>
  clientCommand('delete', {
    details: 'It cannot be undone: all members lose the network at once.',
    arguments: [['<network>', 'name or identifier of the network']],
    examples: [
      ['buri delete games', 'by name'],
      ['buri delete 398-581-422', 'by identifier'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0) }),
    render: (_response, { network }) => `deleted ${printable(network)}\n`,
  });
