import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import type { AeadSuite } from '#core/crypto.ts';
import { BuriError } from '#core/errors.ts';
import { OFFLOAD_VAES } from './layout.ts';

/**
 * The byte work of the engine: what C does, and the TypeScript twin does in its place in the portable engine. Works on
 * the tables of `layout.ts`. No call throws for bytes from a wire; it counts.
 */
export interface ByteWork {
  /**
   * Makes or replaces the key in a slot. `counter` is that of the next packet sent. `shared` (KEY_STATE_BYTES, zero at first) is the
   * memory in which the threads that use the key keep its counter and replay window; without it the key is this thread's alone.
   */
  setKey(
    slot: number,
    suite: Suite,
    remoteIndex: number,
    sendKey: Uint8Array,
    receiveKey: Uint8Array,
    counterLow: number,
    counterHigh: number,
    shared?: Uint8Array,
  ): boolean;
  clearKey(slot: number): void;
  setPath(
    slot: number,
    socket: number,
    address: Uint8Array,
    port: number,
    prefix: Uint8Array,
    mtuBytes: number,
  ): boolean;
  clearPath(slot: number): void;
  /** What the device can take apart (bits), and its MTU, which bounds padding. */
  setOffloads(offloads: number, mtuBytes: number): void;
  /** Splits received messages into runs. */
  classify(messages: number): number;
  /** Opens the runs that have a key and joins their packets to units. */
  openRuns(runs: number): number;
  /** Seals the items that have a key and a path, and sends them. */
  seal(items: number): void;
  /**
   * Completes the checksums of items that are no super-packets, and says so in their flags: then they, like super-packets of UDP,
   * can be sealed any number of times.
   */
  complete(items: number): void;
  /** Seals and sends an empty packet; false when the key is spent. */
  keepalive(key: number, path: number): boolean;
}

/** The C addon: byte work and system calls. Results below zero are errors of the system (`-errno`). */
export interface Addon extends ByteWork {
  readonly layout: Readonly<Record<string, number>>;
  readonly counterNames: readonly string[];
  /** Hands over the buffers; `outBatch` bytes are read from the device at most before they are sealed. */
  bind(
    out: Uint8Array,
    outBatch: number,
    incoming: Uint8Array,
    run: Uint8Array,
    items: Int32Array,
    messages: Int32Array,
    runs: Int32Array,
    units: Int32Array,
    pieces: Int32Array,
    counters: Float64Array,
  ): void;
  /** Gives memory of the process back to the system; a few milliseconds. */
  releaseMemory(): void;
  onReady(callback: (id: number, events: number) => void): void;
  /** Watches the device (0) or a socket (1 + index) for readable (1) and writable (2); 0 stops. */
  watch(id: number, events: number): number;
  /**
   * With `queues` the instances of other threads may open the same device, each with a queue of its own. With a MAC it is a TAP
   * device, which has Ethernet frames for packets.
   */
  deviceOpen(
    name: string,
    mtu: number,
    offloads: number,
    queues: boolean,
    mac?: Uint8Array,
  ): [number, string, number];
  deviceClose(): void;
  deviceRead(most: number): number;
  /** Returns the unit to go on with when the device is full, else `count`. */
  deviceWrite(first: number, count: number): number;
  /** Writes one packet that was built here; false, and counted, when the device does not take it. */
  deviceInject(bytes: Uint8Array): boolean;
  /** `share` is one of SHARE_*; `index` is the one that the socket shall have, or -1. */
  socketOpen(
    address: Uint8Array,
    port: number,
    offloads: number,
    share: number,
    index: number,
  ): [number, number, number];
  /** A copy of a descriptor of a bound UDP socket, which stays the caller's. `index` as in `socketOpen`. */
  socketAdopt(descriptor: number, offloads: number, index: number): [number, number, number];
  /** A descriptor of an IPv4 UDP socket on any port; it is the caller's. Needs no `bind`. */
  socketDescriptor(): number;
  socketClose(index: number): void;
  receive(index: number): number;
  /** Sends what JavaScript put into the run buffer. */
  sendRun(path: number, length: number, segment: number, count: number): void;
  sendDatagram(
    socket: number,
    address: Uint8Array,
    port: number,
    bytes: Uint8Array,
    ttl: number,
    dontFragment: boolean,
  ): boolean;
  /** Lets the kernel take at most so many bytes of a TCP connection that it has not sent yet (TCP_NOTSENT_LOWAT). */
  limitUnsent(fd: number, bytes: number): boolean;
  /** For tests: seals into `bytes` instead of sending; `rows` receives path, length, segment, count of each run. */
  sealInto(items: number, bytes: Uint8Array, rows: Int32Array): number;
  /**
   * For tests: seals or opens `length` bytes with the AES-256-GCM of native/aesgcm.c, from and to these offsets of `bytes`, the tag behind
   * the ciphertext. Returns whether it was authentic; undefined where the processor has no VAES.
   */
  aesgcm(
    seal: boolean,
    key: Uint8Array,
    nonce: Uint8Array,
    bytes: Uint8Array,
    out: number,
    from: number,
    length: number,
  ): boolean | undefined;
}

export const READABLE = 1;
export const WRITABLE = 2;
export const SUITE_CHACHA20_POLY1305 = 0;
export const SUITE_AES_256_GCM = 1;
/** The same on the wire, by OpenSSL on every processor. */
export const SUITE_AES_256_GCM_EVP = 2;
export type Suite = 0 | 1 | 2;

/** How the addon is to do a suite for an engine that goes `without` some offloads (bits). */
export function suiteOf(suite: AeadSuite, without: number): Suite {
  if (suite !== 'aes256gcm') return SUITE_CHACHA20_POLY1305;
  return (without & OFFLOAD_VAES) === 0 ? SUITE_AES_256_GCM : SUITE_AES_256_GCM_EVP;
}

const addonPath = fileURLToPath(new URL('../../build/buri.node', import.meta.url));

/** Throws BuriError `addon-missing` when the addon was not built. */
export function assertAddonBuilt(): void {
  if (existsSync(addonPath)) return;
  throw new BuriError(
    'addon-missing',
    `${addonPath} is missing: install a C compiler (Debian: apt install gcc libc6-dev) and run 'npm run setup'`,
  );
}

/** Loads the addon into this thread. BuriError: addon-missing, addon-unusable. */
export function loadAddon(): Addon {
  assertAddonBuilt();
  try {
    return createRequire(import.meta.url)(addonPath) as Addon;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new BuriError(
      'addon-unusable',
      `${addonPath} does not load (${reason}): delete it and run 'npm run setup' to build it again`,
      { cause },
    );
  }
}
