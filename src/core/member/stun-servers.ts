import { type Endpoint, parseEndpoint } from '#wire/endpoint.ts';
import { openDocument } from '#wire/signed.ts';
import type { Crypto } from '../crypto.ts';

const maxNodeListBytes = 8192;

/**
 * The nodes' STUN endpoints, from the list that the cluster signed; none when it did not. An unspecified address in it means:
 * where we logged in.
 */
export function stunServers(
  { crypto, clusterKey }: { readonly crypto: Crypto; readonly clusterKey: Uint8Array },
  nodeList: Uint8Array,
  serverAddress: string | undefined,
): Endpoint[] {
  if (nodeList.length > maxNodeListBytes) return [];
  const list = openDocument('node-list', nodeList, (message, signature) =>
    crypto.ed25519Verify(clusterKey, message, signature),
  );
  if (list === undefined) return [];
  return list.nodes.flatMap((node) =>
    node.stun.flatMap((text) => {
      const endpoint = parseEndpoint(text);
      if (endpoint === undefined) return [];
      if (endpoint.address !== '0.0.0.0' && endpoint.address !== '::') return [endpoint];
      return serverAddress === undefined ? [] : [{ ...endpoint, address: serverAddress }];
    }),
  );
}
