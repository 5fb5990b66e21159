import { mkdir, readdir, unlink } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { sameBytes } from '#core/bytes.ts';
import type { Crypto } from '#core/crypto.ts';
import { type KnownWays, noKnownWays } from '#core/member/last-good.ts';
import type { CachedNetwork } from '#core/mesh/mesh.ts';
import { decodeCbor, encodeCbor } from '#wire/cbor.ts';
import { maxNetworksPerClient, serverMessage } from '#wire/control.ts';
import { bytesUpTo } from '#wire/fields.ts';
import {
  checkWritable,
  makePrivateDirectory,
  readBytes,
  readText,
  setAside,
  writeAtomically,
} from './files.ts';
import { type DeviceKeys, loadDeviceKeys, parseJson } from './identity.ts';
import { maxWaysBytes, waysBytes, waysFile, waysOf } from './known-ways.ts';
import type { Notices } from './notices.ts';
import {
  newSettings,
  nickFromHost,
  type Settings,
  settingsSchema,
  settingsText,
} from './settings.ts';
import { StateLock } from './state-lock.ts';

export const settingsFile = 'state.json';
/** One file for each network: its documents as they were received. */
export const networksDirectory = 'networks';
/** Changes are gathered this long before they are written. */
const gatherMs = 500;
/** After a failure the next attempt comes after this. */
const retryMs = 15_000;
const maxCacheBytes = 64 * 1024 * 1024;

const cacheSchema = z.strictObject({
  version: z.literal(1),
  view: serverMessage,
  revocations: z.array(bytesUpTo(8192)).max(8192),
});

/**
 * Everything that a daemon keeps on disk. Changes take effect in memory at once and on disk a little later, or when
 * `flush` returns. A full disk at run time is a notice, and is tried again.
 */
export class StateStore implements AsyncDisposable {
  readonly keys: DeviceKeys;
  readonly #directory: string;
  readonly #lock: StateLock;
  readonly #notices: Notices;
  #settings: Settings;
  #settingsChanged = false;
  /** Networks to be written; undefined: to be removed. */
  readonly #networksChanged = new Map<string, CachedNetwork | undefined>();
  #waysChanged: KnownWays | undefined;
  /** All networks on disk are of a server that is not ours any more. */
  #forgetNetworks = false;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();

  private constructor(
    directory: string,
    lock: StateLock,
    keys: DeviceKeys,
    settings: Settings,
    notices: Notices,
  ) {
    this.#directory = directory;
    this.#lock = lock;
    this.keys = keys;
    this.#settings = settings;
    this.#notices = notices;
  }

  /** BuriError: state-unwritable, state-unreadable, disk-full, state-in-use. */
  static async open(directory: string, crypto: Crypto, notices: Notices): Promise<StateStore> {
    await makePrivateDirectory(directory);
    await checkWritable(directory);
    const lock = new StateLock(directory);
    try {
      await mkdir(join(directory, networksDirectory), { recursive: true, mode: 0o700 });
      const keys = await loadDeviceKeys(directory, crypto, notices);
      const identity = crypto.ed25519PublicKey(keys.identity.bytes());
      const settings = await loadSettings(directory, identity, notices);
      return new StateStore(directory, lock, keys, settings, notices);
    } catch (error) {
      lock[Symbol.dispose]();
      throw error;
    }
  }

  get settings(): Settings {
    return this.#settings;
  }

  update(change: Partial<Settings>): void {
    this.#settings = { ...this.#settings, ...change };
    this.#settingsChanged = true;
    this.#schedule(gatherMs);
  }

  /** Forgets which server this device is enrolled at, with all that came from there. */
  forgetServer(): void {
    const { server: _, self: __, certificate, ...rest } = this.#settings;
    const kept = certificate === undefined ? rest : { ...rest, certificate };
    this.#settings = { ...kept, secrets: {}, serverTimeMs: 0, loggedIn: false };
    this.#networksChanged.clear();
    this.#forgetNetworks = true;
    this.#waysChanged = noKnownWays;
    this.update({});
  }

  saveNetwork(network: CachedNetwork): void {
    this.#networksChanged.set(network.id, network);
    this.#schedule(gatherMs);
  }

  removeNetwork(id: string): void {
    this.#networksChanged.set(id, undefined);
    this.#schedule(gatherMs);
  }

  saveWays(ways: KnownWays): void {
    this.#waysChanged = ways;
    this.#schedule(gatherMs);
  }

  /** How peers and relays were reached last; a file that cannot be understood is set aside. */
  async loadWays(): Promise<KnownWays> {
    const path = join(this.#directory, waysFile);
    const bytes = await readBytes(path);
    if (bytes === undefined) return noKnownWays;
    const ways = bytes.length > maxWaysBytes ? undefined : waysOf(bytes);
    if (ways !== undefined) return ways;
    const aside = await setAside(path, 'corrupt', new Date());
    this.#notices.add({
      code: 'cache-corrupt',
      message: `${path} was damaged and is now ${aside}; without the server, tunnels may not come back after a restart`,
    });
    return noKnownWays;
  }

  /** The saved networks; files that cannot be understood are set aside. */
  async loadNetworks(): Promise<CachedNetwork[]> {
    const networks: CachedNetwork[] = [];
    for (const id of await this.#networksOnDisk()) {
      const path = this.#networkPath(id);
      const bytes = await readBytes(path);
      const parsed = cacheSchema.safeParse(bytes && decodeCbor(bytes, maxCacheBytes));
      if (parsed.success && parsed.data.view.t === 'view' && parsed.data.view.network === id) {
        const { t: _, ...view } = parsed.data.view;
        networks.push({ id, view, revocations: parsed.data.revocations });
        continue;
      }
      const aside = await setAside(path, 'corrupt', new Date());
      this.#notices.add({
        code: 'cache-corrupt',
        message: `${path} was damaged and is now ${aside}; the server will send the network again`,
      });
    }
    return networks;
  }

  /** Everything changed so far is on disk. BuriError: state-unwritable, disk-full. */
  async flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const written = this.#writing.then(() => this.#write());
    this.#writing = written.catch(() => {});
    await written;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.flush();
    } catch (error) {
      this.#notices.add({ code: 'state-unwritable', message: (error as Error).message });
    } finally {
      clearTimeout(this.#timer);
      this.#lock[Symbol.dispose]();
    }
  }

  #schedule(delayMs: number): void {
    this.#timer ??= setTimeout(() => {
      this.flush().catch((error: Error) => {
        this.#notices.add({ code: 'state-unwritable', message: error.message });
        this.#schedule(retryMs);
      });
    }, delayMs).unref();
  }

  async #write(): Promise<void> {
    if (this.#settingsChanged) {
      this.#settingsChanged = false;
      try {
        await writeAtomically(join(this.#directory, settingsFile), settingsText(this.#settings));
      } catch (error) {
        this.#settingsChanged = true;
        throw error;
      }
    }
    const ways = this.#waysChanged;
    if (ways !== undefined) {
      await writeAtomically(join(this.#directory, waysFile), waysBytes(ways));
      if (this.#waysChanged === ways) this.#waysChanged = undefined;
    }
    if (this.#forgetNetworks) {
      this.#forgetNetworks = false;
      for (const id of await this.#networksOnDisk()) await this.#writeNetwork(id, undefined);
    }
    for (const [id, network] of [...this.#networksChanged]) {
      await this.#writeNetwork(id, network);
      if (this.#networksChanged.get(id) === network) this.#networksChanged.delete(id);
    }
    this.#notices.clear('state-unwritable');
  }

  #networkPath(id: string): string {
    return join(this.#directory, networksDirectory, `${id}.cbor`);
  }

  async #networksOnDisk(): Promise<string[]> {
    const names = await readdir(join(this.#directory, networksDirectory));
    return names
      .filter((name) => /^[0-9-]{11}\.cbor$/.test(name))
      .map((name) => name.slice(0, 11))
      .slice(0, maxNetworksPerClient);
  }

  async #writeNetwork(id: string, network: CachedNetwork | undefined): Promise<void> {
    const path = this.#networkPath(id);
    if (network === undefined) {
      await unlink(path).catch(() => {});
      return;
    }
    const { view, revocations } = network;
    await writeAtomically(
      path,
      encodeCbor({ version: 1, view: { t: 'view', ...view }, revocations }),
    );
  }
}

async function loadSettings(
  directory: string,
  identity: Uint8Array,
  notices: Notices,
): Promise<Settings> {
  const path = join(directory, settingsFile);
  const fresh = newSettings(identity, nickFromHost(hostname()));
  const text = await readText(path);
  if (text === undefined) return fresh;
  const parsed = settingsSchema.safeParse(parseJson(text));
  if (!parsed.success) {
    const aside = await setAside(path, 'corrupt', new Date());
    notices.add({
      code: 'state-corrupt',
      message: `${path} was damaged and is now ${aside}; log in and join your networks again`,
    });
    return fresh;
  }
  if (sameBytes(parsed.data.identity, identity)) return parsed.data;
  const aside = await setAside(path, 'other-identity', new Date());
  notices.add({
    code: 'state-of-another-identity',
    message: `${path} belongs to another identity than identity.key and is now ${aside}`,
  });
  return fresh;
}
