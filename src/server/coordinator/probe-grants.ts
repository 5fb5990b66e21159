import { forgetOldest } from '#core/forget-oldest.ts';
import { maxLimiterKeys } from '#core/limiter.ts';
import type { AddressProof } from '#wire/control.ts';
import type { StunTokens } from '../stun-token.ts';
import { maxProbeWishes, probeGrantMs, probersPerAddress } from './limits.ts';

interface Grant {
  readonly prober: string;
  readonly untilMs: number;
}

/**
 * Who may send many probes where (protocol §8): only to addresses whose owners proved by tokens that they receive there, and
 * at most two clients at a time to one address. Bounded: the oldest wishes and addresses are forgotten first, which at worst
 * lets a third prober in.
 */
export class ProbeGrants {
  readonly #tokens: StunTokens | undefined;
  /** `prober target` to when the wish ends. */
  readonly #wishes = new Map<string, number>();
  readonly #grants = new Map<string, Grant[]>();

  constructor(tokens: StunTokens | undefined) {
    this.#tokens = tokens;
  }

  /** A client would like to probe another one. */
  wish(prober: string, target: string, nowMs: number): void {
    const key = `${prober} ${target}`;
    this.#wishes.delete(key);
    this.#wishes.set(key, nowMs + probeGrantMs);
    forgetOldest(this.#wishes, maxProbeWishes);
  }

  /**
   * The proven addresses of `target` that `prober` may probe from now on; none unless it asked to.
   * @param nowMs monotonic; the wall clock is for the tokens.
   */
  grant(
    prober: string,
    target: string,
    proofs: readonly AddressProof[],
    nowMs: number,
    wallMs: number,
  ): string[] {
    const wishedUntilMs = this.#wishes.get(`${prober} ${target}`) ?? 0;
    const tokens = this.#tokens;
    if (tokens === undefined || wishedUntilMs <= nowMs) return [];
    const proven = proofs.filter(({ address, token }) => tokens.verify(address, token, wallMs));
    const addresses = [...new Set(proven.map(({ address }) => address))];
    return addresses.filter((address) => this.#take(address, prober, nowMs));
  }

  #take(address: string, prober: string, nowMs: number): boolean {
    const alive = (this.#grants.get(address) ?? []).filter(({ untilMs }) => untilMs > nowMs);
    const others = alive.filter((grant) => grant.prober !== prober);
    const isFree = others.length < probersPerAddress;
    // One that holds a grant keeps its end: the next signal does not prolong it without a gap for others.
    const held = alive.find((grant) => grant.prober === prober);
    if (held !== undefined || !isFree) return held !== undefined;
    this.#grants.delete(address);
    this.#grants.set(address, [...others, { prober, untilMs: nowMs + probeGrantMs }]);
    forgetOldest(this.#grants, maxLimiterKeys);
    return true;
  }
}
