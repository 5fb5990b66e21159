/** `buri network NETWORK` */
import type { Command } from 'commander';
import type { NetworkEntry } from '#wire/local-api.ts';
import { clientCommand, word } from './client-command.ts';
import { facts, type Paint } from './table.ts';
import { memberTable, ownerText } from './view.ts';

export const networkCommand = (): Command =>
  clientCommand('network', {
    arguments: [['<network>', 'name or identifier of the network']],
    examples: [
      ['buri network games', 'its settings, its members, who asks to join'],
      ['buri network 398-581-422 --json', 'for scripts'],
    ],
    request: (words) => ({ network: word(words, 0) }),
    render: (network, _request, paint) => networkText(network, paint),
  });

export function networkText(network: NetworkEntry, paint: Paint): string {
  const { id, name, type, state, online, password, locked, approval, members } = network;
  const about = facts(
    [
      ['name', [name, 'bold']],
      ['id', id],
      ['type', type],
      ['membership', state === 'pending' ? 'waits for the approval of the owner' : 'member'],
      ['here', online ? 'online' : 'offline'],
      ['owner', ownerText(network)],
      ['password', password ? 'yes' : 'none'],
      ['access', locked ? 'locked: nobody new' : 'open'],
      ['approval', approval === 'manual' ? 'by hand' : 'automatic'],
      ['members', String(members.length)],
    ],
    paint,
  );
  const list = memberTable(network, paint, '  ');
  return list === '' ? about : `${about}\n${list}`;
}
