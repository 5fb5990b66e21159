/**
 * Every command with one line about it. Its module is loaded only when it runs or its help is wanted: a verb must
 * answer at once, and must not wait for the daemon's or the server's libraries.
 */
import type { Command } from 'commander';

export interface CommandEntry {
  readonly name: string;
  readonly group: CommandGroup;
  readonly summary: string;
  /** A client verb, which takes `--socket` and `--json`. */
  readonly client: boolean;
  readonly load: () => Promise<Command>;
}

export type CommandGroup = 'This computer:' | 'Networks:' | 'Networks that you own:' | 'Programs:';

const entry = (
  group: CommandGroup,
  name: string,
  summary: string,
  load: () => Promise<Command>,
): CommandEntry => ({ name, group, summary, load, client: group !== 'Programs:' });

const here = 'This computer:';
const networks = 'Networks:';
const owned = 'Networks that you own:';
const programs = 'Programs:';

export const commands: readonly CommandEntry[] = [
  entry(
    here,
    'status',
    'Show whether this computer is online, its addresses and its NAT',
    async () => (await import('./status.ts')).statusCommand(),
  ),
  entry(here, 'doctor', 'Find out what is wrong, on which side, and what to do', async () =>
    (await import('./doctor.ts')).doctorCommand(),
  ),
  entry(here, 'login', 'Log in to a server and stay logged in', async () =>
    (await import('./login.ts')).loginCommand(),
  ),
  entry(here, 'logout', 'Log out and stay offline until the next login', async () =>
    (await import('./logout.ts')).logoutCommand(),
  ),
  entry(here, 'set-nick', 'Change the nickname that others see', async () =>
    (await import('./set-nick.ts')).setNickCommand(),
  ),
  entry(here, 'netcheck', 'Test what the network lets through, and what that means', async () =>
    (await import('./netcheck.ts')).netcheckCommand(),
  ),
  entry(networks, 'list', 'Show all networks with their members and the paths to them', async () =>
    (await import('./list.ts')).listCommand(),
  ),
  entry(networks, 'network', 'Show everything about one network', async () =>
    (await import('./network.ts')).networkCommand(),
  ),
  entry(networks, 'peer', 'Show everything about one other member', async () =>
    (await import('./peer.ts')).peerCommand(),
  ),
  entry(networks, 'create', 'Create a network and join it', async () =>
    (await import('./create.ts')).createCommand(),
  ),
  entry(networks, 'join', 'Join a network', async () => (await import('./join.ts')).joinCommand()),
  entry(networks, 'leave', 'Leave a network for good', async () =>
    (await import('./leave.ts')).leaveCommand(),
  ),
  entry(networks, 'go-online', 'Take part in a network again', async () =>
    (await import('./go-online.ts')).goOnlineCommand(),
  ),
  entry(networks, 'go-offline', 'Stay a member of a network, but take no part', async () =>
    (await import('./go-offline.ts')).goOfflineCommand(),
  ),
  entry(owned, 'delete', 'Delete a network with all its memberships', async () =>
    (await import('./delete.ts')).deleteCommand(),
  ),
  entry(owned, 'evict', 'Remove a member from a network', async () =>
    (await import('./evict.ts')).evictCommand(),
  ),
  entry(owned, 'approve', 'Let somebody in who asked to join', async () =>
    (await import('./approve.ts')).approveCommand(),
  ),
  entry(owned, 'reject', 'Turn down somebody who asked to join', async () =>
    (await import('./reject.ts')).rejectCommand(),
  ),
  entry(owned, 'set-pass', 'Change or remove the password of a network', async () =>
    (await import('./set-pass.ts')).setPassCommand(),
  ),
  entry(owned, 'set-access', 'Lock a network, or approve new members by hand', async () =>
    (await import('./set-access.ts')).setAccessCommand(),
  ),
  entry(owned, 'transfer', 'Make another member the owner of a network', async () =>
    (await import('./transfer.ts')).transferCommand(),
  ),
  entry(programs, 'daemon', 'Run the client in the foreground', async () =>
    (await import('./daemon.ts')).daemonCommand(),
  ),
  entry(programs, 'server', 'Run a server in the foreground, or manage it', async () =>
    (await import('./server.ts')).serverCommand(),
  ),
  entry(programs, 'relay', 'Run a relay in the foreground', async () =>
    (await import('./relay.ts')).relayCommand(),
  ),
];

export const commandNamed = (name: string): CommandEntry | undefined =>
  commands.find((candidate) => candidate.name === name);
