/** How clients reach this machine: what `--public` says, or a guess that the log names. */
import { lookup } from 'node:dns/promises';
import { networkInterfaces } from 'node:os';
import { BuriError } from '#core/errors.ts';
import { addressBytes, formatAddress } from '#wire/endpoint.ts';
import { isUnspecified } from './listen-address.ts';

export interface PublicHost {
  /** As it stands in the URL: a name, an IPv4 address, or an IPv6 address in brackets. */
  readonly host: string;
  readonly guessed: boolean;
}

/** BuriError: public-invalid. */
export function publicHost(
  given: string | undefined,
  listenHosts: readonly (string | undefined)[],
): PublicHost {
  if (given !== undefined) return { host: checked(given), guessed: false };
  const specific = listenHosts.find((host) => !isUnspecified(host));
  if (specific !== undefined) return { host: bracketed(specific), guessed: false };
  return { host: bracketed(guess() ?? '127.0.0.1'), guessed: true };
}

/** Its addresses; none when a name does not resolve now. */
export async function resolvePublic({ host }: PublicHost): Promise<string[]> {
  const plain = host.replace(/^\[|\]$/g, '');
  const bytes = addressBytes(plain);
  if (bytes !== undefined) return [formatAddress(bytes)];
  try {
    const found = await lookup(plain, { all: true });
    return found.flatMap(({ address }) => {
      const resolved = addressBytes(address);
      return resolved === undefined ? [] : [formatAddress(resolved)];
    });
  } catch {
    return [];
  }
}

function checked(given: string): string {
  const plain = given.replace(/^\[|\]$/g, '');
  if (addressBytes(plain) !== undefined) return bracketed(plain);
  if (
    plain.length <= 253 &&
    /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(plain) &&
    !/^[0-9.]+$/.test(plain)
  )
    return plain.toLowerCase();
  throw new BuriError(
    'public-invalid',
    `--public ${given}: expected a host name or an address, without a port`,
  );
}

const bracketed = (host: string) => (host.includes(':') ? `[${host}]` : host);

/** An address of the machine: a public IPv4 one first, then a private one, then IPv6. */
function guess(): string | undefined {
  const addresses = Object.values(networkInterfaces())
    .flatMap((entries) => entries ?? [])
    .filter(({ internal, address }) => !internal && !/^(fe80:|169\.254\.)/i.test(address));
  const v4 = addresses.filter(({ family }) => family === 'IPv4');
  const isPrivate = (address: string) =>
    /^(10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.|100\.(6[4-9]|[7-9][0-9]|1[01][0-9]|12[0-7])\.)/.test(
      address,
    );
  const best = v4.find(({ address }) => !isPrivate(address)) ?? v4[0] ?? addresses[0];
  return best?.address;
}
