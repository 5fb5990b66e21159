/** When statements are renewed: daily for who is online, those of a network together. */
import type { Now } from '#core/time.ts';
import type { Hub } from './hub.ts';
import { renewalRoundMs, statementRenewAfterMs } from './limits.ts';
import { renewalOf, renewStatements } from './renewal.ts';
import { participationsOfMany } from './sync.ts';

export class Renewals {
  readonly #hub: Hub;

  constructor(hub: Hub) {
    this.#hub = hub;
  }

  /** On a multiple of the round, so that the members of a network are renewed together. */
  schedule(client: string, dueAtMs: number, now: Now): void {
    const round = Math.ceil(dueAtMs / renewalRoundMs) * renewalRoundMs;
    this.#hub.schedule({ kind: 'renew', client }, now, Math.max(0, round - now.wall));
  }

  /** A client has a new membership; older ones are due before it. */
  joined(client: string, now: Now): void {
    if (!this.#hub.isScheduled({ kind: 'renew', client }))
      this.schedule(client, now.wall + statementRenewAfterMs, now);
  }

  forget(client: string): void {
    this.#hub.cancel({ kind: 'renew', client });
  }

  async renew(clients: readonly string[], now: Now): Promise<void> {
    const hub = this.#hub;
    const online = clients.filter((client) => hub.sessions.ofClient(client) !== undefined);
    const context = hub.context(now);
    try {
      await hub.options.store.commits.run(
        (tx) => renewStatements(tx, context, online),
        (events) => hub.delivery.deliver(events),
      );
      for (const [client, networks] of await participationsOfMany(hub.options.store.db, online)) {
        const dueAtMs = renewalOf(networks);
        if (dueAtMs !== undefined && hub.sessions.ofClient(client) !== undefined)
          this.schedule(client, dueAtMs, now);
      }
    } catch (error) {
      hub.options.failed?.(error);
      for (const client of online) hub.schedule({ kind: 'renew', client }, now, renewalRoundMs);
    }
  }
}
