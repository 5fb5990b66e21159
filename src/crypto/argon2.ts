import { argon2 } from 'node:crypto';
import { BuriError } from '#core/errors.ts';

/** Cost of one Argon2id derivation (RFC 9106). */
export interface Argon2Cost {
  readonly memoryKib: number;
  readonly passes: number;
  readonly parallelism: number;
}

/** RFC 9106 §4, second recommended option, with one lane; about 280 ms of a server core. */
export const defaultArgon2Cost: Argon2Cost = { memoryKib: 64 * 1024, passes: 3, parallelism: 1 };

/** A server asks for the cost, so a client accepts no more than this: a bound on memory and time. */
export const maximumArgon2Cost: Argon2Cost = { memoryKib: 1024 * 1024, passes: 16, parallelism: 4 };

export const saltLengthBytes = { minimum: 16, maximum: 64 } as const;

/**
 * Argon2id of a password, off the main thread.
 *
 * @param password bytes of the password; the caller normalises and encodes it.
 * @param salt 16 to 64 bytes.
 * @param lengthBytes of the output, 16 to 1,024.
 * BuriError: argon2-cost (outside the bounds or below `defaultArgon2Cost`), argon2-salt, argon2-failed (memory).
 */
export async function argon2id(
  password: Uint8Array,
  salt: Uint8Array,
  lengthBytes: number,
  cost: Argon2Cost = defaultArgon2Cost,
): Promise<Uint8Array> {
  checkCost(cost);
  if (salt.length < saltLengthBytes.minimum || salt.length > saltLengthBytes.maximum) {
    throw new BuriError('argon2-salt', 'the salt of a password must have 16 to 64 bytes');
  }
  return derive(password, salt, lengthBytes, cost, {});
}

/** RFC 9106 with all its inputs and no policy: for its vectors. */
export function derive(
  password: Uint8Array,
  salt: Uint8Array,
  lengthBytes: number,
  cost: Argon2Cost,
  extra: { readonly secret?: Uint8Array; readonly associatedData?: Uint8Array },
): Promise<Uint8Array> {
  const parameters = {
    message: password,
    nonce: salt,
    parallelism: cost.parallelism,
    tagLength: lengthBytes,
    memory: cost.memoryKib,
    passes: cost.passes,
    ...extra,
  };
  return new Promise((resolve, reject) => {
    argon2('argon2id', parameters, (error, key) => {
      if (error === null) resolve(new Uint8Array(key));
      else reject(new BuriError('argon2-failed', argon2FailedText(cost), { cause: error }));
    });
  });
}

function argon2FailedText(cost: Argon2Cost): string {
  const mebibytes = Math.ceil(cost.memoryKib / 1024);
  return `cannot derive a key from the password; it needs ${mebibytes} MiB of free memory`;
}

function checkCost(cost: Argon2Cost): void {
  for (const name of ['memoryKib', 'passes', 'parallelism'] as const) {
    const value = cost[name];
    const [minimum, maximum] = [defaultArgon2Cost[name], maximumArgon2Cost[name]];
    if (!Number.isInteger(value) || value < minimum || value > maximum) {
      throw new BuriError(
        'argon2-cost',
        `the server asks for Argon2id with ${name} ${value}; allowed is ${minimum} to ${maximum}`,
      );
    }
  }
}
