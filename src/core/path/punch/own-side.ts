/** What this side knows that attempts depend on: whom it may try, with what, and where it can be met itself. */
import type { Now } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { Candidate, PunchPorts, PunchTerms } from '#wire/signal.ts';
import type { Attempt } from './attempt.ts';
import type { PunchHost } from './host.ts';
import { mayAimAt, ownPorts, samplesFor } from './own-ports.ts';
import { isChanging, type PunchPlan, planPunch, type Technique } from './plan.ts';
import { Sampler } from './sampler.ts';

export class OwnSide {
  isEnabled = true;
  readonly #host: PunchHost;
  #servers: readonly Endpoint[] = [];
  #candidates: readonly Candidate[] = [];

  constructor(host: PunchHost) {
    this.#host = host;
  }

  setServers(servers: readonly Endpoint[]): void {
    this.#servers = servers.filter(({ address }) => !address.includes(':'));
  }

  setCandidates(candidates: readonly Candidate[]): void {
    this.#candidates = candidates;
  }

  get mayBegin(): boolean {
    const { connected, discovered } = this.#host.local();
    return this.isEnabled && connected && discovered;
  }

  planFor(peer: number): PunchPlan | undefined {
    const facts = this.#host.peer(peer);
    if (facts?.nat === undefined) return undefined;
    return planPunch(this.#host.local().nat, facts.nat, facts.leads);
  }

  /** What to try with this peer; undefined when there is nothing to. */
  guessFor(peer: number): Pick<Attempt, 'technique' | 'role'> | undefined {
    const plan = this.planFor(peer);
    if (plan?.type !== 'guess' || this.#host.peer(peer)?.hasDirectPath !== false) return undefined;
    return { technique: plan.technique, role: plan.role };
  }

  /** False while it is not known yet how the NAT whose ports change chooses them. */
  isGuessSure(peer: number): boolean {
    const nats = [this.#host.local().nat, this.#host.peer(peer)?.nat];
    return nats.some((nat) => nat?.allocation !== undefined && isChanging(nat));
  }

  /** From 0 to below the number. */
  readonly random = (below: number): number => Math.floor(this.#host.chance() * below);

  /** A number for an attempt that this side proposes. */
  newId(): number {
    return this.random(0x1_0000) * 0x1_0000 + this.random(0x1_0000);
  }

  /** Fresh mappings for a technique, and how many of them. */
  sample(technique: Technique, now: Now): { readonly sampler: Sampler; readonly samples: number } {
    const send = (index: number, remote: Endpoint, bytes: Uint8Array) =>
      this.#host.emit({ type: 'punch-send', index, remote, bytes });
    const samples = samplesFor({ technique, nat: this.#host.local().nat });
    const sampler = new Sampler(this.#host.crypto, send, {
      ...{ servers: this.#servers, wanted: samples, inOrder: technique === 'sequence' },
      now: now.monotonic,
    });
    return { sampler, samples };
  }

  /** Undefined when it is not known where this side can be met. */
  ports({ technique, role }: Attempt, { samples }: Sampler): PunchPorts | undefined {
    const { nat } = this.#host.local();
    return ownPorts({ technique, role, nat, candidates: this.#candidates, samples });
  }

  /** Why an offer makes no sense here, whatever goes on; undefined when it does. @param proven addresses that the server vouches for. */
  objection(
    peer: number,
    { technique, ports }: PunchTerms,
    proven: readonly string[],
  ): string | undefined {
    const facts = this.#host.peer(peer);
    const plan = this.planFor(peer);
    if (!this.isEnabled) return 'off';
    if (facts === undefined || ports === undefined) return 'not-ready';
    if (facts.hasDirectPath) return 'direct';
    if (plan?.type !== 'guess' || plan.technique !== technique) return 'disagree';
    return mayAimAt(ports, proven) ? undefined : 'unproven';
  }
}
