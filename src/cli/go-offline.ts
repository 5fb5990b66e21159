/** `buri go-offline NETWORK` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const goOfflineCommand = (): Command =>
  clientCommand('go-offline', {
    details: 'Its members see this computer go offline there; other networks go on.',
    arguments: [['<network>', 'name or identifier of the network']],
    examples: [
      ['buri go-offline games', 'by name'],
      ['buri go-offline 398-581-422', 'by identifier'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0) }),
    render: (_response, { network }) => `offline in ${printable(network)}\n`,
  });
