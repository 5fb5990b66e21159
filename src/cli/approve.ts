/** `buri approve NETWORK CLIENT` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const approveCommand = (): Command =>
  clientCommand('approve', {
    details: 'buri network NETWORK shows who waits.',
    arguments: [
      ['<network>', 'name or identifier of the network'],
      ['<client>', 'client id, or nickname where only one has it'],
    ],
    examples: [
      ['buri approve games 123-456-789', 'by client id'],
      ['buri approve games bert', 'by nickname'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0), clientId: word(words, 1) }),
    render: (_response, { network, clientId }) =>
      `${printable(clientId)} is a member of ${printable(network)} now\n`,
  });
