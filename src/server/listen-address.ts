import { BuriError } from '#core/errors.ts';
import { addressBytes, formatAddress } from '#wire/endpoint.ts';

/** Where to listen. Without a host: on every address of the machine, IPv4 and IPv6. Port 0: any free one. */
export interface ListenAddress {
  readonly host: string | undefined;
  readonly port: number;
  readonly text: string;
}

/** `HOST:PORT`, `[IPV6]:PORT`, `*:PORT`. BuriError: address-invalid. */
export function parseListenAddress(text: string, option: string): ListenAddress {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.*_-]*)):([0-9]{1,5})$/.exec(text);
  const port = Number(match?.[3]);
  const v6 = match?.[1];
  const bad = match === null || port > 65_535 || (v6 !== undefined && !v6.includes(':'));
  if (bad || (v6 !== undefined && addressBytes(v6) === undefined))
    throw new BuriError(
      'address-invalid',
      `${option} ${text}: expected HOST:PORT, for example 0.0.0.0:8443 or [::]:8443`,
    );
  const host = v6 ?? match[2];
  return { host: host === '' || host === '*' ? undefined : host, port, text };
}

export const isUnspecified = (host: string | undefined): boolean => {
  if (host === undefined) return true;
  const bytes = addressBytes(host);
  return bytes !== undefined && ['0.0.0.0', '::'].includes(formatAddress(bytes));
};
