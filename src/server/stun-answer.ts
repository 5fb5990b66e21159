/** What a STUN server answers (RFC 8489 §6.3, RFC 5780 §6, and RFC 3489 for old clients), as a function. */
import type { Endpoint } from '#wire/endpoint.ts';
import { decodeStun, type StunMessage, stunAttribute, stunBinding } from '#wire/stun.ts';
import { decodeClassicRequest, encodeClassicSuccess } from '#wire/stun-classic.ts';
import { encodeBindingError, encodeBindingSuccess, withFingerprint } from '#wire/stun-encode.ts';

/**
 * One of the server's sockets of a family: all combinations of its addresses and ports, so two or four. `address` and `port`
 * number them; `public` is how clients address it, where that is known.
 */
export interface StunSocketFacts {
  readonly address: number;
  readonly port: number;
  readonly public: Endpoint | undefined;
}

export interface StunAnswer {
  readonly bytes: Uint8Array;
  /** Which socket sends it. */
  readonly from: number;
  /** Where to at the source's address, when the request asked for another port. */
  readonly toPort: number;
}

export interface StunFacts {
  readonly sockets: readonly StunSocketFacts[];
  /** Proves that whoever has it receives at this address (protocol §8). */
  readonly token?: ((address: string) => Uint8Array) | undefined;
}

/** An answer is at most this many times as long as its request, so that it is no lever for floods. */
export const maxAmplification = 3;

/** The answer to one datagram that came to socket `to`; undefined when it deserves none. */
export function answerStun(
  request: Uint8Array,
  source: Endpoint,
  to: number,
  facts: StunFacts,
): StunAnswer | undefined {
  if (source.port === 0) return undefined;
  const message = decodeStun(request);
  const answer =
    message === undefined
      ? answerClassic(request, source, to, facts)
      : answerModern(message, source, to, facts, request.length);
  if (answer === undefined || answer.bytes.length > request.length * maxAmplification)
    return undefined;
  return answer;
}

function answerModern(
  message: StunMessage,
  source: Endpoint,
  to: number,
  { sockets, token }: StunFacts,
  requestBytes: number,
): StunAnswer | undefined {
  if (message.class !== 'request' || message.method !== stunBinding) return undefined;
  const { transactionId, changeRequest, responsePort } = message;
  const finish = (bytes: Uint8Array) => (message.fingerprint ? withFingerprint(bytes) : bytes);
  const unknown = [...message.unknownRequired];
  const from = changed(sockets, to, changeRequest);
  if (from === undefined) unknown.push(stunAttribute.changeRequest);
  if (responsePort === 0) unknown.push(stunAttribute.responsePort);
  if (unknown.length > 0 || from === undefined) {
    const unknownAttributes = unknown.slice(0, 4);
    const error = { transactionId, code: 420, reason: 'Unknown', unknownAttributes };
    return { bytes: finish(encodeBindingError(error)), from: to, toPort: source.port };
  }
  const essence = { transactionId, xorMapped: source };
  if (responsePort !== undefined) {
    // To a port that has not asked: nothing but what the test needs, so that it is hardly longer than the request.
    return { bytes: finish(encodeBindingSuccess(essence)), from, toPort: responsePort };
  }
  const origin = sockets[from]?.public;
  const other = otherAddress(sockets, to)?.public;
  const full = finish(
    encodeBindingSuccess({
      ...essence,
      ...(origin === undefined ? {} : { responseOrigin: origin }),
      ...(other === undefined ? {} : { otherAddress: other }),
      ...(message.token === undefined || token === undefined
        ? {}
        : { token: token(source.address) }),
    }),
  );
  const fits = full.length <= requestBytes * maxAmplification;
  const bytes = fits ? full : finish(encodeBindingSuccess(essence));
  return { bytes, from, toPort: source.port };
}

function answerClassic(
  request: Uint8Array,
  source: Endpoint,
  to: number,
  { sockets }: StunFacts,
): StunAnswer | undefined {
  const message = decodeClassicRequest(request);
  if (message === undefined) return undefined;
  const from = changed(sockets, to, message.changeRequest);
  if (from === undefined) return undefined;
  const origin = sockets[from]?.public;
  const other = otherAddress(sockets, to)?.public;
  const bytes = encodeClassicSuccess({
    transactionId: message.transactionId,
    mapped: source,
    ...(origin === undefined ? {} : { source: origin }),
    ...(other === undefined ? {} : { changed: other }),
  });
  return { bytes, from, toPort: source.port };
}

/** The socket that differs from `to` in just what was asked for; undefined when there is none. */
function changed(
  sockets: readonly StunSocketFacts[],
  to: number,
  change: { readonly ip: boolean; readonly port: boolean } = { ip: false, port: false },
): number | undefined {
  const own = sockets[to];
  if (own === undefined) return undefined;
  const found = sockets.findIndex(
    ({ address, port }) =>
      (address !== own.address) === change.ip && (port !== own.port) === change.port,
  );
  return found === -1 ? undefined : found;
}

/** The socket that differs in address and port; of a server with one address the one that differs in port. */
function otherAddress(
  sockets: readonly StunSocketFacts[],
  to: number,
): StunSocketFacts | undefined {
  const best = changed(sockets, to, { ip: true, port: true });
  const next = best ?? changed(sockets, to, { ip: false, port: true });
  return next === undefined ? undefined : sockets[next];
}
