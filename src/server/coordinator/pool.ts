/** Virtual addresses (protocol §2): one IPv4 address a client from the pool, and the IPv6 address that embeds it. */
import { BuriError } from '#core/errors.ts';
import { addressBytes, formatAddress } from '#wire/endpoint.ts';
import type { Db } from '../store/schema.ts';
import { readSetting, writeSetting } from '../store/settings.ts';
import { Refusal } from './refusal.ts';

export const defaultPool4 = '100.64.0.0/10';
/** Unique local prefix of Buri; the IPv4 address is in its low 32 bits. */
export const pool6 = 'fd62:7572:6900::/96';
const pool6Base = addressBytes('fd62:7572:6900::')!;

export interface Pool4 {
  readonly text: string;
  readonly network: number;
  readonly broadcast: number;
}

/** Parses `ADDRESS/LENGTH`, from /8 to /30, with no bit set beyond the length. */
export function parsePool4(text: string): Pool4 {
  const bad = (why: string) =>
    new BuriError('pool-invalid', `--pool4 ${text}: ${why}; for example ${defaultPool4}`);
  const match = /^([0-9.]+)\/([0-9]{1,2})$/.exec(text);
  const bytes = addressBytes(match?.[1] ?? '');
  if (match === null || bytes === undefined) throw bad('not an IPv4 network');
  const length = Number(match[2]);
  if (length < 8 || length > 30) throw bad('the length must be between 8 and 30');
  const network = new DataView(bytes.buffer).getUint32(0);
  const size = 2 ** (32 - length);
  if (network % size !== 0) throw bad('it has bits beyond its length');
  const first = bytes[0]!;
  if (first === 0 || first === 127 || first >= 224) throw bad('hosts cannot have these addresses');
  return { text, network, broadcast: network + size - 1 };
}

export const containsAddress = (pool: Pool4, address: number): boolean =>
  address > pool.network && address < pool.broadcast;

export function formatIpv4(address: number): string {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, address);
  return formatAddress(bytes);
}

export function formatIpv6(address: number): string {
  const bytes = pool6Base.slice();
  new DataView(bytes.buffer).setUint32(12, address);
  return formatAddress(bytes);
}

const cursorSetting = 'pool4-cursor';
/** Rows looked at in one query while searching for a gap. */
const searchRows = 512;

/**
 * The next free address after the one given out last: an address that was freed is used again only when all others have
 * been. Addresses that end in .0 or .255 are left out, since some programs take any such address for a broadcast.
 */
export async function allocateAddress(tx: Db, pool: Pool4): Promise<number> {
  const first = pool.network + 1;
  const last = pool.broadcast - 1;
  const stored = Number((await readSetting(tx, cursorSetting)) ?? first);
  const cursor = stored >= first && stored <= last ? stored : first;
  const address =
    (await freeBetween(tx, cursor, last)) ?? (await freeBetween(tx, first, cursor - 1));
  if (address === undefined) throw new Refusal('pool-exhausted');
  await writeSetting(tx, cursorSetting, String(address + 1));
  return address;
}

async function freeBetween(tx: Db, from: number, to: number): Promise<number | undefined> {
  let candidate = from;
  while (candidate <= to) {
    const rows = await tx
      .selectFrom('clients')
      .select('address4')
      .where('address4', '>=', candidate)
      .where('address4', '<=', to)
      .orderBy('address4')
      .limit(searchRows)
      .execute();
    const taken = new Set(rows.map((row) => row.address4));
    const searched = rows.length < searchRows ? to : rows[rows.length - 1]!.address4;
    for (; candidate <= searched; candidate++)
      if (!taken.has(candidate) && looksLikeHost(candidate)) return candidate;
  }
  return undefined;
}

const looksLikeHost = (address: number) => (address & 0xff) !== 0 && (address & 0xff) !== 0xff;
