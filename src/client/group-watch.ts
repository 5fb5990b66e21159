import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import type { LocalLan } from '#core/lan/lan.ts';
import { formatAddress } from '#wire/endpoint.ts';

/** The groups are looked at this often also when nothing was heard of a change: two small reads of /proc. */
export const lookEveryMs = 5000;
/** After a hint of a change: by then the system's own list has it, and what else was joined in the same moment. */
export const lookAfterMs = 100;

export interface GroupWatchOptions {
  /** The interface; undefined while there is none. */
  readonly device: () => { readonly name: string; readonly ethernet: boolean } | undefined;
  readonly onLook: (local: LocalLan) => void;
}

/** Follows which multicast groups programs have joined on the interface. The system knows; it also says so by IGMP and MLD. */
export class GroupWatch implements Disposable {
  readonly #options: GroupWatchOptions;
  readonly #timer: NodeJS.Timeout;
  #soon: NodeJS.Timeout | undefined;

  constructor(options: GroupWatchOptions) {
    this.#options = options;
    this.#timer = setInterval(() => void this.#look(), lookEveryMs).unref();
  }

  /** Groups were joined or left, perhaps. */
  changed(): void {
    this.#soon ??= setTimeout(() => {
      this.#soon = undefined;
      void this.#look();
    }, lookAfterMs).unref();
  }

  async #look(): Promise<void> {
    const device = this.#options.device();
    if (device === undefined) return;
    const { name, ethernet } = device;
    const groups = await groupsOf(name);
    if (this.#options.device()?.name === name) this.#options.onLook({ ethernet, groups });
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    clearTimeout(this.#soon);
  }
}

/**
 * Groups joined on an interface. Behind a bridge are machines whose joins this system does not see: then all; likewise where the
 * system does not say.
 */
export async function groupsOf(device: string): Promise<readonly string[] | 'all'> {
  if (existsSync(`/sys/class/net/${device}/master`)) return 'all';
  try {
    const igmp = await readFile('/proc/net/igmp', 'utf8');
    // Absent where the kernel has no IPv6.
    const igmp6 = await readFile('/proc/net/igmp6', 'utf8').catch(() => '');
    return [...parseIgmp(igmp, device), ...parseIgmp6(igmp6, device)];
  } catch {
    return 'all';
  }
}

/**
 * /proc/net/igmp: a line for each interface that starts with its index and name, then an indented line for each group, whose
 * first field is the address as a hexadecimal number of the host's byte order.
 */
export function parseIgmp(text: string, device: string): string[] {
  const groups: string[] = [];
  let isOurs = false;
  for (const line of text.split('\n')) {
    // Behind a name of ten characters or more the colon follows at once.
    const ofInterface = /^[0-9]+\s+([^\s:]+)/.exec(line);
    if (ofInterface !== null) isOurs = ofInterface[1] === device;
    const group = /^\s+([0-9A-Fa-f]{8})\s/.exec(line);
    if (isOurs && group !== null) groups.push(hostOrderAddress(Number.parseInt(group[1]!, 16)));
  }
  return groups;
}

/** /proc/net/igmp6: index, name and address of 32 hexadecimal digits, one line a group. */
export function parseIgmp6(text: string, device: string): string[] {
  const groups: string[] = [];
  for (const line of text.split('\n')) {
    const [, name, address] = line.trim().split(/\s+/);
    if (name !== device || address === undefined || !/^[0-9a-f]{32}$/i.test(address)) continue;
    groups.push(formatAddress(new Uint8Array(Buffer.from(address, 'hex'))));
  }
  return groups;
}

function hostOrderAddress(value: number): string {
  const bytes = new Uint8Array(Uint32Array.of(value).buffer);
  return formatAddress(bytes);
}
