/** `buri transfer NETWORK CLIENT` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const transferCommand = (): Command =>
  clientCommand('transfer', {
    details: 'You stay an ordinary member. Only the new owner can give the network back.',
    arguments: [
      ['<network>', 'name or identifier of the network'],
      ['<client>', 'client id, or nickname where only one has it'],
    ],
    examples: [
      ['buri transfer games 123-456-789', 'by client id'],
      ['buri transfer games bert', 'by nickname'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0), clientId: word(words, 1) }),
    render: (_response, { network, clientId }) =>
      `${printable(clientId)} owns ${printable(network)} now\n`,
  });
