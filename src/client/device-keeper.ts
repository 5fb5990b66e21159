import type { BuriError } from '#core/errors.ts';
import type { Device, DeviceAddresses } from './device.ts';
import type { Notices } from './notices.ts';

/** An interface that somebody removed is made again after this. */
const againMs = 1000;
/** While that fails (its name is taken, say) the pauses double up to this. */
const mostAgainMs = 30_000;

export interface DeviceKeeperOptions {
  readonly device: Device;
  readonly notices: Notices;
  /** The addresses that the interface is to have; undefined while there is to be none. */
  readonly wanted: () => DeviceAddresses | undefined;
  /** The engine has failed: only a new process helps. */
  readonly onFatal: (error: BuriError) => void;
}

/** Makes and removes the interface, one after the other, whoever asks. A failure is a notice, and is thrown to who waits. */
export class DeviceKeeper {
  readonly #options: DeviceKeeperOptions;
  #work: Promise<void> = Promise.resolve();

  constructor(options: DeviceKeeperOptions) {
    this.#options = options;
  }

  up(): Promise<void> {
    const { device, notices, wanted } = this.#options;
    return this.#next(async () => {
      const addresses = wanted();
      if (addresses === undefined) return;
      try {
        await device.up(addresses);
        notices.clear('device');
      } catch (error) {
        notices.add({ code: 'device', message: (error as Error).message });
        throw error;
      }
    });
  }

  down(): Promise<void> {
    return this.#next(() => this.#options.device.down());
  }

  /** The engine lost the interface, or somebody removed it. */
  lost(reason: string): void {
    const { device, notices, onFatal } = this.#options;
    device.lost();
    notices.add({
      code: 'device-lost',
      message: `the interface ${device.name} is gone: ${reason}`,
    });
    const again = (inMs: number) =>
      void setTimeout(() => {
        this.up().then(
          () => notices.clear('device-lost'),
          (error: BuriError) => {
            if (error.code.startsWith('engine-')) onFatal(error);
            else again(Math.min(2 * inMs, mostAgainMs));
          },
        );
      }, inMs).unref();
    again(againMs);
  }

  #next(act: () => Promise<void>): Promise<void> {
    const work = this.#work.then(act);
    this.#work = work.catch(() => {});
    return work;
  }
}
