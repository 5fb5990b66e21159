/** `buri leave NETWORK` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const leaveCommand = (): Command =>
  clientCommand('leave', {
    details: 'The owner cannot leave: transfer the network first, or delete it.',
    arguments: [['<network>', 'name or identifier of the network']],
    examples: [
      ['buri leave games', 'by name'],
      ['buri leave 398-581-422', 'by identifier'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0) }),
    render: (_response, { network }) => `left ${printable(network)}\n`,
  });
