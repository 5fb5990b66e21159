/** `buri reject NETWORK CLIENT` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const rejectCommand = (): Command =>
  clientCommand('reject', {
    details: 'buri network NETWORK shows who waits.',
    arguments: [
      ['<network>', 'name or identifier of the network'],
      ['<client>', 'client id, or nickname where only one has it'],
    ],
    examples: [
      ['buri reject games 123-456-789', 'by client id'],
      ['buri reject games bert', 'by nickname'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0), clientId: word(words, 1) }),
    render: (_response, { network, clientId }) =>
      `turned down ${printable(clientId)} for ${printable(network)}\n`,
  });
