/** What a node tells the others, numbered and cut into parcels: what comes together travels together. */
import type { WallMs } from '#core/time.ts';
import {
  directFrom,
  encodeParcel,
  type FabricItem,
  maxParcelBytes,
  maxParcelItems,
} from './messages.ts';

export interface Outgoing {
  /** Undefined: to all nodes. */
  readonly to: string | undefined;
  readonly parcel: Uint8Array;
}

/** Items that wait; beyond, the oldest are dropped, and the receivers notice the missing number. */
const maxWaiting = 65_536;

export class Outbox {
  readonly #node: string;
  readonly #boot: string;
  readonly #waiting = new Map<string | undefined, FabricItem[]>();
  #count = 0;
  #toAll = 0;
  #direct = directFrom;

  constructor(node: string, boot: string) {
    this.#node = node;
    this.#boot = boot;
  }

  get isEmpty(): boolean {
    return this.#count === 0;
  }

  add(to: string | undefined, item: FabricItem): void {
    if (this.#count >= maxWaiting) this.drop();
    const waiting = this.#waiting.get(to);
    if (waiting === undefined) this.#waiting.set(to, [item]);
    else waiting.push(item);
    this.#count++;
  }

  /** Everything that waits, in order. */
  take(wall: WallMs): Outgoing[] {
    const out: Outgoing[] = [];
    for (const [to, items] of this.#waiting)
      for (let from = 0; from < items.length; from += maxParcelItems)
        this.#pack(to, items.slice(from, from + maxParcelItems), wall, out);
    this.#waiting.clear();
    this.#count = 0;
    return out;
  }

  /** Nobody can be told: the numbers go on, so that all see that something is missing. */
  drop(): void {
    if (this.#waiting.has(undefined)) this.#toAll++;
    this.#waiting.clear();
    this.#count = 0;
  }

  #pack(to: string | undefined, items: FabricItem[], wall: WallMs, out: Outgoing[]): void {
    const seq = to === undefined ? this.#toAll + 1 : this.#direct;
    const parcel = encodeParcel({ from: this.#node, boot: this.#boot, seq, time: wall, items });
    if (parcel.length > maxParcelBytes && items.length > 1) {
      const half = items.length >> 1;
      this.#pack(to, items.slice(0, half), wall, out);
      this.#pack(to, items.slice(half), wall, out);
      return;
    }
    if (to === undefined) this.#toAll++;
    else this.#direct++;
    out.push({ to, parcel });
  }
}
