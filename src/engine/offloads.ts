import {
  OFFLOAD_CSUM,
  OFFLOAD_TSO4,
  OFFLOAD_TSO6,
  OFFLOAD_UDP_GRO,
  OFFLOAD_UDP_SEGMENT,
  OFFLOAD_USO4,
  OFFLOAD_USO6,
  OFFLOAD_VAES,
  OFFLOAD_VNET,
} from './layout.ts';

const BITS = {
  'vnet-hdr': OFFLOAD_VNET,
  csum: OFFLOAD_CSUM,
  tso4: OFFLOAD_TSO4,
  tso6: OFFLOAD_TSO6,
  uso4: OFFLOAD_USO4,
  uso6: OFFLOAD_USO6,
  'udp-segment': OFFLOAD_UDP_SEGMENT,
  'udp-gro': OFFLOAD_UDP_GRO,
  vaes: OFFLOAD_VAES,
} as const;

export type OffloadName = keyof typeof BITS;

export const OFFLOAD_NAMES = Object.keys(BITS) as readonly OffloadName[];

export const offloadNames = (bits: number): OffloadName[] =>
  OFFLOAD_NAMES.filter((name) => (bits & BITS[name]) !== 0);

export const offloadBits = (names: readonly OffloadName[]): number =>
  names.reduce((bits, name) => bits | BITS[name], 0);

export const ALL_OFFLOADS = offloadBits(OFFLOAD_NAMES);
