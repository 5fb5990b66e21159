/**
 * Port Control Protocol (RFC 6887): MAP and ANNOUNCE. One datagram to port 5351 of the gateway. All integers big-endian.
 *
 *     request   0        1         2..3       4           8                        24
 *               02       opcode    reserved   lifetime s  client's address (16)    MAP body
 *     response  02       80|opcode 00, result lifetime s  epoch s, 12 reserved     MAP body
 *
 *     MAP body  0            12        13..15    16             18             20
 *               nonce (12)   protocol  reserved  internal port  external port  external address (16)     options …
 *
 *     option    code (1) ‖ 00 ‖ length (2) ‖ data ‖ zero padding to a multiple of 4
 *
 * ANNOUNCE has no body. IPv4 addresses are IPv4-mapped IPv6 ones. Announcements also come unasked, to 224.0.0.1:5350 and ff02::1.
 */
import { addressBytes, type Endpoint, formatAddress } from './endpoint.ts';

/** NAT-PMP's too. */
export const pcpPort = 5351;
/** Where clients hear a gateway's announcements, of PCP and NAT-PMP alike. */
export const announcementPort = 5350;
export const pcpNonceBytes = 12;
/** RFC 6887 §7: no message is larger. */
export const maxPcpBytes = 1100;

const version = 2;
const headerBytes = 24;
const mapBytes = 60;
const opcodes = { announce: 0, map: 1 } as const;
const responseFlag = 0x80;
const udp = 17;
const maxOptions = 16;

export const pcpResults = [
  'success',
  'unsupported-version',
  'not-authorized',
  'malformed-request',
  'unsupported-opcode',
  'unsupported-option',
  'malformed-option',
  'network-failure',
  'no-resources',
  'unsupported-protocol',
  'user-exceeded-quota',
  'cannot-provide-external',
  'address-mismatch',
  'excessive-remote-peers',
] as const;
export type PcpResult = (typeof pcpResults)[number] | `code-${number}`;

export interface PcpMapRequest {
  /** Where the request is sent from: the gateway compares. */
  readonly clientAddress: string;
  /** 12 bytes; whoever knows them may change the mapping. */
  readonly nonce: Uint8Array;
  readonly internalPort: number;
  /** Port 0 or no address: any. */
  readonly suggested: { readonly address: string | undefined; readonly port: number };
  /** 0 removes the mapping. */
  readonly lifetimeSeconds: number;
}

export interface PcpResponse {
  readonly opcode: 'announce' | 'map' | 'other';
  readonly result: PcpResult;
  /** Of the mapping, or how long an error is likely to last. */
  readonly lifetimeSeconds: number;
  /** Since when the gateway knows what it knows. */
  readonly epochSeconds: number;
  readonly map?: {
    readonly nonce: Uint8Array;
    readonly internalPort: number;
    readonly external: Endpoint;
  };
}

/** @returns 60 bytes */
export function encodePcpMap(request: PcpMapRequest): Uint8Array {
  const bytes = new Uint8Array(mapBytes);
  const view = writeHeader(bytes, opcodes.map, request.lifetimeSeconds, request.clientAddress);
  bytes.set(request.nonce, 24);
  bytes[36] = udp;
  view.setUint16(40, request.internalPort);
  view.setUint16(42, request.suggested.port);
  const any = request.clientAddress.includes(':') ? '::' : '0.0.0.0';
  bytes.set(address16(request.suggested.address ?? any), 44);
  return bytes;
}

/** Asks for nothing but an answer, whose epoch tells whether the gateway still knows us. 24 bytes. */
export function encodePcpAnnounce(clientAddress: string): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  writeHeader(bytes, opcodes.announce, 0, clientAddress);
  return bytes;
}

/** The response; undefined when the bytes are no well-formed PCP response of version 2. */
export function decodePcp(bytes: Uint8Array): PcpResponse | undefined {
  if (bytes.length < headerBytes || bytes.length > maxPcpBytes || bytes.length % 4 !== 0) {
    return undefined;
  }
  if (bytes[0] !== version || (bytes[1]! & responseFlag) === 0) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const opcode = bytes[1]! & 0x7f;
  const head = {
    result: pcpResults[bytes[3]!] ?? (`code-${bytes[3]!}` as const),
    lifetimeSeconds: view.getUint32(4),
    epochSeconds: view.getUint32(8),
  };
  if (opcode === opcodes.announce) return { opcode: 'announce', ...head };
  if (opcode !== opcodes.map) return { opcode: 'other', ...head };
  // A gateway that does not understand a request need not repeat it.
  if (bytes.length < mapBytes) {
    return head.result === 'success' ? undefined : { opcode: 'map', ...head };
  }
  if (!areOptions(bytes, view) || bytes[36] !== udp) return undefined;
  return {
    opcode: 'map',
    ...head,
    map: {
      nonce: bytes.slice(24, 36),
      internalPort: view.getUint16(40),
      external: { address: formatAddress(bytes.subarray(44, 60)), port: view.getUint16(42) },
    },
  };
}

/** Options are of no use here, but must be whole (RFC 6887 §7.3). */
function areOptions(bytes: Uint8Array, view: DataView): boolean {
  let offset = mapBytes;
  for (let count = 0; offset < bytes.length; count++) {
    if (count === maxOptions || offset + 4 > bytes.length) return false;
    offset += 4 + ((view.getUint16(offset + 2) + 3) & ~3);
  }
  return offset === bytes.length;
}

function writeHeader(
  bytes: Uint8Array,
  opcode: number,
  lifetimeSeconds: number,
  clientAddress: string,
): DataView {
  const view = new DataView(bytes.buffer);
  bytes[0] = version;
  bytes[1] = opcode;
  view.setUint32(4, lifetimeSeconds);
  bytes.set(address16(clientAddress), 8);
  return view;
}

function address16(text: string): Uint8Array {
  const bytes = addressBytes(text) ?? new Uint8Array(16);
  if (bytes.length === 16) return bytes;
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(bytes, 12);
  return mapped;
}
