/**
 * NAT Port Mapping Protocol (RFC 6886), PCP's predecessor on the same port. All integers big-endian.
 *
 *     external address   request   00 00
 *                        response  00 80 result (2) epoch s (4) IPv4 address (4)
 *     map UDP            request   00 01 0000 internal port (2) suggested external port (2) lifetime s (4)
 *                        response  00 81 result (2) epoch s (4) internal port (2) external port (2) lifetime s (4)
 *     an error           may end after the epoch
 *
 * Lifetime 0 with external port 0 removes the mapping. Address responses also come unasked, to 224.0.0.1:5350.
 */
import { formatAddress } from './endpoint.ts';

/** Longer than any response; what is beyond is no NAT-PMP. */
const maxBytes = 64;
const responseFlag = 0x80;
const opcodes = { address: 0, mapUdp: 1 } as const;

export const natPmpResults = [
  'success',
  'unsupported-version',
  'not-authorized',
  'network-failure',
  'no-resources',
  'unsupported-opcode',
] as const;
export type NatPmpResult = (typeof natPmpResults)[number] | `code-${number}`;

export type NatPmpResponse = {
  readonly result: NatPmpResult;
  /** Since when the gateway knows what it knows. */
  readonly epochSeconds: number;
} & (
  | { readonly type: 'address'; readonly address: string }
  | {
      readonly type: 'map';
      readonly internalPort: number;
      readonly externalPort: number;
      readonly lifetimeSeconds: number;
    }
  /** Never with result `success`. */
  | { readonly type: 'error'; readonly of: 'address' | 'map' | 'other' }
);

export const encodeNatPmpAddress = (): Uint8Array => new Uint8Array([0, opcodes.address]);

export function encodeNatPmpMap(request: {
  readonly internalPort: number;
  /** 0: any. */
  readonly suggestedPort: number;
  /** 0 removes the mapping. */
  readonly lifetimeSeconds: number;
}): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  bytes[1] = opcodes.mapUdp;
  view.setUint16(4, request.internalPort);
  view.setUint16(6, request.suggestedPort);
  view.setUint32(8, request.lifetimeSeconds);
  return bytes;
}

/** The response; undefined when the bytes are no well-formed one. */
export function decodeNatPmp(bytes: Uint8Array): NatPmpResponse | undefined {
  if (bytes.length < 8 || bytes.length > maxBytes || bytes[0] !== 0) return undefined;
  if ((bytes[1]! & responseFlag) === 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const opcode = bytes[1]! & 0x7f;
  const code = view.getUint16(2);
  const head = {
    result: natPmpResults[code] ?? (`code-${code}` as const),
    epochSeconds: view.getUint32(4),
  };
  const of = opcode === opcodes.address ? 'address' : opcode === opcodes.mapUdp ? 'map' : 'other';
  if (head.result !== 'success') return { type: 'error', of, ...head };
  if (of === 'address' && bytes.length >= 12) {
    return { type: 'address', ...head, address: formatAddress(bytes.subarray(8, 12)) };
  }
  if (of !== 'map' || bytes.length < 16) return undefined;
  return {
    type: 'map',
    ...head,
    internalPort: view.getUint16(8),
    externalPort: view.getUint16(10),
    lifetimeSeconds: view.getUint32(12),
  };
}
