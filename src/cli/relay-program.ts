/**
 * A standalone relay: its directory, listeners, and the connection over which the server tells it whom not to serve. While that is away the
 * relay goes on with what it has.
 */

import { aborted } from '#client/aborted.ts';
import type { ControlError } from '#client/control-error.ts';
import { isFinalRefusal } from '#client/control-link.ts';
import { RelayControl, type RelayControlOptions, type RelayState } from '#client/relay-control.ts';
import { parseServerUrl } from '#client/server-url.ts';
import { targetOf } from '#client/web-socket-target.ts';
import { BuriError } from '#core/errors.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Relay } from '#relay/relay.ts';
import { DataDirectory } from '#server/data-directory.ts';
import { createLog, type Log } from '#server/log.ts';
import { publicHost, resolvePublic } from '#server/public-address.ts';
import { onHangUp } from './hang-up.ts';
import { ownAddresses } from './own-addresses.ts';
import type { StandaloneFlags } from './relay.ts';
import { listenRelay, offeredUdp, offerOf } from './relay-listen.ts';
import { listenTcp } from './relay-tcp.ts';

/** Serves until the signal. BuriError: what is in the way. */
export async function runRelay(flags: StandaloneFlags, signal: AbortSignal): Promise<void> {
  const log = createLog(flags.logLevel, 'buri-relay');
  const url = parseServerUrl(flags.server);
  const { clusterKey } = url;
  if (clusterKey === undefined)
    throw new BuriError(
      'bad-server-url',
      "--server must carry the server's key: copy the whole line that 'buri server url' prints",
    );
  using directory = DataDirectory.open(flags.data);
  const privateKey = directory.key('relay.key', crypto).bytes();
  const keys = { privateKey, publicKey: crypto.x25519PublicKey(privateKey) };
  const relay = new Relay({ crypto, clusterKey, keys });
  const stopListening = new AbortController();
  try {
    const bound = listenRelay(relay, flags.relay);
    const host = flags.public === undefined ? undefined : publicHost(flags.public, []);
    const tcp =
      flags.listen === undefined
        ? undefined
        : await listenTcp(relay, flags.listen, host?.host, flags, stopListening.signal);
    onHangUp(() => tcp?.reloadTls(), log);
    const webSocketUrls = tcp === undefined ? [] : [tcp.url];
    const offer = async () => {
      const known = await (host === undefined
        ? ownAddresses(targetOf(url.webSocketUrl).host)
        : resolvePublic(host));
      return offerOf(offeredUdp(bound, known), webSocketUrls);
    };
    const { token } = flags;
    const controlled = registered(
      {
        ...{ crypto, url, pin: clusterKey, privateKey, token, offer: await offer() },
        nodeList: directory.nodeList(),
      },
      offer,
      ({ nodeList }) => remember(directory, nodeList, log),
      relay,
      log,
    );
    try {
      await Promise.race([controlled.failed, aborted(signal)]);
    } finally {
      log.info('ending');
      // Goodbye first: the server tells clients of other relays while this one goes on for a while.
      const goodbye = controlled.control.stop();
      await relay.close(signal.aborted ? undefined : 0);
      await goodbye;
    }
    log.info(relay.status(), 'ended');
  } finally {
    stopListening.abort();
    await relay.close(0);
  }
}

/** Where to look for the server after a restart, when the node of the URL is gone. */
function remember(directory: DataDirectory, nodeList: Uint8Array | undefined, log: Log): void {
  if (nodeList === undefined) return;
  try {
    directory.writeNodeList(nodeList);
  } catch (error) {
    log.warn({ err: error }, "the list of the server's nodes was not written");
  }
}

/**
 * Keeps the relay registered. `failed` rejects when the server refuses it for good before it ever served.
 * @param offerNow made anew after a connection was lost: the machine may have other addresses by then.
 * @param onConnected at each login.
 */
function registered(
  options: RelayControlOptions,
  offerNow: () => Promise<RelayControlOptions['offer']>,
  onConnected: (state: RelayState) => void,
  relay: Relay,
  log: Log,
): { readonly control: RelayControl; readonly failed: Promise<never> } {
  const failed = Promise.withResolvers<never>();
  let hasServed = false;
  const onLost = (error: ControlError): void => {
    relay.setServer(false);
    if (!hasServed && isFinalRefusal(error)) failed.reject(error);
    else log.warn({ code: error.code }, error.message);
    void offerNow().then((offer) => control.offer(offer));
  };
  const control = new RelayControl(options, {
    onConnected: (_clusterKey, state) => {
      const { udp, ws } = options.offer;
      log.info({ relay: state.id, udp, ws }, hasServed ? 'registered again' : 'ready');
      hasServed = true;
      onConnected(state);
    },
    onLost,
    onRevoked: (revoked) => relay.revoke(revoked),
    onState: ({ id, state, unreachable, reason }) => {
      if (state === 'refused') log.error({ relay: id, reason }, 'the server refuses this relay');
      else if (unreachable.length === 0) log.info({ relay: id, state }, 'registered');
      else
        log.warn({ relay: id, unreachable }, 'the server gets no answer there: is the port open?');
    },
    onServerTime: (serverTime) => relay.setServer(true, serverTime - Date.now()),
  });
  control.start();
  return { control, failed: failed.promise };
}
