import type { PortMapOutput, PortMapSummary, Uplink } from '#core/portmap/io.ts';
import { PortMapper, uplinkKey } from '#core/portmap/port-mapper.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { AddressFamily, Endpoint } from '#wire/endpoint.ts';
import type { SystemClock } from './clock.ts';
import { GatewaySockets } from './gateway-sockets.ts';
import { uplinks } from './gateways.ts';

/** A timer is never set further ahead: a machine that slept comes back to it soon. */
const maxTimerMs = 30_000;
/** Somewhat more than the machine's own patience at the end. */
const stopMs = 1500;

export interface PortMappingOptions {
  readonly clock: SystemClock;
  /** The virtual interface, which is never the way out. */
  readonly device: string;
  readonly ports: ReadonlyMap<AddressFamily, number>;
  /** Secret bytes of this device, to make PCP's nonces of. */
  readonly secret: Uint8Array;
  readonly onMapped: (endpoints: readonly Endpoint[]) => void;
}

/** Drives one `PortMapper` with real time, sockets and routes, while the client is logged in. */
export class PortMapping {
  readonly #options: PortMappingOptions;
  readonly #mapper: PortMapper;
  readonly #sockets = new Map<string, GatewaySockets>();
  readonly #stopped = Promise.withResolvers<void>();
  #timer: NodeJS.Timeout | undefined;
  #mapped = '[]';
  #isClosed = false;

  constructor(options: PortMappingOptions) {
    this.#options = options;
    const { ports, secret } = options;
    const info = new TextEncoder().encode('buri port mapping 1');
    const nonceKey = crypto.hkdfSha256(secret, new Uint8Array(), info, 32);
    this.#mapper = new PortMapper({ crypto, ports, nonceKey });
  }

  get summary(): PortMapSummary {
    return this.#mapper.summary(this.#options.clock.now());
  }

  get mapped(): readonly Endpoint[] {
    return this.#mapper.mapped;
  }

  async look(changed: boolean): Promise<void> {
    const found = await uplinks(this.#options.device);
    if (this.#isClosed) return;
    this.#openSockets(found);
    this.#feed({ type: 'uplinks', uplinks: found, changed });
  }

  recheck(): void {
    this.#feed({ type: 'recheck' });
  }

  /** Gives the ports back, in bounded time. */
  async stop(): Promise<void> {
    if (this.#isClosed) return;
    this.#feed({ type: 'stop' });
    const bound = Promise.withResolvers<void>();
    const timer = setTimeout(bound.resolve, stopMs);
    await Promise.race([this.#stopped.promise, bound.promise]);
    clearTimeout(timer);
    this.#isClosed = true;
    clearTimeout(this.#timer);
    this.#openSockets([]);
  }

  #openSockets(wanted: readonly Uplink[]): void {
    const keys = new Map(wanted.map((uplink) => [uplinkKey(uplink), uplink] as const));
    for (const [key, sockets] of this.#sockets) {
      if (keys.has(key)) continue;
      sockets[Symbol.dispose]();
      this.#sockets.delete(key);
    }
    for (const [key, uplink] of keys) {
      if (this.#sockets.has(key)) continue;
      this.#sockets.set(key, new GatewaySockets(uplink, (input) => this.#feed(input)));
    }
  }

  #feed(input: Parameters<PortMapper['handle']>[0]): void {
    if (this.#isClosed) return;
    const now = this.#options.clock.now();
    this.#mapper.handle(input, now);
    for (let out = this.#mapper.poll(); out !== undefined; out = this.#mapper.poll()) {
      this.#carryOut(out);
    }
    clearTimeout(this.#timer);
    const deadline = this.#mapper.deadline();
    if (deadline === undefined) return;
    const delayMs = Math.ceil(Math.min(maxTimerMs, Math.max(0, deadline - now.monotonic)));
    this.#timer = setTimeout(() => this.#feed({ type: 'tick' }), delayMs);
  }

  #carryOut(output: PortMapOutput): void {
    switch (output.type) {
      case 'send':
        this.#sockets.get(output.uplink)?.send(output);
        break;
      case 'http':
        this.#sockets.get(output.uplink)?.http(output);
        break;
      case 'changed': {
        const { mapped } = this.#mapper;
        const text = JSON.stringify(mapped);
        if (text === this.#mapped) break;
        this.#mapped = text;
        this.#options.onMapped(mapped);
        break;
      }
      case 'stopped':
        this.#stopped.resolve();
        break;
      default:
        output satisfies never;
    }
  }
}
