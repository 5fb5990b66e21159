/**
 * Which node of the server to log in to: where the user said, and wherever else the cluster's signed list names. Whoever was
 * there last is asked again until it fails; then each of the others in turn, from a random one on, so that the clients of a
 * node that is lost spread over those that are left. Of a node's listeners the one like that which worked last comes first: a
 * firewall that lets only one port out does so towards all nodes. The other listeners follow when all nodes have failed there.
 */
import type { Crypto } from '#core/crypto.ts';
import { openDocument } from '#wire/signed.ts';
import { parseServerUrl, type ServerUrl } from './server-url.ts';

const maxServers = 32;

export class ServerChoice {
  readonly #crypto: Crypto;
  readonly #random: () => number;
  /** What was asked last, and failed since the last connection. */
  #current: string | undefined;
  readonly #failed = new Set<string>();
  /** Where there was a connection last. */
  #worked: string | undefined;

  constructor(crypto: Crypto, random: () => number = Math.random) {
    this.#crypto = crypto;
    this.#random = random;
  }

  /**
   * The one to ask now.
   * @param given what the user logged in to; @param nodeList as the cluster signed it, @param clusterKey its key.
   */
  pick(
    given: ServerUrl,
    nodeList: Uint8Array | undefined,
    clusterKey: Uint8Array | undefined,
  ): ServerUrl {
    const servers = this.#servers(given, nodeList, clusterKey);
    const current = servers.find(({ text }) => text === this.#current);
    if (current !== undefined && !this.#failed.has(current.text)) return current;
    let left = servers.filter(({ text }) => !this.#failed.has(text));
    if (left.length === 0) {
      // All have failed: another round, though not with the one that was just asked when there is another.
      this.#failed.clear();
      const others = servers.filter(({ text }) => text !== this.#current);
      left = others.length > 0 ? others : servers;
    }
    const first =
      this.#current === undefined ? left.find(({ text }) => text === given.text) : undefined;
    // In the order of the choice: what comes first for its node goes before what comes second for any.
    const best = left.filter(({ rank }) => rank === left[0]?.rank);
    const chosen = first ?? best[Math.floor(this.#random() * best.length)] ?? given;
    this.#current = chosen.text;
    return chosen;
  }

  /** The one that was picked last has failed, or its connection has ended. */
  failed(): void {
    if (this.#current !== undefined) this.#failed.add(this.#current);
  }

  connected(): void {
    this.#worked = this.#current;
    this.#failed.clear();
  }

  /** Another server altogether: what was learnt is of no use. */
  reset(): void {
    this.#current = undefined;
    this.#worked = undefined;
    this.#failed.clear();
  }

  /** How many there are to try before a pause is due. */
  count(
    given: ServerUrl,
    nodeList: Uint8Array | undefined,
    clusterKey: Uint8Array | undefined,
  ): number {
    return this.#servers(given, nodeList, clusterKey).length;
  }

  /** The best listener of every node first, then their second ones, and so on. */
  #servers(
    given: ServerUrl,
    nodeList: Uint8Array | undefined,
    clusterKey: Uint8Array | undefined,
  ): RankedUrl[] {
    const list =
      nodeList === undefined || clusterKey === undefined
        ? undefined
        : openDocument('node-list', nodeList, (message, signature) =>
            this.#crypto.ed25519Verify(clusterKey, message, signature),
          );
    const like = listenerOf(this.#worked ?? given.text);
    const named = (list?.nodes ?? []).flatMap(({ control }) =>
      control
        .flatMap((text) => parsed(text) ?? [])
        // A server that was reached by TLS is not asked without it.
        .filter((url) => isTls(url) || !isTls(given))
        .sort((a, b) => Number(listenerOf(b.text) === like) - Number(listenerOf(a.text) === like))
        .map((url, rank) => ({ ...url, rank })),
    );
    const isNamed = named.some(({ text }) => text === given.text);
    const all = isNamed ? named : [{ ...given, rank: 0 }, ...named];
    const servers = new Map<string, RankedUrl>();
    for (const url of all.sort((a, b) => a.rank - b.rank))
      if (!servers.has(url.text) && servers.size < maxServers) servers.set(url.text, url);
    return [...servers.values()];
  }
}

interface RankedUrl extends ServerUrl {
  /** 0: the first to try of its node. */
  readonly rank: number;
}

const isTls = ({ text }: ServerUrl): boolean => text.startsWith('buris:');

/** Scheme and port: what a firewall goes by. */
const listenerOf = (text: string): string => text.replace(/\/\/.*:/, '');

function parsed(text: string): ServerUrl | undefined {
  try {
    return parseServerUrl(text);
  } catch {
    return undefined;
  }
}
