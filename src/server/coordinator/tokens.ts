/** Enrolment tokens: kept as a hash, with a number of uses and an expiry. */
import type { Db, TokenRow } from '../store/schema.ts';
import type { Context } from './context.ts';
import { Refusal } from './refusal.ts';

const tokenBytes = 20;
const tokenIdBytes = 5;
const alphabet = 'abcdefghijkmnpqrstuvwxyz23456789';

/** Base 32 without letters that are read wrong. */
const spell = (bytes: Uint8Array) => {
  let text = '';
  let bits = 0;
  let held = 0;
  for (const byte of bytes) {
    held = (held << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += alphabet[(held >> (bits - 5)) & 31];
    held &= (1 << bits) - 1;
  }
  return text;
};

const hashOf = (context: Pick<Context, 'crypto'>, token: string) =>
  context.crypto.sha256(new TextEncoder().encode(`buri token ${token}`));

/** Makes a token; its text is returned this once. */
export async function createToken(
  tx: Db,
  context: Pick<Context, 'crypto' | 'now'>,
  options: {
    readonly uses: number | null;
    readonly expiresAt: number | null;
    readonly kind?: TokenRow['kind'];
  },
): Promise<{ token: string; row: TokenRow }> {
  const token = `buri-${spell(context.crypto.random(tokenBytes))}`;
  const row: TokenRow = {
    token_id: spell(context.crypto.random(tokenIdBytes)),
    hash: hashOf(context, token),
    max_uses: options.uses,
    uses: 0,
    created_at: context.now.wall,
    expires_at: options.expiresAt,
    revoked_at: null,
    kind: options.kind ?? 'device',
  };
  await tx.insertInto('enrolment_tokens').values(row).execute();
  return { token, row };
}

export const listTokens = (db: Db): Promise<TokenRow[]> =>
  db.selectFrom('enrolment_tokens').selectAll().orderBy('created_at').execute();

/** False when there is no such token. */
export async function revokeToken(
  tx: Db,
  context: Pick<Context, 'now'>,
  tokenId: string,
): Promise<boolean> {
  const row = await tx
    .updateTable('enrolment_tokens')
    .set((eb) => ({ revoked_at: eb.fn.coalesce('revoked_at', eb.val(context.now.wall)) }))
    .where('token_id', '=', tokenId)
    .returning('token_id')
    .executeTakeFirst();
  return row !== undefined;
}

/** Uses a token once, in the transaction that enrols the device or relay: a refused enrolment uses nothing. */
export async function redeemToken(
  tx: Db,
  context: Context,
  token: string | undefined,
  prefix: string,
  kind: TokenRow['kind'] = 'device',
): Promise<void> {
  if (token === undefined || token === '') throw new Refusal('token-required');
  const nowMs = context.now.monotonic;
  const waitMs = context.once('token-allowed', () => context.guard.tokens.waitMs(prefix, nowMs));
  if (waitMs > 0) throw new Refusal('rate-limited', { retryAfterMs: waitMs });
  const row = await tx
    .selectFrom('enrolment_tokens')
    .selectAll()
    .where('hash', '=', hashOf(context, token))
    .executeTakeFirst();
  if (row === undefined || row.revoked_at !== null) {
    context.once('token-guess', () => context.guard.tokens.take(prefix, nowMs));
    throw new Refusal('token-invalid');
  }
  if (row.kind !== kind) {
    const detail = `it enrols ${row.kind === 'relay' ? 'relays' : 'devices'} only`;
    throw new Refusal('token-invalid', { detail });
  }
  if (row.expires_at !== null && row.expires_at <= context.now.wall)
    throw new Refusal('token-expired');
  if (row.max_uses !== null && row.uses >= row.max_uses) throw new Refusal('token-used-up');
  await tx
    .updateTable('enrolment_tokens')
    .set((eb) => ({ uses: eb('uses', '+', 1) }))
    .where('token_id', '=', row.token_id)
    .execute();
}
