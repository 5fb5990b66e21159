import { readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import type { LocalAddress } from '#core/discovery/candidates.ts';
import type { SystemClock } from './clock.ts';

/**
 * How often the machine's addresses and routes are looked at: a few small reads of /proc, far cheaper than what a change
 * missed would cost. Polling needs no right, no child process that could outlive us, and works wherever /proc is or is not.
 */
export const watchEveryMs = 1000;

/** Addresses of this machine that a packet could come from, without those of one interface (ours). */
export function localAddresses(withoutDevice: string): LocalAddress[] {
  const found: LocalAddress[] = [];
  for (const [name, entries] of Object.entries(networkInterfaces())) {
    if (name === withoutDevice) continue;
    for (const { address, internal, scopeid, family } of entries ?? []) {
      // What has a scope is link-local: of no use to a peer.
      if (internal || (family === 'IPv6' && (scopeid ?? 0) !== 0)) continue;
      found.push({ interface: name, address });
    }
  }
  return found;
}

/** Whether the machine still has an address; undefined stands for one that is not known. */
export function isOwnAddress(address: string | undefined): boolean {
  if (address === undefined) return true;
  const all = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  return all.some((entry) => entry.address === address);
}

/** Tells when addresses or routes change, but for those of the own device, and when the machine has slept. */
export class NetWatch implements Disposable {
  readonly #device: string;
  readonly #clock: SystemClock;
  readonly #onChange: () => void;
  #fingerprint: string | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(device: string, clock: SystemClock, onChange: () => void) {
    this.#device = device;
    this.#clock = clock;
    this.#onChange = onChange;
  }

  async start(): Promise<void> {
    this.#fingerprint = await fingerprintOf(this.#device).catch(() => undefined);
    this.#timer = setInterval(() => void this.#look(), watchEveryMs).unref();
  }

  async #look(): Promise<void> {
    const slept = this.#clock.noticeSleep();
    // A system out of memory or descriptors does not say; the next look will.
    const fingerprint = await fingerprintOf(this.#device).catch(() => this.#fingerprint);
    if ((fingerprint === this.#fingerprint && !slept) || this.#timer === undefined) return;
    this.#fingerprint = fingerprint;
    this.#onChange();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

async function fingerprintOf(device: string): Promise<string> {
  const addresses = localAddresses(device).map(
    ({ interface: name, address }) => `${name} ${address}`,
  );
  const [routes4, routes6] = await Promise.all([
    routesOf('/proc/net/route', device, ipv4Columns),
    routesOf('/proc/net/ipv6_route', device, ipv6Columns),
  ]);
  return [addresses.toSorted().join(), routes4, routes6].join('\n');
}

/** Columns that say where packets go; the others count packets and references. */
const ipv4Columns = [0, 1, 2, 6, 7] as const;
const ipv6Columns = [0, 1, 4, 5, 9] as const;

async function routesOf(path: string, device: string, columns: readonly number[]): Promise<string> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch {
    return '';
  }
  return text
    .split('\n')
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => !fields.includes(device))
    .map((fields) => columns.map((column) => fields[column] ?? '').join(' '))
    .toSorted()
    .join('\n');
}
