import type { Mesh } from '../mesh/mesh.ts';
import type { WallMs } from '../time.ts';
import type { MemberOutput } from './io.ts';

/** A membership this close to its end should have been renewed long ago. */
const warnBeforeMs = 86_400_000;
/** The answer to a join brings the secret, and may come a little after the view of the network. */
const secretMayTakeMs = 5000;
/** Clocks differ by a little everywhere. */
const clockToleranceMs = 120_000;

/** Tells a person what needs one, and takes it back when it is over. */
export class MemberNotices {
  readonly #emit: (output: MemberOutput) => void;
  readonly #shown = new Set<string>();
  /** Networks without their secret, and since when. */
  #lackingSince: ReadonlyMap<string, WallMs> = new Map();

  constructor(emit: (output: MemberOutput) => void) {
    this.#emit = emit;
  }

  clock(offsetMs: number): void {
    const seconds = Math.round(Math.abs(offsetMs) / 1000);
    const direction = offsetMs > 0 ? 'behind' : 'ahead of';
    this.#set(
      'clock-wrong',
      Math.abs(offsetMs) > clockToleranceMs
        ? `this computer's clock is ${seconds} s ${direction} the server's; set it right`
        : undefined,
    );
  }

  networks(mesh: Mesh, time: WallMs): void {
    const lacking: string[] = [];
    const lackingSince = new Map<string, WallMs>();
    const ending: string[] = [];
    const ended: string[] = [];
    for (const network of mesh.networks.values()) {
      if (network.state !== 'member') continue;
      if (!mesh.secrets.has(network.id)) {
        const since = this.#lackingSince.get(network.id) ?? time;
        lackingSince.set(network.id, since);
        if (Math.abs(time - since) >= secretMayTakeMs) lacking.push(network.facts.name);
      }
      const notAfter = mesh.self(network)?.membership.notAfter;
      if (notAfter === undefined) continue;
      if (notAfter < time) ended.push(network.facts.name);
      else if (notAfter - time < warnBeforeMs) ending.push(network.facts.name);
    }
    this.#lackingSince = lackingSince;
    const names = (list: readonly string[]) => list.toSorted().join(', ');
    this.#set(
      'secret-missing',
      lacking.length > 0
        ? `the end-to-end secret of ${names(lacking)} is not on this computer: join again with the password`
        : undefined,
    );
    this.#set(
      'membership-ending',
      ending.length > 0
        ? `the membership in ${names(ending)} ends within a day, because the server has not renewed it; ` +
            'tunnels end with it'
        : undefined,
    );
    this.#set(
      'membership-ended',
      ended.length > 0
        ? `the membership in ${names(ended)} has ended, because the server has not renewed it`
        : undefined,
    );
  }

  #set(code: string, message: string | undefined): void {
    if (message !== undefined) {
      this.#shown.add(code);
      this.#emit({ type: 'notice', code, message });
    } else if (this.#shown.delete(code)) this.#emit({ type: 'clear-notice', code });
  }
}
