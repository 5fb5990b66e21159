/**
 * Many peers in one process: each with its own key, handshake and session, and a keepalive a second; all with the real client that they
 * are told. What a client carries that knows many.
 *
 *   synthetic-peers.ts FILE      a JSON file of SyntheticPeers; prints `ready` when all sessions are up
 */
import { createSocket, type Socket } from 'node:dgram';
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import type { AeadSuite } from '#core/crypto.ts';
import { Keypair } from '#core/session/keypair.ts';
import { Tunnels } from '#core/session/tunnels.ts';
import { monotonicMs, type Now, wallMs } from '#core/time.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { type Endpoint, familyOf } from '#wire/endpoint.ts';
import { messageKind } from '#wire/wireguard.ts';

export interface SyntheticPeers {
  /** Base64, one a peer. */
  readonly privateKeys: readonly string[];
  readonly remoteKey: string;
  readonly remote: Endpoint;
  readonly suite: AeadSuite;
}

const REMOTE = 0;
const KEEPALIVE_MS = 1_000;
const nothing = new Uint8Array(0);

class SyntheticPeer {
  readonly up: Promise<void>;
  readonly #remote: Endpoint;
  readonly #socket: Socket;
  readonly #tunnels: Tunnels;
  readonly #keypairs = new Map<number, Keypair>();
  #active: Keypair | undefined;
  #resolveUp = (): void => {};
  #timer: NodeJS.Timeout | undefined;

  constructor(privateKey: Uint8Array, { remote, remoteKey, suite }: SyntheticPeers) {
    this.up = new Promise((resolve) => {
      this.#resolveUp = resolve;
    });
    this.#remote = remote;
    this.#socket = createSocket(familyOf(remote.address) === 4 ? 'udp4' : 'udp6');
    this.#socket.on('message', (bytes) => this.#receive(new Uint8Array(bytes)));
    const publicKey = nodeCrypto.x25519PublicKey(privateKey);
    this.#tunnels = new Tunnels({ crypto: nodeCrypto, keyPair: { privateKey, publicKey } });
    this.#handle({
      kind: 'add-peer',
      peer: REMOTE,
      publicKey: fromBase64(remoteKey),
      pskCandidates: [{ psk: new Uint8Array(32), suite }],
      pathAvailable: true,
    });
    this.#handle({ kind: 'want-session', peer: REMOTE });
    setInterval(() => this.#keepalive(), KEEPALIVE_MS);
  }

  #receive(bytes: Uint8Array): void {
    const kind = messageKind(bytes);
    // What the client says inside its sessions is nothing to us.
    if (kind === undefined || kind === 'transport') return;
    this.#handle({
      kind: 'datagram',
      datagram: kind,
      bytes,
      from: { socket: 0, remote: this.#remote },
    });
  }

  #handle(input: Parameters<Tunnels['handle']>[0]): void {
    this.#tunnels.handle(input, now());
    for (let output = this.#tunnels.poll(); output !== undefined; output = this.#tunnels.poll()) {
      this.#do(output);
    }
    const deadline = this.#tunnels.deadline();
    clearTimeout(this.#timer);
    if (deadline === undefined) return;
    const delayMs = Math.max(0, Math.ceil(deadline - performance.now()));
    this.#timer = setTimeout(() => this.#handle({ kind: 'tick' }), delayMs);
  }

  #do(output: NonNullable<ReturnType<Tunnels['poll']>>): void {
    switch (output.kind) {
      case 'send-datagram':
        this.#send(output.bytes);
        break;
      case 'install-keys':
        this.#keypairs.set(output.keys.localIndex, new Keypair(nodeCrypto, output.keys));
        break;
      case 'activate-keys':
        this.#active = this.#keypairs.get(output.localIndex);
        break;
      case 'remove-keys':
        this.#keypairs.delete(output.localIndex);
        break;
      case 'send-keepalive':
        this.#keepalive();
        break;
      case 'session-up':
        this.#resolveUp();
        break;
      default:
    }
  }

  #keepalive(): void {
    const message = this.#active?.seal(nothing);
    if (message !== undefined) this.#send(message);
  }

  #send(bytes: Uint8Array): void {
    this.#socket.send(bytes, this.#remote.port, this.#remote.address);
  }
}

const now = (): Now => ({ monotonic: monotonicMs(performance.now()), wall: wallMs(Date.now()) });
const fromBase64 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64'));

if (import.meta.url === pathToFileURL(process.argv[1]!).href) {
  const config = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as SyntheticPeers;
  // One after the other: a client under a flood of handshakes asks for cookies.
  for (const key of config.privateKeys) await new SyntheticPeer(fromBase64(key), config).up;
  console.log('ready');
}
