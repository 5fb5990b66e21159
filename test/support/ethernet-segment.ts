/** A virtual LAN of three members for tests of what a TAP device takes and gives. */
import type { Segment } from '#engine/ethernet-judge.ts';
import { PrefixTable, parsePrefix } from '#engine/prefix-table.ts';
import { memberMac } from './frames.ts';

export const US = { ipv4: '100.64.0.1', ipv6: 'fd62:7572:6900::6440:1', peer: 1 } as const;
/** In Ethernet mode, and not. */
export const ANN = { ipv4: '100.64.0.2', ipv6: 'fd62:7572:6900::6440:2', peer: 2 } as const;
export const BEN = { ipv4: '100.64.0.3', ipv6: 'fd62:7572:6900::6440:3', peer: 3 } as const;
/** In the pools, and nobody's. */
export const FREE = { ipv4: '100.64.0.99', ipv6: 'fd62:7572:6900::6440:63' } as const;

export const MAC = { us: memberMac(US.ipv4), ann: memberMac(ANN.ipv4), ben: memberMac(BEN.ipv4) };

export const stationOf = (ipv4: string): number => parsePrefix(ipv4)!.words[0]!;

function tableOf(entries: readonly (readonly [string, number])[]): PrefixTable {
  const table = new PrefixTable();
  for (const [text, value] of entries) table.set(parsePrefix(text)!, value);
  return table;
}

interface Member {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly peer: number;
}

/** The LAN as one member sees it. */
export const segmentOf = (self: Member, others: readonly Member[]): Segment => ({
  station: stationOf(self.ipv4),
  mtuBytes: 1400,
  ours: tableOf([
    [self.ipv4, 0],
    [self.ipv6, 0],
  ]),
  routes: tableOf(
    others.flatMap(({ ipv4, ipv6, peer }) => [[ipv4, peer] as const, [ipv6, peer] as const]),
  ),
  pools: tableOf([
    ['100.64.0.0/10', 0],
    ['fd62:7572:6900::/96', 0],
  ]),
});

export const segment: Segment = segmentOf(US, [ANN, BEN]);
