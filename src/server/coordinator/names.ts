import type { Crypto } from '#core/crypto.ts';
import type { Db } from '../store/schema.ts';

/**
 * What makes a network's name unique: two names that differ in case, in normal form or in the kind of space are one.
 * Upper case first, then lower: nearest to Unicode case folding that the language offers (ß and ss, final sigma).
 */
export const nameKey = (name: string): string =>
  name
    .replaceAll(/\p{Zs}/gu, ' ')
    .normalize('NFC')
    .toUpperCase()
    .toLowerCase()
    .normalize('NFC');

/** Tries before giving up: with a million identifiers in use one try fails once in a thousand. */
const maxTries = 64;

/** A random identifier `NNN-NNN-NNN` that nothing of the same kind has or had. */
export async function newIdentifier(
  crypto: Crypto,
  taken: (id: string) => Promise<boolean>,
): Promise<string> {
  for (let attempt = 0; attempt < maxTries; attempt++) {
    const bytes = crypto.random(6);
    const value = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) * 0x1_0000;
    const number = (value + bytes[4]! * 256 + bytes[5]!) % 900_000_000;
    const digits = String(100_000_000 + number);
    const id = `${digits.slice(0, 3)}-${digits.slice(3, 6)}-${digits.slice(6)}`;
    if (!(await taken(id))) return id;
  }
  throw new Error('no free identifier found');
}

export const newNetworkId = (tx: Db, crypto: Crypto): Promise<string> =>
  newIdentifier(crypto, async (id) => {
    const used = await tx
      .selectFrom('networks')
      .select('network_id')
      .where('network_id', '=', id)
      .executeTakeFirst();
    const retired = await tx
      .selectFrom('retired_networks')
      .select('network_id')
      .where('network_id', '=', id)
      .executeTakeFirst();
    return used !== undefined || retired !== undefined;
  });

export const newClientId = (tx: Db, crypto: Crypto): Promise<string> =>
  newIdentifier(crypto, async (id) => {
    const used = await tx
      .selectFrom('clients')
      .select('client_id')
      .where('client_id', '=', id)
      .executeTakeFirst();
    return used !== undefined;
  });
