import { join } from 'node:path';
import { z } from 'zod';
import type { Crypto } from '#core/crypto.ts';
import { Secret } from '#crypto/secret.ts';
import { readText, setAside, writeAtomically } from './files.ts';
import type { Notices } from './notices.ts';

/** The three private keys of a device: what it is, whom the server hears, whom its peers hear. */
export interface DeviceKeys {
  /** Ed25519 seed. */
  readonly identity: Secret;
  /** X25519, of the control connection. */
  readonly control: Secret;
  /** X25519, of the tunnels. */
  readonly tunnel: Secret;
}

export const identityFile = 'identity.key';

const key = z
  .string()
  .regex(/^[A-Za-z0-9_-]{43}$/)
  .transform((text) => new Secret(Buffer.from(text, 'base64url')));

const schema = z.strictObject({ version: z.literal(1), identity: key, control: key, tunnel: key });

/**
 * The keys of `DIR/identity.key`, made at the first start. A file that cannot be understood is set aside, and the device
 * becomes a new one: the old one can be had back by putting the file right.
 */
export async function loadDeviceKeys(
  directory: string,
  crypto: Crypto,
  notices: Notices,
): Promise<DeviceKeys> {
  const path = join(directory, identityFile);
  const text = await readText(path);
  if (text !== undefined) {
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    const aside = await setAside(path, 'corrupt', new Date());
    notices.add({
      code: 'identity-corrupt',
      message:
        `${path} was damaged and is now ${aside}; this computer has a new identity and must be ` +
        'enrolled again, unless you restore the file from a backup',
    });
  }
  const make = () => crypto.random(32);
  const [identity, control, tunnel] = [make(), make(), make()];
  const text64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
  const content = {
    version: 1,
    identity: text64(identity),
    control: text64(control),
    tunnel: text64(tunnel),
  };
  await writeAtomically(path, `${JSON.stringify(content)}\n`);
  const keys = {
    identity: new Secret(identity),
    control: new Secret(control),
    tunnel: new Secret(tunnel),
  };
  for (const bytes of [identity, control, tunnel]) bytes.fill(0);
  return keys;
}

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
