/**
 * Messages between the programs of two members, inside their tunnel (`inner.ts`, kind 2). The first byte says which; others
 * are ignored.
 *
 * Type 1, LAN report: what the sender takes of what is for many. Every report is complete.
 *
 *     0     1       2           4          8          12
 *     0x01  flags   groups (2)  instance   sequence   IPv4 groups (4 each) ‖ IPv6 groups (16 each)
 *
 * flags bit 0: Ethernet mode, frames of any kind are taken; bit 1: all multicast groups, and none are listed; the others are sent
 * as zero and ignored. groups: how many IPv4 groups there are, the rest is IPv6. instance: random at every start of the sender;
 * sequence counts up within it, so that an older report that comes later has no effect. Little-endian.
 */
import { addressBytes, formatAddress } from './endpoint.ts';
import { MAX_MESSAGE_BYTES } from './inner.ts';

export interface LanReport {
  readonly ethernet: boolean;
  /** Multicast groups in canonical text, or all. */
  readonly groups: readonly string[] | 'all';
  /** Both unsigned, 32 bits. */
  readonly instance: number;
  readonly sequence: number;
}

/** More groups than this are told as all. */
export const maxReportedGroups = 256;

const reportType = 1;
const ethernetFlag = 1;
const allFlag = 2;
const headerBytes = 12;

/** A report whose groups are too many, or too large together for one message, says 'all'. */
export function encodeLanReport(report: LanReport): Uint8Array {
  const { ethernet, instance, sequence } = report;
  const groups = report.groups === 'all' ? undefined : packGroups(report.groups);
  const bytes = new Uint8Array(headerBytes + (groups?.bytes.length ?? 0));
  const view = new DataView(bytes.buffer);
  bytes[0] = reportType;
  bytes[1] = (ethernet ? ethernetFlag : 0) | (groups === undefined ? allFlag : 0);
  view.setUint16(2, groups?.ipv4 ?? 0, true);
  view.setUint32(4, instance, true);
  view.setUint32(8, sequence, true);
  if (groups !== undefined) bytes.set(groups.bytes, headerBytes);
  return bytes;
}

/** Undefined when the bytes are no LAN report, or one with groups that are none. */
export function decodeLanReport(bytes: Uint8Array): LanReport | undefined {
  if (bytes.length < headerBytes || bytes[0] !== reportType) return undefined;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const flags = bytes[1]!;
  const groups = unpackGroups(bytes.subarray(headerBytes), view.getUint16(2, true));
  const all = (flags & allFlag) !== 0;
  if (groups === undefined || (all && groups.length > 0)) return undefined;
  return {
    ethernet: (flags & ethernetFlag) !== 0,
    groups: all ? 'all' : groups,
    instance: view.getUint32(4, true),
    sequence: view.getUint32(8, true),
  };
}

function packGroups(groups: readonly string[]): { ipv4: number; bytes: Uint8Array } | undefined {
  if (groups.length > maxReportedGroups) return undefined;
  const addresses = groups.map((group) => addressBytes(group) ?? new Uint8Array(0));
  const ipv4 = addresses.filter(({ length }) => length === 4);
  const ipv6 = addresses.filter(({ length }) => length === 16);
  const size = 4 * ipv4.length + 16 * ipv6.length;
  if (headerBytes + size > MAX_MESSAGE_BYTES) return undefined;
  const bytes = new Uint8Array(size);
  for (const [i, group] of ipv4.entries()) bytes.set(group, 4 * i);
  for (const [i, group] of ipv6.entries()) bytes.set(group, 4 * ipv4.length + 16 * i);
  return { ipv4: ipv4.length, bytes };
}

function unpackGroups(bytes: Uint8Array, ipv4: number): string[] | undefined {
  const rest = bytes.length - 4 * ipv4;
  if (rest < 0 || rest % 16 !== 0 || ipv4 + rest / 16 > maxReportedGroups) return undefined;
  const groups: Uint8Array[] = [];
  for (let i = 0; i < ipv4; i++) groups.push(bytes.subarray(4 * i, 4 * i + 4));
  for (let at = 4 * ipv4; at < bytes.length; at += 16) groups.push(bytes.subarray(at, at + 16));
  return groups.every(isMulticast) ? groups.map(formatAddress) : undefined;
}

const isMulticast = (address: Uint8Array): boolean =>
  address.length === 4 ? address[0]! >> 4 === 0xe : address[0] === 0xff;
