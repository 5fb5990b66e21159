import { Worker } from 'node:worker_threads';
import type { Endpoint } from '#wire/endpoint.ts';
import {
  type BridgeCommand,
  type BridgeReport,
  type BridgeSettings,
  bridgeCounterNames,
} from './bridge/messages.ts';
import type { ProxyChoice } from './proxy.ts';
import { targetOf } from './web-socket-target.ts';

export interface RelayBridgesOptions {
  /** Port of the engine's IPv4 socket. */
  readonly enginePort: number;
  readonly proxies: ProxyChoice;
  /** The way to a relay's WebSocket, or (undefined) that there is none now. */
  readonly onBridge: (relay: string, endpoint: Endpoint | undefined) => void;
}

export interface BridgeState {
  readonly relay: string;
  readonly connected: boolean;
  readonly urls: readonly string[];
  /** Why not. */
  readonly error?: { readonly code: string; readonly message: string };
}

const maxBridges = 8;

/**
 * Relays over TCP: for each a UDP port on the loopback interface whose datagrams travel in a WebSocket, so that the engine and all
 * above it know UDP only. The bytes are moved by a thread of their own, which exists while one is wanted.
 */
export class RelayBridges implements AsyncDisposable {
  readonly #options: RelayBridgesOptions;
  readonly #counters = new Float64Array(new SharedArrayBuffer(bridgeCounterNames.length * 8));
  readonly #wanted = new Map<string, BridgeState>();
  #worker: Worker | undefined;

  constructor(options: RelayBridgesOptions) {
    this.#options = options;
  }

  /** Connects to the first of these that answers, and again whenever that broke, until it is unwanted. */
  want(relay: string, urls: readonly string[]): void {
    if (!this.#wanted.has(relay) && this.#wanted.size >= maxBridges) return;
    this.#wanted.set(relay, { relay, urls, connected: false });
    const { proxies } = this.#options;
    const targets = urls.filter(isUrl).map((url) => {
      const proxy = proxies.proxyFor(targetOf(url));
      if (proxy === undefined) return { url, proxy };
      const { host, port, secure, text, authorization } = proxy;
      return { url, proxy: { host, port, secure, text, login: authorization() } };
    });
    this.#send({ type: 'open', relay, targets });
  }

  unwant(relay: string): void {
    if (!this.#wanted.delete(relay)) return;
    this.#send({ type: 'close', relay });
    if (this.#wanted.size === 0) void this.#end();
  }

  networkChanged(): void {
    if (this.#worker !== undefined) this.#send({ type: 'check' });
  }

  states(): BridgeState[] {
    return [...this.#wanted.values()];
  }

  counters(): Record<string, number> {
    return Object.fromEntries(
      bridgeCounterNames.map((name, index) => [name, this.#counters[index] ?? 0]),
    );
  }

  /** All of them, as at a logout. */
  async clear(): Promise<void> {
    this.#wanted.clear();
    await this.#end();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.clear();
  }

  #send(command: BridgeCommand): void {
    this.#worker ??= this.#start();
    this.#worker.postMessage(command);
  }

  #start(): Worker {
    const { enginePort } = this.#options;
    const settings: BridgeSettings = { enginePort, counters: this.#counters };
    const worker = new Worker(new URL('./bridge/worker.ts', import.meta.url), {
      workerData: settings,
    });
    worker.on('message', (report: BridgeReport) => {
      if (worker === this.#worker) this.#hear(report);
    });
    worker.on('error', (error) => {
      if (worker !== this.#worker) return;
      this.#worker = undefined;
      const message = error instanceof Error ? error.message : String(error);
      for (const { relay } of this.states()) this.#down(relay, 'bridge-failed', message);
    });
    return worker;
  }

  #hear(report: BridgeReport): void {
    const state = this.#wanted.get(report.relay);
    if (state === undefined) return;
    if (report.type === 'down') {
      this.#down(report.relay, report.code, report.reason);
      return;
    }
    const { relay, urls } = state;
    this.#wanted.set(relay, { relay, urls, connected: true });
    this.#options.onBridge(relay, { address: '127.0.0.1', port: report.port });
  }

  #down(relay: string, code: string, message: string): void {
    const state = this.#wanted.get(relay);
    if (state === undefined) return;
    this.#wanted.set(relay, {
      relay,
      urls: state.urls,
      connected: false,
      error: { code, message },
    });
    this.#options.onBridge(relay, undefined);
  }

  async #end(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }
}

function isUrl(text: string): boolean {
  return /^wss?:\/\//.test(text) && URL.canParse(text);
}
