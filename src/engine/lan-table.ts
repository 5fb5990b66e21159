import type { LanOptions } from './engine.ts';
import { type Prefix, parsePrefix } from './prefix-table.ts';

/** Groups of one peer that are kept apart; a peer with more gets all. */
export const MAX_GROUPS_PER_PEER = 256;

const NOBODY: readonly number[] = [];

interface Group {
  readonly prefix: Prefix;
  readonly members: number[];
}

interface LanPeer {
  ethernet: boolean;
  /** Undefined: it gets every group. */
  groups: readonly Prefix[] | undefined;
}

/**
 * Who gets what is for more than one: the peers, those of them in Ethernet mode, and the members of each multicast group.
 * Lookups allocate nothing; the arrays that they return are good until the next change.
 */
export class LanTable {
  readonly #peers = new Map<number, LanPeer>();
  readonly #everybody: number[] = [];
  readonly #unfiltered: number[] = [];
  readonly #ethernet: number[] = [];
  /** By hash of the address; of different groups with one hash. */
  readonly #groups = new Map<number, Group[]>();

  /** A peer gets everything until it is known what it wants. */
  addPeer(peer: number): void {
    if (this.#peers.has(peer)) return;
    this.#peers.set(peer, { ethernet: false, groups: undefined });
    this.#everybody.push(peer);
    this.#unfiltered.push(peer);
  }

  removePeer(peer: number): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    this.#leave(peer, known);
    remove(this.#everybody, peer);
    remove(this.#ethernet, peer);
    this.#peers.delete(peer);
  }

  /** Nothing happens to a peer that was not added. */
  set(peer: number, { ethernet, groups }: LanOptions): void {
    const known = this.#peers.get(peer);
    if (known === undefined) return;
    if (known.ethernet !== ethernet) {
      if (ethernet) this.#ethernet.push(peer);
      else remove(this.#ethernet, peer);
    }
    known.ethernet = ethernet;
    this.#leave(peer, known);
    known.groups = groupsOf(groups);
    if (known.groups === undefined) this.#unfiltered.push(peer);
    else for (const group of known.groups) this.#membersOf(group).push(peer);
  }

  /** All peers. */
  get everybody(): readonly number[] {
    return this.#everybody;
  }

  /** Those that get every group. */
  get unfiltered(): readonly number[] {
    return this.#unfiltered;
  }

  /** Those in Ethernet mode: who gets frames that are not IP. */
  get ethernet(): readonly number[] {
    return this.#ethernet;
  }

  isEthernet(peer: number): boolean {
    return this.#peers.get(peer)?.ethernet ?? false;
  }

  /** Those that joined this very group, without the unfiltered. The address is four words from `offset` on. */
  members(family: number, words: Int32Array, offset: number): readonly number[] {
    const hash = hashOf(family, words, offset);
    const groups = this.#groups.get(hash);
    if (groups === undefined) return NOBODY;
    for (let i = 0; i < groups.length; i++) {
      if (isGroup(groups[i]!, family, words, offset)) return groups[i]!.members;
    }
    return NOBODY;
  }

  #membersOf(prefix: Prefix): number[] {
    const hash = hashOf(prefix.family, prefix.words, 0);
    const groups = this.#groups.get(hash) ?? [];
    this.#groups.set(hash, groups);
    const known = groups.find((group) => isGroup(group, prefix.family, prefix.words, 0));
    if (known !== undefined) return known.members;
    const members: number[] = [];
    groups.push({ prefix, members });
    return members;
  }

  #leave(peer: number, { groups }: LanPeer): void {
    if (groups === undefined) {
      remove(this.#unfiltered, peer);
      return;
    }
    for (const prefix of groups) {
      const members = this.#membersOf(prefix);
      remove(members, peer);
      if (members.length === 0) this.#forget(prefix);
    }
  }

  #forget(prefix: Prefix): void {
    const hash = hashOf(prefix.family, prefix.words, 0);
    const others = (this.#groups.get(hash) ?? []).filter(
      (group) => !isGroup(group, prefix.family, prefix.words, 0),
    );
    if (others.length === 0) this.#groups.delete(hash);
    else this.#groups.set(hash, others);
  }
}

/** Each group once; undefined stands for all of them. */
function groupsOf(texts: LanOptions['groups']): Prefix[] | undefined {
  if (texts === 'all') return undefined;
  const prefixes = [...new Set(texts)].flatMap((text) => parsePrefix(text) ?? []);
  return prefixes.length > MAX_GROUPS_PER_PEER ? undefined : prefixes;
}

function hashOf(family: number, words: Int32Array, offset: number): number {
  let hash = family;
  for (let i = 0; i < 4; i++)
    hash = Math.imul(hash ^ (hash >>> 15) ^ words[offset + i]!, 0x9e3779b1);
  return hash;
}

function isGroup({ prefix }: Group, family: number, words: Int32Array, offset: number): boolean {
  if (prefix.family !== family) return false;
  for (let i = 0; i < 4; i++) if (prefix.words[i] !== words[offset + i]) return false;
  return true;
}

function remove(list: number[], value: number): void {
  const at = list.indexOf(value);
  if (at >= 0) list.splice(at, 1);
}
