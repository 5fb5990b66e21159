import { after, type MonotonicMs } from '#core/time.ts';
import { familyOf } from '#wire/endpoint.ts';
import type { CandidatePair } from './candidate-pair.ts';
import type { PathContext } from './context.ts';
import * as limits from './limits.ts';
import type { PairTable } from './pair-table.ts';
import type { Path } from './path.ts';
import { mtuSilenceMs, PathMtu } from './path-mtu.ts';

/** Follows the path MTU of the pair in use of one peer: sends the padded probes, and tells when it changes. */
export class MtuWatch {
  readonly #context: PathContext;
  readonly #peer: number;
  readonly #pairs: PairTable;
  /** What was told of the path in use. */
  #told: number | undefined;
  #suspectedSince: MonotonicMs | undefined;

  constructor(context: PathContext, peer: number, pairs: PairTable) {
    this.#context = context;
    this.#peer = peer;
    this.#pairs = pairs;
  }

  /** The largest packet of the inside that fits through the path in use in one piece, if that is known. */
  get mtuBytes(): number | undefined {
    const { current } = this.#pairs;
    const payload = current?.mtu?.payloadBytes;
    return current === undefined || payload === undefined
      ? undefined
      : payload - overheadBytes(current.path);
  }

  /** The path as it is now, when the pair in use has changed. */
  path(pair: CandidatePair): Path {
    pair.mtu ??= this.#begin(pair);
    this.#told = this.mtuBytes;
    return this.#told === undefined ? pair.path : { ...pair.path, mtuBytes: this.#told };
  }

  dataSent(now: MonotonicMs): void {
    this.#pairs.current?.mtu?.dataSent(now);
  }

  /** @param sendingSince when something was first sent that nothing has answered yet */
  silence(sendingSince: MonotonicMs | undefined, now: MonotonicMs): void {
    const at = this.silentAt(sendingSince);
    if (at === undefined || now < at) return;
    this.#suspectedSince = sendingSince;
    this.#pairs.current?.mtu?.suspect();
  }

  /** When that is long enough to be suspicious; undefined when it was suspected already. */
  silentAt(sendingSince: MonotonicMs | undefined): MonotonicMs | undefined {
    if (sendingSince === undefined || sendingSince === this.#suspectedSince) return undefined;
    return after(sendingSince, Math.max(mtuSilenceMs, 3 * (this.#pairs.current?.rttMs ?? 0)));
  }

  heard(now: MonotonicMs): void {
    this.#pairs.current?.mtu?.heard(now);
  }

  networkChanged(now: MonotonicMs): void {
    for (const pair of this.#pairs.values()) pair.mtu?.networkChanged(now);
  }

  /** A padded probe was answered. */
  answered(pair: CandidatePair, sizeBytes: number, now: MonotonicMs): void {
    this.#context.count('mtuProbesAnswered', 1);
    pair.mtu?.answered(sizeBytes, now);
    this.#tell();
  }

  wake(now: MonotonicMs): void {
    const { current } = this.#pairs;
    if (current?.mtu === undefined) return;
    for (const size of current.mtu.wake(current.rttMs, now)) {
      if (this.#context.gate.enterSpare(now)) {
        this.#context.sendPadded(this.#peer, current, size);
      } else current.mtu.withheld(size);
    }
    this.#tell();
  }

  deadline(): MonotonicMs | undefined {
    const { current } = this.#pairs;
    return current?.mtu?.dueAt(current.rttMs);
  }

  #begin({ path }: CandidatePair): PathMtu {
    const most = this.#context.innerMtuBytes + overheadBytes(path);
    return new PathMtu(limits.leastPayloadBytes[familyOf(path.remote.address)], most);
  }

  #tell(): void {
    const { current } = this.#pairs;
    const { mtuBytes } = this;
    const before = this.#told;
    if (current === undefined || mtuBytes === before) return;
    this.#told = mtuBytes;
    if (before !== undefined) {
      const isLower = mtuBytes !== undefined && mtuBytes < before;
      this.#context.count(isLower ? 'mtuLowered' : 'mtuRaised', 1);
    }
    const path = mtuBytes === undefined ? current.path : { ...current.path, mtuBytes };
    this.#context.emit({ type: 'path-mtu', peer: this.#peer, path });
  }
}

const overheadBytes = ({ prefix }: Path): number =>
  limits.transportOverheadBytes + (prefix?.length ?? 0);
