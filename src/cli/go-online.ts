/** `buri go-online NETWORK` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const goOnlineCommand = (): Command =>
  clientCommand('go-online', {
    details: 'Undoes buri go-offline: tunnels to its members are made again.',
    arguments: [['<network>', 'name or identifier of the network']],
    examples: [
      ['buri go-online games', 'by name'],
      ['buri go-online 398-581-422', 'by identifier'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0) }),
    render: (_response, { network }) => `online in ${printable(network)}\n`,
  });
