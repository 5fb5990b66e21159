import type { Endpoint } from '#wire/endpoint.ts';

/**
 * One way to a peer: the local socket, the remote transport address, and what is put before every datagram
 * (a relay's header; nothing on a direct path).
 */
export interface Path {
  readonly socket: number;
  readonly remote: Endpoint;
  readonly prefix?: Uint8Array;
  /** The largest packet of the inside that fits in one piece; absent while that is not known. */
  readonly mtuBytes?: number;
}
