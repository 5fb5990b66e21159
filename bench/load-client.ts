/** One client of the load: the daemon's own control code, and what it notes of its connections and of its neighbours. */
import type { ControlLink } from '#client/control-link.ts';
import type { ServerMessage } from '#wire/control.ts';
import { clusterLink } from '../test/support/cluster-link.ts';
import {
  admissionFor,
  DeviceKeys,
  loginMessage,
  verifierFor,
} from '../test/support/control-client.ts';

/** What a neighbour was told, and of whom. */
export type Heard = 'online' | 'offline' | 'changed';

export interface LoadClientOptions {
  readonly name: string;
  readonly url: string;
  readonly localAddress: string;
  /** There are several nodes to go to. */
  readonly hasNodes: boolean;
  readonly heard: (what: Heard, clientId: string) => void;
  /** The handshake is over, and the login is sent. */
  readonly loggingIn: (client: LoadClient) => void;
  readonly online: (client: LoadClient) => void;
  /** An attempt failed, or a connection was lost. */
  readonly failed: (code: string) => void;
}

export class LoadClient {
  readonly link: ControlLink;
  clientId = '';
  /** When the present attempt began. */
  startedAt = 0;
  network: string | undefined;
  #revision = 0;
  #nick: string;

  constructor(options: LoadClientOptions) {
    const { name, localAddress } = options;
    this.#nick = name;
    const keys = new DeviceKeys(name);
    const certificate = keys.certificate();
    this.link = clusterLink({
      ...{ keys, url: options.url, localAddress, keepsToUrl: !options.hasNodes },
      login: () => {
        options.loggingIn(this);
        const { network } = this;
        const known = network === undefined ? [] : [{ network, revision: this.#revision }];
        return loginMessage({ keys, login: { known, nick: this.#nick, certificate } });
      },
      onAttempt: () => {
        this.startedAt = performance.now();
      },
      onConnected: ({ clientId }) => {
        this.clientId = clientId;
        options.online(this);
      },
      onMessage: (message) => this.#message(message, options.heard),
      onLost: ({ code }) => options.failed(code),
    });
  }

  get isOnline(): boolean {
    return this.link.state.kind === 'connected';
  }

  async create(name: string): Promise<void> {
    await this.link.request({ op: 'create', name, type: 'mesh', admission: admissionFor('') });
  }

  async join(name: string): Promise<void> {
    await this.link.request({ op: 'join', name, verifier: verifierFor('') });
  }

  async rename(nick: string): Promise<void> {
    this.#nick = nick;
    await this.link.request({ op: 'set-nick', nick });
  }

  #message(message: ServerMessage, heard: LoadClientOptions['heard']): void {
    switch (message.t) {
      case 'view':
        this.network = message.network;
        this.#revision = message.revision;
        return;
      case 'delta':
        if (message.from !== this.#revision) {
          this.link.send({ t: 'resync', network: message.network });
          return;
        }
        this.#revision = message.to;
        for (const change of message.changes)
          if (change.op === 'member') heard('changed', change.member.clientId);
        return;
      case 'presence':
        if (message.presence !== 'unconfirmed') heard(message.presence, message.clientId);
        return;
      default:
    }
  }
}
