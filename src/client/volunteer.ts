import { BuriError } from '#core/errors.ts';
import type { ClientMessage, ServerMessage } from '#wire/control.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import type { VolunteerLine } from '#wire/volunteer.ts';

export interface VolunteerOptions {
  readonly send: (message: ClientMessage) => boolean;
  /** Of the server in force. */
  readonly clusterKey: () => Uint8Array | undefined;
  readonly isConnected: () => boolean;
}

interface Listener {
  readonly offer: RelayOffer | undefined;
  readonly emit: (line: VolunteerLine) => void;
}

const maxListeners = 8;

/** Passes the offer of a relay that runs beside the daemon on to the server, and what the server says of it back. */
export class Volunteer {
  readonly #options: VolunteerOptions;
  readonly #listeners = new Set<Listener>();
  /** The server's time less the wall clock. */
  #aheadMs: number | undefined;

  constructor(options: VolunteerOptions) {
    this.#options = options;
  }

  /** Until the returned function is called. BuriError: relay-busy. */
  add(offer: RelayOffer | undefined, emit: (line: VolunteerLine) => void): () => void {
    if (offer !== undefined && this.#offering !== undefined) {
      const message = 'another relay volunteers through this daemon already; stop that one first';
      throw new BuriError('relay-busy', message);
    }
    if (this.#listeners.size >= maxListeners) {
      throw new BuriError('relay-busy', 'too many programs follow this daemon');
    }
    const listener = { offer, emit };
    this.#listeners.add(listener);
    emit(this.#server());
    if (offer !== undefined && this.#options.isConnected()) this.#send(offer);
    return () => {
      if (!this.#listeners.delete(listener) || offer === undefined) return;
      if (this.#options.isConnected()) this.#options.send({ t: 'relay-offer' });
    };
  }

  connected(serverTime: number): void {
    this.#aheadMs = serverTime - Date.now();
    this.#tell(this.#server());
    const offer = this.#offering?.offer;
    if (offer !== undefined) this.#send(offer);
  }

  lost(): void {
    this.#tell(this.#server());
  }

  message(message: ServerMessage): void {
    if (message.t === 'relay-revoke') this.#tell({ t: 'revoke', revoked: message.revoked });
    else if (message.t === 'relay-state') {
      const { id, state, unreachable, reason } = message;
      const why = reason === undefined ? {} : { reason };
      this.#offering?.emit({ t: 'state', id, state, unreachable, ...why });
    }
  }

  get #offering(): Listener | undefined {
    return [...this.#listeners].find(({ offer }) => offer !== undefined);
  }

  #send(offer: RelayOffer): void {
    this.#options.send({ t: 'relay-offer', offer });
  }

  #server(): VolunteerLine {
    const clusterKey = this.#options.clusterKey();
    const connected = this.#options.isConnected();
    const aheadMs = connected ? this.#aheadMs : undefined;
    const serverTime = aheadMs === undefined ? undefined : Math.max(0, Date.now() + aheadMs);
    return {
      ...{ t: 'server', connected },
      ...(clusterKey === undefined ? {} : { clusterKey }),
      ...(serverTime === undefined ? {} : { serverTime }),
    };
  }

  #tell(line: VolunteerLine): void {
    for (const { emit } of [...this.#listeners]) emit(line);
  }
}
