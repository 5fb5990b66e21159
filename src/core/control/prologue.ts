import type { Crypto } from '../crypto.ts';

const label = new TextEncoder().encode('buri control 1');

/**
 * What both sides of the handshake vouch for (protocol §4): "buri control 1" ‖ BLAKE2s-256(hello) ‖ BLAKE2s-256(reply), so that the
 * negotiation cannot be altered unnoticed. @param replyHash the last of these: the server's reply is the same for many.
 */
export function controlPrologue(
  crypto: Crypto,
  hello: Uint8Array,
  replyHash: Uint8Array,
): Uint8Array {
  const helloHash = crypto.blake2s(hello);
  const prologue = new Uint8Array(label.length + helloHash.length + replyHash.length);
  prologue.set(label);
  prologue.set(helloHash, label.length);
  prologue.set(replyHash, label.length + helloHash.length);
  return prologue;
}
