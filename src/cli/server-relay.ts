/** The role `relay` of a server: server and relay do not know each other, so they are joined here. */
import { version } from '#client/version.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { Relay } from '#relay/relay.ts';
import type { Log } from '#server/log.ts';
import type { RelayHost } from '#server/relays/relay-host.ts';
import { listenRelay, offeredUdp, offerOf } from './relay-listen.ts';

/** BuriError: address-invalid, port-in-use, … Returns what ends it: clients are told, and have some seconds to go. */
export function startServerRelay(host: RelayHost, address: string, log: Log): () => Promise<void> {
  const { clusterKey, keyPair: keys } = host;
  const relay = new Relay({ crypto: nodeCrypto, clusterKey, keys });
  try {
    const bound = listenRelay(relay, address);
    host.onUpgrade((request, socket, head) => relay.upgrade(request, socket, head));
    // An unspecified address tells clients to come to where they log in: that serves this machine under any name.
    const withdraw = host.register({
      offer: offerOf(offeredUdp(bound, []), host.webSocketUrls),
      revoke: (revoked) => relay.revoke(revoked),
      software: `buri ${version}`,
    });
    log.info({ relay: host.id, udp: bound.map(({ port }) => port) }, 'relaying');
    return async () => {
      withdraw();
      await relay.close();
      host.onUpgrade(undefined);
      log.info(relay.status(), 'relayed');
    };
  } catch (error) {
    void relay.close(0);
    throw error;
  }
}
