/** What a STUN server answers (RFC 8489 §6.3, RFC 5780 §6), as a function. */
import type { Endpoint } from '#wire/endpoint.ts';
import {
  decodeStun,
  encodeBindingError,
  encodeBindingSuccess,
  stunAttribute,
  stunBinding,
} from '#wire/stun.ts';

/** One of the server's two sockets of a family; `public` is how clients address it, where that is known. */
export interface StunSocketFacts {
  readonly public: Endpoint | undefined;
}

export interface StunAnswer {
  readonly bytes: Uint8Array;
  /** Which socket sends it: 0 or 1. */
  readonly from: 0 | 1;
}

/** An answer is at most this many times as long as its request, so that it is no lever for floods. */
export const maxAmplification = 3;

/**
 * The answer to one datagram that came to socket `to`; undefined when it deserves none. The other socket differs in
 * port, or in address as well when the server has two.
 */
export function answerStun(
  request: Uint8Array,
  source: Endpoint,
  to: 0 | 1,
  sockets: readonly [StunSocketFacts, StunSocketFacts] | readonly [StunSocketFacts],
): StunAnswer | undefined {
  const message = decodeStun(request);
  if (message === undefined || message.class !== 'request' || message.method !== stunBinding)
    return undefined;
  if (source.port === 0) return undefined;
  const { transactionId } = message;
  const limitBytes = request.length * maxAmplification;
  const other = sockets.length === 2 ? sockets[to === 0 ? 1 : 0] : undefined;
  const unknown = [...message.unknownRequired];
  const change = message.changeRequest ?? { ip: false, port: false };
  const differs = addressDiffers(sockets[to], other);
  const reachable = change.ip ? differs && change.port : !change.port || !differs;
  if ((change.ip || change.port) && (other === undefined || !reachable))
    unknown.push(stunAttribute.changeRequest);
  if (unknown.length > 0) {
    const error = encodeBindingError({
      transactionId,
      code: 420,
      reason: 'Unknown',
      unknownAttributes: unknown.slice(0, 4),
    });
    return error.length <= limitBytes ? { bytes: error, from: to } : undefined;
  }
  const from = change.ip || change.port ? (to === 0 ? 1 : 0) : to;
  const origin = sockets[from]?.public;
  const alternative = other?.public;
  const base = { transactionId, xorMapped: source };
  const full = encodeBindingSuccess({
    ...base,
    ...(origin === undefined ? {} : { responseOrigin: origin }),
    ...(alternative === undefined ? {} : { otherAddress: alternative }),
  });
  const bytes = full.length <= limitBytes ? full : encodeBindingSuccess(base);
  return bytes.length <= limitBytes ? { bytes, from } : undefined;
}

const addressDiffers = (a: StunSocketFacts | undefined, b: StunSocketFacts | undefined): boolean =>
  a?.public !== undefined && b?.public !== undefined && a.public.address !== b.public.address;
