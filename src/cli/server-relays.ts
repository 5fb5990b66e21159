/** `buri server relays` */
import { Command } from 'commander';
import type { RelayListEntry } from '#server/admin/relays.ts';
import { dateText, operate, operatorOptions } from './server-verb.ts';
import { type Cell, type Colour, table } from './table.ts';

const stateColour: Record<RelayListEntry['state'], Colour> = {
  listed: 'green',
  checking: 'yellow',
  unconfirmed: 'yellow',
  unreachable: 'red',
  offline: 'grey',
};

export const serverRelaysCommand = (): Command =>
  operatorOptions(new Command('relays'))
    .summary('List the relays')
    .description(
      "List the relays: the server's own, standalone ones, and members that volunteer; where clients are told " +
        'to find them, and which of these addresses did not answer the server.',
    )
    .action(async (_flags: unknown, command: Command) => {
      await operate(command, 'relays', {}, (answer, paint) => {
        const relays = answer.relays as readonly RelayListEntry[];
        if (relays.length === 0) return 'no relays\n';
        const rows = relays.map((relay): Cell[] => [
          relay.id,
          [relay.state, stateColour[relay.state]],
          relay.owner === null ? relay.kind : `${relay.kind} ${relay.owner}`,
          [...relay.udp, ...relay.ws].join(' ') || '-',
          relay.unreachable.join(' ') || '-',
          relay.software,
          relay.state === 'offline' && relay.lastSeenAt !== null
            ? dateText(relay.lastSeenAt)
            : 'now',
        ]);
        const names = ['relay', 'state', 'kind', 'addresses', 'unreachable', 'software', 'seen'];
        return table([names.map((name): Cell => [name, 'bold']), ...rows], paint);
      });
    });
