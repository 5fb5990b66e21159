import { waysBytes, waysOf } from '#client/known-ways.ts';
import { type KnownWays, noKnownWays } from '#core/member/last-good.ts';
import type { CachedNetwork } from '#core/mesh/mesh.ts';
import { decodeServerMessage, encodeMessage } from '#wire/control.ts';
import type { VirtualClock } from '../clock.ts';
import { Violation } from './trace.ts';

/** Changes are gathered this long before they are written (`src/client/state.ts`). */
const gatherMs = 500;

export interface Self {
  readonly clientId: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly pools: readonly string[];
}

interface Settings {
  readonly self: Self | undefined;
  readonly nick: string;
  readonly certificate: Uint8Array | undefined;
  readonly secrets: Readonly<Record<string, Uint8Array>>;
  readonly serverTimeMs: number;
  readonly timestamp: Uint8Array | undefined;
}

interface SavedNetwork {
  readonly view: Uint8Array;
  readonly revocations: readonly Uint8Array[];
}

/** What a daemon keeps over its death: what was written, not what was about to be. */
export class Disk {
  readonly #clock: VirtualClock;
  #settings: Settings;
  #written: Settings;
  readonly #changed = new Map<string, CachedNetwork | undefined>();
  readonly #networks = new Map<string, SavedNetwork>();
  #ways: KnownWays = noKnownWays;
  #waysWritten: Uint8Array | undefined;
  #armed = false;
  #lives = 0;

  constructor(clock: VirtualClock, nick: string) {
    this.#clock = clock;
    this.#settings = {
      self: undefined,
      nick,
      certificate: undefined,
      secrets: {},
      serverTimeMs: 0,
      timestamp: undefined,
    };
    this.#written = this.#settings;
  }

  get settings(): Settings {
    return this.#settings;
  }

  update(change: Partial<Settings>): void {
    this.#settings = { ...this.#settings, ...change };
    this.#schedule();
  }

  saveNetwork(network: CachedNetwork): void {
    this.#changed.set(network.id, network);
    this.#schedule();
  }

  removeNetwork(id: string): void {
    this.#changed.set(id, undefined);
    this.#schedule();
  }

  saveWays(ways: KnownWays): void {
    this.#ways = ways;
    this.#schedule();
  }

  loadWays(): KnownWays {
    if (this.#waysWritten === undefined) return noKnownWays;
    const ways = waysOf(this.#waysWritten);
    if (ways === undefined) throw new Violation('what was saved of ways does not load');
    return ways;
  }

  flush(): void {
    this.#waysWritten = waysBytes(this.#ways);
    this.#written = this.#settings;
    for (const [id, network] of this.#changed) {
      if (network === undefined) this.#networks.delete(id);
      else {
        const view = encodeMessage({ t: 'view', ...network.view });
        this.#networks.set(id, { view, revocations: network.revocations });
      }
    }
    this.#changed.clear();
  }

  /** The process died: what was not written is lost. */
  crash(): void {
    this.#settings = this.#written;
    this.#ways = this.loadWays();
    this.#changed.clear();
    this.#lives += 1;
    this.#armed = false;
  }

  loadNetworks(): CachedNetwork[] {
    return [...this.#networks].map(([id, { view, revocations }]) => {
      const message = decodeServerMessage(view);
      if (typeof message === 'string' || message.t !== 'view') {
        throw new Violation(`the saved network ${id} does not load: ${JSON.stringify(message)}`);
      }
      const { t: _, ...rest } = message;
      return { id, view: rest, revocations };
    });
  }

  #schedule(): void {
    if (this.#armed) return;
    this.#armed = true;
    const life = this.#lives;
    this.#clock.in(gatherMs, () => {
      if (life !== this.#lives) return;
      this.#armed = false;
      this.flush();
    });
  }
}
