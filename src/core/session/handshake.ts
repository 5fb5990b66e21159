import type { Crypto } from '#core/crypto.ts';
import { HandshakeState, type KeyPair } from '#core/noise/handshake-state.ts';
import { timestampLengthBytes } from '#wire/wireguard.ts';

/**
 * WireGuard's handshake (whitepaper §5.4): Noise_IKpsk2 with an identifier as prologue, a TAI64N timestamp as the
 * payload of the initiation and nothing as that of the response.
 *
 *   initiator                                                responder
 *     startInitiation ─── e, es, s, ss, timestamp ──► readInitiation: who is it, when
 *     finishInitiation ◄────── e, ee, se, psk ─────── respond
 */
const prologue = new TextEncoder().encode('WireGuard v1 zx2c4 Jason@zx2c4.com');
const noPayload = new Uint8Array(0);

export interface SessionKeys {
  readonly sendKey: Uint8Array;
  readonly receiveKey: Uint8Array;
}

/** Undefined when the peer's public key is a low-order point. */
export function startInitiation(
  crypto: Crypto,
  local: KeyPair,
  remoteStatic: Uint8Array,
  timestamp: Uint8Array,
): { readonly state: HandshakeState; readonly noise: Uint8Array } | undefined {
  const state = new HandshakeState(crypto, {
    pattern: 'IKpsk2',
    role: 'initiator',
    prologue,
    s: local,
    rs: remoteStatic,
  });
  const noise = state.writeMessage(timestamp);
  return noise && { state, noise };
}

/** Undefined when the message does not authenticate. `state` answers once the sender is known and its psk with it. */
export function readInitiation(
  crypto: Crypto,
  local: KeyPair,
  noise: Uint8Array,
):
  | {
      readonly state: HandshakeState;
      readonly remoteStatic: Uint8Array;
      readonly timestamp: Uint8Array;
    }
  | undefined {
  const state = new HandshakeState(crypto, {
    pattern: 'IKpsk2',
    role: 'responder',
    prologue,
    s: local,
  });
  const timestamp = state.readMessage(noise);
  if (timestamp?.length !== timestampLengthBytes) return undefined;
  return { state, remoteStatic: state.remoteStatic!, timestamp };
}

/** The response and its session. Undefined when the initiator's ephemeral key is a low-order point. */
export function respond(
  state: HandshakeState,
  psk: Uint8Array,
): { readonly noise: Uint8Array; readonly keys: SessionKeys } | undefined {
  state.setPsk(psk);
  const noise = state.writeMessage(noPayload);
  return noise && { noise, keys: state.splitKeys() };
}

/**
 * Reads a response with each pre-shared key in turn; `state` itself stays for a later response. Undefined when none fits,
 * which a forged response looks like as well.
 */
export function finishInitiation(
  state: HandshakeState,
  psks: readonly Uint8Array[],
  noise: Uint8Array,
): { readonly keys: SessionKeys; readonly pskIndex: number } | undefined {
  for (const [pskIndex, psk] of psks.entries()) {
    const attempt = state.clone(psk);
    if (attempt.readMessage(noise) !== undefined) return { keys: attempt.splitKeys(), pskIndex };
  }
  return undefined;
}
