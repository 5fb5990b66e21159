/** The whole view again, for who asked for it, or holds another revision than the others of its network. */
import type { Now } from '#core/time.ts';
import { StoreUnavailable } from '../store/failures.ts';
import type { Db } from '../store/schema.ts';
import type { NetworkView, WhyRemoved } from './events.ts';
import { closeGoingAway, type Hub } from './hub.ts';
import { hasRequest, membershipOf } from './operations/outcome.ts';
import { viewFor } from './revisions.ts';
import { beginRequest, type Session } from './sessions.ts';
import { whyRemoved } from './sync.ts';

type Found = { readonly view: NetworkView } | { readonly why: WhyRemoved };

/** Connections brought back into step in one turn. */
const maxPerTurn = 64;
const delayMs = 5;
const retryMs = 1_000;

export class Resync {
  readonly #hub: Hub;
  /** `client network` */
  readonly #outOfStep = new Set<string>();

  constructor(hub: Hub) {
    this.#hub = hub;
    hub.delivery.onOutOfStep = (clientId, network) => {
      if (hub.sessions.ofClient(clientId) === undefined || hub.latest === undefined) return;
      this.#outOfStep.add(`${clientId} ${network}`);
      this.#arm(hub.latest);
    };
  }

  /** One that cannot be served ends the connection: the client waits for the view, and has it at its next login. */
  async asked(session: Session, network: string, now: Now): Promise<void> {
    if (!beginRequest(session)) {
      this.#hub.close(session.id, closeGoingAway);
      return;
    }
    try {
      await this.#send(session, network, now);
    } finally {
      session.requestsInWork--;
    }
  }

  /** The duty is due. */
  async due(now: Now): Promise<void> {
    const turn = [...this.#outOfStep].slice(0, maxPerTurn);
    for (const key of turn) this.#outOfStep.delete(key);
    if (this.#outOfStep.size > 0) this.#arm(now);
    await Promise.all(
      turn.map(async (key) => {
        const [clientId = '', network = ''] = key.split(' ');
        const session = this.#hub.sessions.ofClient(clientId);
        if (session !== undefined) await this.#send(session, network, now);
      }),
    );
  }

  async #send({ id, clientId }: Session, network: string, now: Now): Promise<void> {
    const { delivery, options } = this.#hub;
    try {
      await options.store.commits.run(
        (tx) =>
          this.#hub.telling(tx, find(tx, network, clientId), (found) =>
            'view' in found ? [found.view] : [],
          ),
        ({ result: found, news }) => {
          this.#hub.heard(news, now);
          if ('why' in found) {
            this.#hub.send(id, { t: 'removed', network, ...found.why });
            return;
          }
          this.#hub.send(id, delivery.viewMessage(found.view));
          delivery.viewed(clientId, network, found.view.revision);
        },
      );
    } catch (error) {
      options.failed?.(error);
      if (!(error instanceof StoreUnavailable) || this.#hub.latest === undefined) {
        this.#hub.close(id, closeGoingAway);
        return;
      }
      // The database will be back, and then the client is told: its connection is none the worse.
      this.#outOfStep.add(`${clientId} ${network}`);
      this.#arm(this.#hub.latest, retryMs);
    }
  }

  #arm(now: Now, inMs = delayMs): void {
    if (!this.#hub.isScheduled({ kind: 'out-of-step' }))
      this.#hub.schedule({ kind: 'out-of-step' }, now, inMs);
  }
}

async function find(tx: Db, network: string, clientId: string): Promise<Found> {
  const membership = await membershipOf(tx, network, clientId);
  if (membership !== undefined)
    return { view: await viewFor(tx, network, clientId, 'member', membership.active === 1) };
  if (await hasRequest(tx, network, clientId))
    return { view: await viewFor(tx, network, clientId, 'pending', false) };
  return { why: await whyRemoved(tx, network, clientId) };
}
