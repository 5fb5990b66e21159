/** The daemon's control link without a daemon: it knows the nodes of its server and moves between them as one does. */
import type { ControlError } from '#client/control-error.ts';
import { ControlLink } from '#client/control-link.ts';
import { ServerChoice } from '#client/server-choice.ts';
import { parseServerUrl, type ServerUrl } from '#client/server-url.ts';
import { wallMs } from '#core/time.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Secret } from '#crypto/secret.ts';
import type { ServerMessage, ServerMessageOf } from '#wire/control.ts';
import { type DeviceKeys, type loginMessage, parseUrl } from './control-client.ts';

export interface ClusterLinkOptions {
  readonly keys: DeviceKeys;
  /** The node that is asked first. */
  readonly url: string;
  /** Does not learn of other nodes: the signature of their list is checked at each attempt. */
  readonly keepsToUrl?: boolean;
  readonly localAddress?: string;
  readonly login: () => ReturnType<typeof loginMessage>;
  /** An attempt begins. */
  readonly onAttempt: (server: ServerUrl) => void;
  readonly onConnected: (welcome: ServerMessageOf<'welcome'>) => void;
  readonly onMessage: (message: ServerMessage) => void;
  /** An attempt failed, or a connection was lost. */
  readonly onLost: (error: ControlError) => void;
}

/** Not started yet. */
export function clusterLink(options: ClusterLinkOptions): ControlLink {
  const { keys, url, keepsToUrl = false, localAddress, login, onMessage } = options;
  const given = parseServerUrl(url);
  const { key } = parseUrl(url);
  const controlKey = new Secret(keys.control.privateKey.slice());
  const choice = new ServerChoice(crypto);
  let nodeList: Uint8Array | undefined;
  return new ControlLink({
    options: () => {
      const server = choice.pick(given, nodeList, key);
      options.onAttempt(server);
      const from = localAddress === undefined ? {} : { localAddress };
      const time = wallMs(Date.now());
      return { url: server, crypto, pin: key, controlKey, time, login, ...from };
    },
    servers: () => choice.count(given, nodeList, key),
    onConnected: ({ welcome }) => {
      choice.connected();
      if (!keepsToUrl) nodeList = welcome.nodeList;
      options.onConnected(welcome);
    },
    onMessage,
    onLost: (error) => {
      choice.failed();
      options.onLost(error);
    },
  });
}
