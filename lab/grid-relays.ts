/** Relays beside a server that does not relay itself: one can be killed while another is left. */
import { type BuriServer, buriProgram } from './buri.ts';
import type { Host } from './host.ts';
import type { Internet } from './internet.ts';
import type { LabProcess } from './process.ts';

const readyTimeoutMs = 60_000;

interface GridRelay {
  readonly host: Host;
  readonly args: readonly string[];
  process: LabProcess;
}

export class GridRelays {
  readonly #relays: readonly GridRelay[];

  private constructor(relays: readonly GridRelay[]) {
    this.#relays = relays;
  }

  static async start(
    internet: Internet,
    server: BuriServer,
    count: number,
    prepare: (host: Host) => void,
  ): Promise<GridRelays> {
    const relays: GridRelay[] = [];
    const url = await server.url();
    for (let number = 1; number <= count; number++) {
      const host = await internet.host(`relay${number}`);
      prepare(host);
      const token = await server.createToken(['--relay']);
      const data = host.lab.temporaryDirectory(host.name);
      const args = ['relay', '--data', data, '--server', url];
      const process = await started(host, [...args, '--token', token]);
      relays.push({ host, args, process });
    }
    return new GridRelays(relays);
  }

  /** Kills the one at this endpoint as a failure of power would: nobody is told. */
  async kill(endpoint: string): Promise<void> {
    const relay = this.#relays.find(({ host }) => endpoint.includes(host.ipv4));
    if (relay === undefined) throw new Error(`no relay at ${endpoint}`);
    // A killed process closes its sockets, which would be told to whoever sends there.
    await relay.host.nft(silence);
    await relay.process.stop('SIGKILL');
  }

  /** Those that were killed run again. */
  async restore(): Promise<void> {
    for (const relay of this.#relays) {
      if (relay.process.running) continue;
      await relay.host.nft('delete table inet dead');
      relay.process = await started(relay.host, relay.args);
    }
  }
}

async function started(host: Host, args: readonly string[]): Promise<LabProcess> {
  const process = host.spawn(buriProgram, args, { name: `buri relay on ${host.name}` });
  await process.line(/\bready\b/, { timeoutMs: readyTimeoutMs });
  return process;
}

const silence = `table inet dead {
  chain input { type filter hook input priority 0; policy drop; }
  chain output { type filter hook output priority 0; policy drop; }
}`;
