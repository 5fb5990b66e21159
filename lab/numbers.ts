/** Numbered datagrams between many hosts at once (see `numbers-agent.ts`). */
import { fileURLToPath } from 'node:url';
import { pinnedNode } from './exec.ts';
import type { FlowEnd } from './flow.ts';
import type { LabProcess } from './process.ts';

const agentProgram = fileURLToPath(new URL('numbers-agent.ts', import.meta.url));

interface Report {
  readonly sent: Record<string, number>;
  /** By sender: how many different ones, how many came again, the longest gap in ms. */
  readonly received: Record<string, readonly [number, number, number]>;
}

/** One way of one pair. */
export interface WayAccount {
  readonly from: string;
  readonly to: string;
  readonly sent: number;
  readonly lost: number;
  readonly again: number;
  readonly longestGapMs: number;
}

export class Numbers {
  readonly #ends: readonly FlowEnd[];
  readonly #agents: readonly LabProcess[];
  #reports = 0;

  private constructor(ends: readonly FlowEnd[], agents: readonly LabProcess[]) {
    this.#ends = ends;
    this.#agents = agents;
  }

  static async create(ends: readonly FlowEnd[]): Promise<Numbers> {
    const agents = ends.map(({ host }) =>
      host.spawn(pinnedNode, ['--disable-warning=ExperimentalWarning', agentProgram], {
        name: `numbers of ${host.name}`,
        stdin: true,
      }),
    );
    await Promise.all(agents.map((agent) => agent.line(/"listening"/, { timeoutMs: 60_000 })));
    return new Numbers(ends, agents);
  }

  /** From now on one end of every pair sends the other one so many a second; by turns the earlier and the later one. */
  start(perSecond: number): void {
    for (const [i, agent] of this.#agents.entries()) {
      const to = this.#ends.filter((_, j) => j !== i && sends(i, j)).map(({ ipv4 }) => ipv4);
      tell(agent, { to, perSecond });
    }
  }

  pause(): void {
    for (const agent of this.#agents) tell(agent, { pause: true });
  }

  /** Of everything since the start. To be asked after a pause, when what is under way has arrived. */
  async accounts(): Promise<WayAccount[]> {
    const id = ++this.#reports;
    const reports = await Promise.all(
      this.#agents.map(async (agent): Promise<Report> => {
        tell(agent, { report: id });
        return JSON.parse(await agent.line(new RegExp(`"report":${id},`), { timeoutMs: 30_000 }));
      }),
    );
    return this.#ends.flatMap((from, i) =>
      this.#ends.flatMap((to, j) => {
        if (i === j || !sends(i, j)) return [];
        const sent = reports[i]?.sent[to.ipv4] ?? 0;
        const [count = 0, again = 0, longestGapMs = Infinity] =
          reports[j]?.received[from.ipv4] ?? [];
        const lost = sent - count;
        return [{ from: from.host.name, to: to.host.name, sent, lost, again, longestGapMs }];
      }),
    );
  }
}

const tell = (agent: LabProcess, command: object): void => {
  agent.stdin?.write(`${JSON.stringify(command)}\n`);
};

const sends = (i: number, j: number): boolean => ((i + j) % 2 === 0) === i < j;
