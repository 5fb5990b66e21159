import { writeFile } from 'node:fs/promises';
import type { DeviceInfo, DeviceMode, Engine } from '#engine/engine.ts';
import { familyOf } from '#wire/endpoint.ts';
import { ipBatch } from './ip-command.ts';
import { addLanRoutes, type LanRoute, lanRoutes } from './lan-routes.ts';
import type { Notices } from './notices.ts';
import { broadcastsOf, parsePrefix } from './prefix.ts';
import { checkOwnAddress, checkPools, localRoutes } from './routes.ts';

export const mtuBytes = 1400;

export interface DeviceAddresses {
  readonly ipv4: string;
  readonly ipv6: string;
  /** `address/length`: what is reached through the device. */
  readonly pool4: string;
  readonly pool6: string;
}

export interface InterfaceOptions {
  readonly name: string;
  readonly mode: DeviceMode;
  readonly engine: Engine;
  readonly notices: Notices;
  /** Whether broadcast and multicast of programs that name no interface go through it. */
  readonly wantsLanRoutes: boolean;
}

/**
 * The virtual interface with its addresses. They carry the pools' prefix lengths, so that the system makes the routes
 * itself and removes them, like everything else of the interface, when it goes, however the daemon ends.
 */
export class Device {
  readonly name: string;
  readonly mode: DeviceMode;
  readonly #engine: Engine;
  readonly #notices: Notices;
  readonly #wantsLanRoutes: boolean;
  #addresses: DeviceAddresses | undefined;
  #lanRoutes: readonly LanRoute[] = [];
  #info: DeviceInfo | undefined;

  constructor({ name, mode, engine, notices, wantsLanRoutes }: InterfaceOptions) {
    this.name = name;
    this.mode = mode;
    this.#wantsLanRoutes = wantsLanRoutes;
    this.#engine = engine;
    this.#notices = notices;
  }

  get info(): DeviceInfo | undefined {
    return this.#info;
  }

  /** Routes for broadcast and multicast that lead through the interface. */
  get lanRoutes(): readonly LanRoute[] {
    return this.#info === undefined ? [] : this.#lanRoutes;
  }

  /**
   * Makes the interface what it should be; nothing happens when it is so already.
   * BuriError: device-busy, device-forbidden, device-missing, pool-overlap, pool-invalid, ip-missing, ip-failed.
   */
  async up(addresses: DeviceAddresses): Promise<void> {
    if (this.#info !== undefined && same(this.#addresses, addresses)) return;
    await this.down();
    const { ipv4, ipv6, pool4, pool6 } = addresses;
    checkOwnAddress(ipv4, pool4);
    checkOwnAddress(ipv6, pool6);
    checkPools([pool4, pool6], await localRoutes(), this.name);
    this.#info = await this.#engine.openDevice({
      name: this.name,
      mode: this.mode,
      mtuBytes,
      addresses: [ipv4, ipv6],
      broadcasts: broadcastsOf(pool4),
      pools: [pool4, pool6],
    });
    try {
      await this.#configure(addresses);
      await this.#routeLan();
      this.#addresses = addresses;
    } catch (error) {
      await this.down();
      throw error;
    }
  }

  /** Removes the interface with its addresses and routes. */
  async down(): Promise<void> {
    if (this.#info === undefined) return;
    this.#info = undefined;
    this.#addresses = undefined;
    await this.#engine.closeDevice();
  }

  /** The interface is gone without our doing. */
  lost(): void {
    this.#info = undefined;
    this.#addresses = undefined;
  }

  /** Programs that name no interface use ours for broadcast and multicast. It works without, for those that do. */
  async #routeLan(): Promise<void> {
    this.#lanRoutes = [];
    if (!this.#wantsLanRoutes) return;
    const routes = lanRoutes(await localRoutes(), this.name);
    const failures: string[] = [];
    for (const family of [4, 6] as const) {
      try {
        await addLanRoutes(routes, this.name, family);
        const added = routes.filter(({ destination }) => familyOf(destination) === family);
        this.#lanRoutes = [...this.#lanRoutes, ...added];
      } catch (error) {
        failures.push((error as Error).message);
      }
    }
    if (failures.length === 0) this.#notices.clear('no-lan-routes');
    else {
      this.#notices.add({
        code: 'no-lan-routes',
        message: `broadcast and multicast reach the members only from programs that name the interface: ${failures.join('; ')}`,
      });
    }
  }

  async #configure({ ipv4, ipv6, pool4, pool6 }: DeviceAddresses): Promise<void> {
    const device = this.name;
    if (this.mode === 'tun') {
      // The system would make up a link-local address and send from it to groups of the link (mDNS); members take only what
      // comes from an address that they know to be ours. Without one it takes our own. Fails where there is no IPv6.
      await ipBatch([`link set dev ${device} addrgenmode none`]).catch(() => {});
    }
    await ipBatch([
      `link set dev ${device} mtu ${mtuBytes} up`,
      `address add ${ipv4}/${lengthOf(pool4)} dev ${device}`,
    ]);
    try {
      // Some systems switch IPv6 off for all interfaces; this one needs it.
      await writeFile(`/proc/sys/net/ipv6/conf/${device}/disable_ipv6`, '0').catch(() => {});
      await ipBatch([`address add ${ipv6}/${lengthOf(pool6)} dev ${device} nodad`]);
      this.#notices.clear('no-ipv6');
    } catch (error) {
      this.#notices.add({
        code: 'no-ipv6',
        message: `the interface has no IPv6 address, members are reached by IPv4 only: ${(error as Error).message}`,
      });
    }
  }
}

const lengthOf = (pool: string): number => parsePrefix(pool)?.lengthBits ?? 32;

const same = (a: DeviceAddresses | undefined, b: DeviceAddresses): boolean =>
  a !== undefined &&
  a.ipv4 === b.ipv4 &&
  a.ipv6 === b.ipv6 &&
  a.pool4 === b.pool4 &&
  a.pool6 === b.pool6;
