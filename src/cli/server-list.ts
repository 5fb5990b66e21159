/** `buri server status`, `buri server clients`, `buri server networks`, `buri server remove`, `buri server renumber` */
import { Command } from 'commander';
import type { ClientEntry, NetworkListEntry } from '#server/admin/actions.ts';
import { UsageError } from './failure.ts';
import { dateText, operate, operatorOptions } from './server-verb.ts';
import { type Cell, type Colour, facts, table } from './table.ts';

const presenceColour: Record<ClientEntry['presence'], Colour> = {
  online: 'green',
  unconfirmed: 'yellow',
  offline: 'grey',
};

const bold = (name: string): Cell => [name, 'bold'];

interface Status {
  readonly running: boolean;
  readonly version: string;
  readonly url?: string;
  readonly uptimeSeconds?: number;
  readonly memoryBytes?: number;
  readonly clientsOnline?: number;
  readonly faults?: Readonly<Record<string, number>>;
  readonly stun?: Readonly<Record<string, number>>;
}

export const serverStatusCommand = (): Command =>
  operatorOptions(new Command('status'))
    .summary('Show whether the server runs, and what it has refused')
    .description(
      'Show whether the server runs, how many clients are online, and what it has refused.',
    )
    .action(async (_flags: unknown, command: Command) => {
      await operate(command, 'status', {}, (answer, paint) => {
        const status = answer as unknown as Status;
        if (!status.running) return 'the server does not run\n';
        const counted = (counters: Readonly<Record<string, number>> = {}) =>
          Object.entries(counters)
            .map(([name, count]) => `${name} ${count}`)
            .join(', ') || 'none';
        return facts(
          [
            ['version', status.version],
            ['url', status.url],
            ['running for', `${status.uptimeSeconds} s`],
            ['memory', `${Math.round((status.memoryBytes ?? 0) / 1_048_576)} MiB`],
            ['online', `${status.clientsOnline} clients`],
            ['refused', counted(status.faults)],
            ['STUN', counted(status.stun)],
          ],
          paint,
        );
      });
    });

export const serverClientsCommand = (): Command =>
  operatorOptions(new Command('clients'))
    .summary('List the enrolled devices')
    .description('List the enrolled devices, with their addresses and whether they are online.')
    .action(async (_flags: unknown, command: Command) => {
      await operate(command, 'clients', {}, (answer, paint) => {
        const clients = answer.clients as readonly ClientEntry[];
        if (clients.length === 0) return 'no devices yet\n';
        const rows = clients.map((client): Cell[] => [
          client.clientId,
          [client.presence, presenceColour[client.presence]],
          client.nick,
          client.ipv4,
          String(client.networks),
          client.software,
          client.presence === 'online' ? 'now' : dateText(client.lastSeenAt),
        ]);
        const names = ['client id', 'presence', 'nick', 'address', 'networks', 'software', 'seen'];
        return table([names.map(bold), ...rows], paint);
      });
    });

export const serverNetworksCommand = (): Command =>
  operatorOptions(new Command('networks'))
    .summary('List the networks')
    .description('List the networks with their owners and how they let people in.')
    .action(async (_flags: unknown, command: Command) => {
      await operate(command, 'networks', {}, (answer, paint) => {
        const networks = answer.networks as readonly NetworkListEntry[];
        if (networks.length === 0) return 'no networks yet\n';
        const rows = networks.map((network): Cell[] => [
          network.id,
          network.name,
          network.type,
          String(network.members),
          String(network.pending),
          `${network.ownerNick} (${network.owner})`,
          access(network),
        ]);
        const names = ['network id', 'name', 'type', 'members', 'waiting', 'owner', 'access'];
        return table([names.map(bold), ...rows], paint);
      });
    });

const access = ({ locked, approval, password }: NetworkListEntry): string =>
  [
    locked ? 'locked' : 'open',
    ...(approval === 'manual' ? ['by approval'] : []),
    password ? 'password' : 'no password',
  ].join(', ');

export const serverRemoveCommand = (): Command =>
  operatorOptions(new Command('remove'))
    .summary('Remove a device or a relay for good')
    .description(
      'Remove a device for good: it leaves every network, its identity is forgotten, relays drop it. A network ' +
        'that it owns passes to its oldest member, or is deleted when it has no other. Or remove a relay: clients ' +
        'are told to use others, and it needs a new token to come back.',
    )
    .argument('<id>', 'client id as `server clients` shows it, or relay id as `server relays` does')
    .action(async (id: string, _flags: unknown, command: Command) => {
      if (/^r-[0-9a-f]{16}$/.test(id)) {
        await operate(command, 'relay-remove', { id }, () => `removed ${id}\n`);
        return;
      }
      if (!/^[0-9]{3}-[0-9]{3}-[0-9]{3}$/.test(id))
        throw new UsageError(`${id} is no client id; it looks like 123-456-789`);
      await operate(command, 'remove', { clientId: id }, ({ nick }) => `removed ${nick} (${id})\n`);
    });

export const serverRenumberCommand = (): Command =>
  operatorOptions(new Command('renumber'))
    .summary('Begin anew with a database that has lost changes')
    .description(
      'Tell every member again what its networks are, by numbers far above all that were given out before. Do so after ' +
        'a standby took over that was behind, and after a copy of the database was put back by other means than ' +
        '`buri server restore`, which does it itself: else members may hold on to what the database does not know.',
    )
    .action(async (_flags: unknown, command: Command) => {
      await operate(command, 'renumber', {}, ({ networks }) => `renumbered ${networks} networks\n`);
    });
