/**
 * The relay that is measured: the real one, with allocations for the senders and receivers of `native/relay-load.c` made in the process, as the
 * load knows no tickets. Prints `ready`, the port and the senders' tokens; ends with its standard input.
 *
 *   relay-host.ts ADDRESS PORT CLIENT-ADDRESS PAIRS
 */

import { generateKeyPair } from '#core/noise/handshake-state.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Relay } from '#relay/relay.ts';
import type { UdpSource } from '#relay/source.ts';

const [address = '', port = '', clients = '', pairs = ''] = process.argv.slice(2);
const firstClient = 100_000_000;
const maxPairs = 1000;

const memory = (): number => process.memoryUsage.rss();
const relay = new Relay({
  crypto,
  clusterKey: crypto.ed25519PublicKey(crypto.random(32)),
  keys: generateKeyPair(crypto),
});
relay.listenUdp(address, Number(port));
const before = memory();
const tokens: string[] = [];
for (let i = 0; i < Number(pairs); i++) {
  for (const [client, local] of [
    [firstClient + i, 20_000 + i],
    [firstClient + maxPairs + i, 40_000 + i],
  ] as const) {
    const source: UdpSource = {
      kind: 'udp',
      socket: 0,
      endpoint: { address: clients, port: local },
    };
    const token = relay.admit(
      {
        client,
        serial: 1,
        notAfter: Number.MAX_SAFE_INTEGER,
        bytesPerSecond: 1e12,
        packetsPerSecond: 1e12,
        macKey: crypto.random(32),
      },
      source,
    );
    if (client < firstClient + maxPairs) tokens.push(token.toString(16).padStart(16, '0'));
  }
}
console.log(
  JSON.stringify({
    ready: true,
    tokens,
    bytesPerAllocation: Math.round((memory() - before) / (2 * Number(pairs))),
  }),
);
process.stdin.on('end', () => {
  console.error(JSON.stringify(relay.status()));
  process.exit(0);
});
process.stdin.resume();
