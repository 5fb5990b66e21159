/** What a failure of a database means: whether it is worth trying again, and what an operator can do. */
import { BuriError } from '#core/errors.ts';

/** The database cannot be reached now. Whatever was acknowledged is in it. */
export class StoreUnavailable extends BuriError {
  constructor(place: string, cause: unknown) {
    const why = cause instanceof Error ? cause.message : String(cause);
    super('store-unavailable', `${place} cannot be reached or written now (${why})`, { cause });
  }
}

/** SQLSTATE classes and codes of PostgreSQL (appendix A of its manual). */
const conflicts = new Set([
  '40001', // serialization_failure
  '40P01', // deadlock_detected
]);
/** Another transaction was faster with the same name or number: the rule, run again, sees it. */
const uniqueViolation = '23505';
const lost = new Set([
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now: it starts
  '25006', // read_only_sql_transaction: no primary any more
  '25P03', // idle_in_transaction_session_timeout
  '57P05', // idle_session_timeout
  '53300', // too_many_connections
  'ECONNREFUSED',
  'ECONNRESET',
  'EPIPE',
  'ENOTFOUND',
  'EAI_AGAIN',
  'ETIMEDOUT',
  'EHOSTUNREACH',
  'ENETUNREACH',
  'ENOENT', // of a Unix socket
]);

const codeOf = (error: unknown): string => {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === 'string' ? code : '';
};

/** Transactions of several nodes got in each other's way: nothing was done, and doing it again will work. */
export const isConflict = (error: unknown): boolean =>
  conflicts.has(codeOf(error)) || isTaken(error);

export const isTaken = (error: unknown): boolean => codeOf(error) === uniqueViolation;

export function isConnectionLoss(error: unknown): boolean {
  if (error instanceof StoreUnavailable) return true;
  const code = codeOf(error);
  if (lost.has(code) || (code.length === 5 && code.startsWith('08'))) return true;
  const { message = '' } = (error ?? {}) as { message?: string };
  return /Connection terminated|timeout expired|[Rr]ead timeout|not queryable|timeout exceeded when trying to connect/.test(
    message,
  );
}

/** Whether PostgreSQL itself has answered: then the connection is sound, whatever it said. */
export const isAnswer = (error: unknown): boolean =>
  /^[0-9A-Z]{5}$/.test(codeOf(error)) && !isConnectionLoss(error);

/** What PostgreSQL, or the way to it, says that waiting does not mend. */
export function postgresError(error: unknown, place: string): Error {
  if (error instanceof BuriError) return error;
  const code = codeOf(error);
  const detail = error instanceof Error ? error.message : String(error);
  const options = { cause: error };
  if (code.startsWith('28'))
    return new BuriError(
      'store-forbidden',
      `${place} lets this user not in (${detail}); check user and password of --store, and pg_hba.conf`,
      options,
    );
  if (code === '3D000')
    return new BuriError(
      'store-missing',
      `${place}: there is no such database; create it, owned by the user of --store`,
      options,
    );
  if (code === '42501')
    return new BuriError(
      'store-forbidden',
      `${place}: no permission (${detail}); let the user of --store own the database`,
      options,
    );
  if (code.startsWith('53') && code !== '53300')
    return new BuriError('disk-full', `${place}: it has no room (${detail})`, options);
  if (isConnectionLoss(error)) return new StoreUnavailable(place, error);
  return new BuriError('data-failed', `${place}: the database failed (${detail})`, options);
}

/** SQLite result codes (sqlite.org/rescode.html) that an operator can do something about. */
export function sqliteError(error: unknown, path: string): Error {
  if (error instanceof BuriError) return error;
  const code = (error as { errcode?: number }).errcode;
  if (typeof code !== 'number') return error instanceof Error ? error : new Error(String(error));
  const detail = (error as Error).message;
  const options = { cause: error };
  switch (code & 0xff) {
    case 13:
      return new BuriError(
        'disk-full',
        `${path}: the disk is full; make room and start again`,
        options,
      );
    case 8:
    case 14:
    case 3:
    case 23:
      return new BuriError(
        'data-unwritable',
        `${path}: cannot be written (${detail}); check owner, permissions and mount`,
        options,
      );
    case 5:
    case 6:
      return new BuriError('data-in-use', `${path}: another process holds the database`, options);
    case 11:
    case 26:
      return new BuriError(
        'data-corrupt',
        `${path}: not a sound database (${detail}); restore a backup, it was left untouched`,
        options,
      );
    default:
      return new BuriError(
        'data-failed',
        `${path}: the database failed (${detail}); the disk may be full or failing`,
        options,
      );
  }
}
