/** Who has logged in on a host of the laboratory. */
import { BuriDaemon } from '../../lab/buri.ts';
import type { Host } from '../../lab/host.ts';

export interface Person {
  readonly host: Host;
  readonly daemon: BuriDaemon;
  readonly clientId: string;
  readonly ipv4: string;
}

export async function arrive(nick: string, host: Host, url: string): Promise<Person> {
  const daemon = await BuriDaemon.start(host);
  const { clientId, ipv4 } = await daemon.verb('login', ['--nick', nick, '--wait', '60', url]);
  return { host, daemon, clientId, ipv4 };
}

/** How the one sees the other in the first of its networks. */
export async function pathTo(from: Person, to: Person) {
  const { networks } = await from.daemon.verb('list');
  return networks[0]?.members.find(({ clientId }) => clientId === to.clientId)?.path;
}
