/** Ethernet frames sent and heard on the virtual interface, past the system's protocols. */
import type { Host } from './host.ts';
import { nativeProgram } from './native.ts';
import type { LabProcess } from './process.ts';

const device = 'buri0';
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

/** Everything that comes into a host's interface, the newest two thousand frames of it. */
export class FrameListener implements AsyncDisposable {
  readonly #process: LabProcess;

  private constructor(process: LabProcess) {
    this.#process = process;
  }

  static async on(host: Host): Promise<FrameListener> {
    const process = host.spawn(await nativeProgram('ethernet-frames'), ['listen', device]);
    await process.line(/^ready$/);
    return new FrameListener(process);
  }

  /** Whether this frame came, whatever padding is behind it. */
  heard(bytes: Uint8Array): boolean {
    return this.#process.lines.some((line) => line.startsWith(textOf(bytes)));
  }

  /** How many frames came with this EtherType, in hexadecimal. */
  count(etherType: string): number {
    return this.#process.lines.filter((line) => line.slice(24, 28) === etherType).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stop();
  }
}

export async function sendFrames(host: Host, ...frames: readonly Uint8Array[]): Promise<void> {
  const input = frames.map((bytes) => `${textOf(bytes)}\n`).join('');
  await host.check(await nativeProgram('ethernet-frames'), ['send', device], { input });
}

/** Sends one frame as fast as the system takes it. Returns how often. */
export async function floodFrame(host: Host, bytes: Uint8Array, ms: number): Promise<number> {
  const args = ['flood', device, `${ms}`, textOf(bytes)];
  return Number(await host.check(await nativeProgram('ethernet-frames'), args));
}
