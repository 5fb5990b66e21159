/**
 * Port mapping: has the routers that this machine goes out through lead a UDP port to it, and keeps it so. Sans-IO: `handle`,
 * `poll`, `deadline`.
 *
 * A gateway is believed as far as its own answers go: what comes from other addresses, or answers nothing that was asked, is
 * dropped and counted; an outer address that no peer can reach is shown, but not announced.
 */
import type { Crypto } from '#core/crypto.ts';
import { after, type MonotonicMs, monotonicMs, type Now } from '#core/time.ts';
import type { AddressFamily, Endpoint } from '#wire/endpoint.ts';
import { classOf } from '../path/address-class.ts';
import type { PortMapInput, PortMapOutput, PortMapSummary, Uplink } from './io.ts';
import { earliest } from './timing.ts';
import { UplinkMapper } from './uplink-mapper.ts';

const maxUplinks = 6;
/** The end of the program does not wait longer for a gateway. */
const stopMs = 1000;
/** Of kinds of trouble; a gateway cannot make up new ones. */
const maxFaultKinds = 32;

export interface PortMapperOptions {
  readonly crypto: Crypto;
  /** The port to be reached, of each family. */
  readonly ports: ReadonlyMap<AddressFamily, number>;
  /** 32 secret bytes of this device, the same at every start. */
  readonly nonceKey: Uint8Array;
}

export const uplinkKey = ({ family, interface: name, gateway, local }: Uplink): string =>
  `${family} ${name} ${gateway} ${local}`;

export class PortMapper {
  readonly #options: PortMapperOptions;
  readonly #uplinks = new Map<string, UplinkMapper>();
  readonly #faults = new Map<string, number>();
  #outputs: PortMapOutput[] = [];
  #httpIds = 0;
  #shown = '';
  /** Being given back, and until when that is waited for. */
  #stopUntil: MonotonicMs | undefined;
  #isStopped = false;

  constructor(options: PortMapperOptions) {
    this.#options = options;
  }

  handle(input: PortMapInput, now: Now): void {
    const at = now.monotonic;
    if (this.#isStopped) return;
    this.#apply(input, at);
    for (const uplink of this.#uplinks.values()) uplink.wake(at, this.#stopUntil !== undefined);
    if (this.#stopUntil !== undefined) this.#stop(at, this.#stopUntil);
    this.#show(at);
  }

  poll(): PortMapOutput | undefined {
    return this.#outputs.shift();
  }

  deadline(): MonotonicMs | undefined {
    if (this.#isStopped) return undefined;
    const all = [...this.#uplinks.values()].map((uplink) => uplink.deadline());
    const at = earliest([this.#stopUntil, ...all]);
    return at === undefined ? undefined : monotonicMs(at);
  }

  /** Where peers may reach this machine, as the gateways say. */
  get mapped(): readonly Endpoint[] {
    if (this.#stopUntil !== undefined) return [];
    return [...this.#uplinks.values()].flatMap(({ mapped }) => mapped.filter(isUsable));
  }

  summary(now: Now): PortMapSummary {
    const at = now.monotonic;
    return {
      uplinks: [...this.#uplinks.values()].map((uplink) => uplink.report(at, isUsable)),
      faults: this.#faults,
    };
  }

  #apply(input: PortMapInput, at: MonotonicMs): void {
    switch (input.type) {
      case 'uplinks':
        this.#setUplinks(input.uplinks, input.changed, at);
        break;
      case 'datagram':
        this.#uplinks.get(input.uplink)?.datagram(input.channel, input.remote, input.bytes, at);
        break;
      case 'port-closed':
        this.#uplinks.get(input.uplink)?.portClosed();
        break;
      case 'http-answer':
        for (const uplink of this.#uplinks.values()) {
          uplink.httpAnswer(input.id, input.status, input.body, at);
        }
        break;
      case 'http-failed':
        for (const uplink of this.#uplinks.values()) uplink.httpFailed(input.id, input.reason, at);
        break;
      case 'recheck':
        for (const uplink of this.#uplinks.values()) uplink.recheck(at);
        break;
      case 'stop':
        if (this.#stopUntil !== undefined) break;
        this.#stopUntil = after(at, stopMs);
        for (const uplink of this.#uplinks.values()) uplink.release(at);
        break;
      case 'tick':
        break;
      default:
        input satisfies never;
    }
  }

  /** What was mapped through an uplink that is gone lapses: nobody is there to be told. */
  #setUplinks(uplinks: readonly Uplink[], changed: boolean, at: MonotonicMs): void {
    if (this.#stopUntil !== undefined) return;
    const wanted = new Map(
      uplinks.slice(0, maxUplinks).map((uplink) => [uplinkKey(uplink), uplink] as const),
    );
    for (const key of this.#uplinks.keys()) if (!wanted.has(key)) this.#uplinks.delete(key);
    for (const [key, uplink] of wanted) {
      const known = this.#uplinks.get(key);
      if (known !== undefined) {
        if (changed) known.changed(at);
        continue;
      }
      const port = this.#options.ports.get(uplink.family);
      if (port === undefined) continue;
      const { crypto, nonceKey } = this.#options;
      const options = {
        ...{ crypto, nonceKey, key, uplink, port },
        emit: (output: PortMapOutput) => void this.#outputs.push(output),
        httpId: () => ++this.#httpIds,
        fault: (name: string) => this.#fault(name),
      };
      this.#uplinks.set(key, new UplinkMapper(options, at));
    }
  }

  #stop(at: MonotonicMs, until: MonotonicMs): void {
    const isDone = [...this.#uplinks.values()].every(({ isReleased }) => isReleased);
    if (!isDone && at < until) return;
    this.#isStopped = true;
    this.#uplinks.clear();
    this.#outputs.push({ type: 'stopped' });
  }

  #show(at: number): void {
    const shown = JSON.stringify([
      this.mapped,
      [...this.#uplinks.values()].map((uplink) => {
        const { protocols, mappings } = uplink.report(at, isUsable);
        return [protocols, mappings.map(({ external, usable }) => [external, usable])];
      }),
    ]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    this.#outputs.push({ type: 'changed' });
  }

  #fault(name: string): void {
    if (!this.#faults.has(name) && this.#faults.size >= maxFaultKinds) return;
    this.#faults.set(name, (this.#faults.get(name) ?? 0) + 1);
  }
}

/** A private outer address means a further NAT, whose port nobody has mapped. */
const isUsable = ({ address }: Endpoint) => classOf(address) === 'public';
