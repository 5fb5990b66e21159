/** `buri evict NETWORK CLIENT` */
import type { Command } from 'commander';
import { clientCommand, serverTimeoutMs, word } from './client-command.ts';
import { printable } from './text.ts';

export const evictCommand = (): Command =>
  clientCommand('evict', {
    details:
      'All members close their tunnels to it. It may join again if the network lets it in: ' +
      'change the password or lock the network to keep it out.',
    arguments: [
      ['<network>', 'name or identifier of the network'],
      ['<client>', 'client id, or nickname where only one has it'],
    ],
    examples: [
      ['buri evict games 123-456-789', 'by client id'],
      ['buri evict games bert', 'by nickname'],
    ],
    timeoutMs: serverTimeoutMs,
    request: (words) => ({ network: word(words, 0), clientId: word(words, 1) }),
    render: (_response, { network, clientId }) =>
      `evicted ${printable(clientId)} from ${printable(network)}\n`,
  });
