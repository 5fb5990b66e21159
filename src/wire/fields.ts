/** Field types that control messages, signed documents and the local API share. */
import { z } from 'zod';
import { addressBytes, formatAddress, parseEndpoint } from './endpoint.ts';

export const bytesOf = (lengthBytes: number) =>
  z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length === lengthBytes,
    `expected ${lengthBytes} bytes`,
  );

export const bytesUpTo = (maxBytes: number) =>
  z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length <= maxBytes,
    `expected at most ${maxBytes} bytes`,
  );

/** Client and network identifiers: nine digits, `NNN-NNN-NNN`. */
export const nineDigits = z.string().regex(/^[0-9]{3}-[0-9]{3}-[0-9]{3}$/, 'expected NNN-NNN-NNN');
export const clientId = nineDigits;
export const networkId = nineDigits;

export const maxNameCharacters = 64;

/**
 * Names of networks and nicknames: 1 to 64 characters, printable, no space at either end, in Unicode normal form C.
 * Control, format (bidirectional overrides too), surrogate and private-use characters are refused.
 */
export const displayName = z
  .string()
  .max(maxNameCharacters, `at most ${maxNameCharacters} characters`)
  .regex(
    /^[^\p{C}\p{Z}](?:[^\p{C}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}])?$/u,
    'control characters, or spaces at an end',
  )
  .refine((name) => name === name.normalize('NFC'), 'expected Unicode normal form C');

export const milliseconds = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
/** A point in time of this era: what is computed from it stays a safe integer, whoever says it. */
export const wallTime = z.number().int().nonnegative().max(253_402_300_799_999);
export const serial = z.number().int().nonnegative().max(Number.MAX_SAFE_INTEGER);
export const revision = serial;

const canonical = (text: string, lengthBytes: number) => {
  const bytes = addressBytes(text);
  return bytes !== undefined && bytes.length === lengthBytes && formatAddress(bytes) === text;
};

export const ipv4 = z.string().refine((text) => canonical(text, 4), 'expected an IPv4 address');
export const ipv6 = z.string().refine((text) => canonical(text, 16), 'expected an IPv6 address');

export const ipAddress = z
  .string()
  .max(45)
  .refine((text) => canonical(text, 4) || canonical(text, 16), 'expected an IP address');

const inPool = (lengthBytes: number, leastBits: number, mostBits: number) => (text: string) => {
  const match = /^([0-9a-f.:]+)\/([1-9][0-9]{0,2})$/.exec(text);
  const bytes = addressBytes(match?.[1] ?? '');
  if (match === null || bytes?.length !== lengthBytes) return false;
  const lengthBits = Number(match[2]);
  const first = bytes[0]!;
  // Hosts cannot have these: unspecified, loopback, multicast, and what is reserved.
  if (first === 0 || (lengthBytes === 4 ? first === 127 || first >= 224 : first >= 0xfe))
    return false;
  const beyond = bytes.some((byte, i) => {
    const free = Math.min(8, Math.max(0, 8 * (i + 1) - lengthBits));
    return (byte & (2 ** free - 1)) !== 0;
  });
  return lengthBits >= leastBits && lengthBits <= mostBits && !beyond;
};

/**
 * Virtual addresses of a server, `address/length`. All of them lead into the tunnel: a server must not claim so many that
 * it takes a client's Internet away.
 */
export const ipv4Pool = z
  .string()
  .max(18)
  .refine(inPool(4, 8, 30), 'expected ADDRESS/8 to /30');
export const ipv6Pool = z
  .string()
  .max(43)
  .refine(inPool(16, 32, 126), 'expected an IPv6 address/32 to /126');

/** A transport address in text: `192.0.2.1:3478`, `[2001:db8::1]:3478`. */
export const endpointText = z
  .string()
  .max(60)
  .refine((text) => parseEndpoint(text) !== undefined, 'expected ADDRESS:PORT');

/** Unique in the cluster: a node's own relay has the node's id, others `r-` and 16 digits of their key's SHA-256. */
export const relayId = z
  .string()
  .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, 'expected 1 to 64 letters, digits, - . _');

/** URL of a WebSocket: nothing in it but scheme, host, port and path. */
export const webSocketUrl = z
  .string()
  .max(300)
  .regex(
    /^wss?:\/\/(?:\[[0-9a-fA-F:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})(?::[1-9][0-9]{0,4})?(?:\/[\w./~-]*)?$/,
    'expected ws:// or wss://',
  );

export const presence = z.enum(['online', 'unconfirmed', 'offline']);
export type Presence = z.infer<typeof presence>;

export const networkType = z.enum(['mesh']);
export const approval = z.enum(['auto', 'manual']);

/** Parameters of Argon2id (RFC 9106). The minimum is enforced by the client, whatever a server says. */
export const argon2Parameters = z.object({
  memoryKib: z.number().int().min(65_536).max(1_048_576),
  passes: z.number().int().min(3).max(16),
  parallelism: z.number().int().min(1).max(8),
});
export type Argon2Parameters = z.infer<typeof argon2Parameters>;
