/** The control connection of a standalone relay (protocol §11): kept up, at whichever node, with its offer, and with what the server revokes. */
import type { Crypto } from '#core/crypto.ts';
import { wallMs } from '#core/time.ts';
import { Secret } from '#crypto/secret.ts';
import type { ServerMessageOf } from '#wire/control.ts';
import type { RelayOffer, RelayRevocation } from '#wire/relay-control.ts';
import type { ControlError } from './control-error.ts';
import { ControlLink } from './control-link.ts';
import type { ProxyChoice } from './proxy.ts';
import { ServerChoice } from './server-choice.ts';
import type { ServerUrl } from './server-url.ts';
import { software } from './version.ts';

export type RelayState = ServerMessageOf<'relay-state'>;

export interface RelayControlOptions {
  readonly crypto: Crypto;
  readonly url: ServerUrl;
  readonly proxies?: ProxyChoice;
  /** The cluster's key, where it is known from before; else the URL's, else whoever answers is believed. */
  readonly pin: Uint8Array | undefined;
  /** The server's nodes as it told them last time. */
  readonly nodeList?: Uint8Array | undefined;
  /** X25519 private key of the relay. */
  readonly privateKey: Uint8Array;
  /** Needed at the first login. */
  readonly token: string | undefined;
  readonly offer: Omit<RelayOffer, 'relayKey'>;
}

export interface RelayControlHandlers {
  /** Logged in. `clusterKey` is what tickets are signed by, and what to pin. */
  readonly onConnected: (clusterKey: Uint8Array, state: RelayState) => void;
  /** The connection was lost, or a login failed; the next one follows by itself. */
  readonly onLost: (error: ControlError) => void;
  readonly onRevoked: (revoked: readonly RelayRevocation[]) => void;
  /** What the server thinks of the offer, whenever that changes. */
  readonly onState: (state: RelayState) => void;
  /** The server's clock, now and then. */
  readonly onServerTime: (serverTime: number) => void;
}

export class RelayControl {
  readonly #options: RelayControlOptions;
  readonly #link: ControlLink;
  readonly #relayKey: Uint8Array;
  readonly #instance: Uint8Array;
  readonly #choice: ServerChoice;
  #pin: Uint8Array | undefined;
  #nodeList: Uint8Array | undefined;
  #offer: Omit<RelayOffer, 'relayKey'>;

  constructor(options: RelayControlOptions, handlers: RelayControlHandlers) {
    const { crypto, privateKey, offer, pin, url, nodeList } = options;
    this.#options = options;
    this.#offer = offer;
    this.#pin = pin ?? url.clusterKey;
    this.#nodeList = nodeList;
    this.#choice = new ServerChoice(crypto);
    this.#relayKey = crypto.x25519PublicKey(privateKey);
    this.#instance = crypto.random(16);
    this.#link = new ControlLink({
      options: () => this.#connectOptions(),
      servers: () => this.#choice.count(url, this.#nodeList, this.#pin),
      onConnected: ({ clusterKey, answer }) => {
        this.#pin = clusterKey;
        this.#choice.connected();
        if (answer.t !== 'relay-state') return;
        this.#nodeList = answer.nodeList ?? this.#nodeList;
        handlers.onServerTime(answer.serverTime);
        handlers.onConnected(clusterKey, answer);
      },
      onMessage: (message) => {
        if (message.t === 'relay-revoke') handlers.onRevoked(message.revoked);
        else if (message.t === 'relay-state') handlers.onState(message);
        else if (message.t === 'ping') handlers.onServerTime(message.serverTime);
      },
      onLost: (error) => {
        this.#choice.failed();
        handlers.onLost(error);
      },
    });
  }

  get isConnected(): boolean {
    return this.#link.state.kind === 'connected';
  }

  /** Connects, and goes on trying until `stop`. */
  start(): void {
    this.#link.start();
  }

  /** The relay's addresses have changed. */
  offer(offer: Omit<RelayOffer, 'relayKey'>): void {
    this.#offer = offer;
    this.#link.send({ t: 'relay-offer', offer: { ...offer, relayKey: this.#relayKey } });
  }

  /** Says goodbye: clients are told of other relays at once. */
  stop(): Promise<void> {
    return this.#link.stop();
  }

  #connectOptions() {
    const { crypto, privateKey, token, proxies } = this.#options;
    const url = this.#choice.pick(this.#options.url, this.#nodeList, this.#pin);
    return {
      ...{ crypto, url, pin: this.#pin, time: wallMs(Date.now()) },
      ...(proxies === undefined ? {} : { proxies }),
      controlKey: new Secret(privateKey.slice()),
      login: () => ({
        t: 'relay-login' as const,
        offer: { ...this.#offer, relayKey: this.#relayKey },
        instance: this.#instance,
        software,
        ...(token === undefined ? {} : { token }),
      }),
    };
  }
}
