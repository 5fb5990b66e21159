/**
 * Which node of the server to log in to: where the user said, and wherever else the cluster's signed list names. Whoever was
 * there last is asked again until it fails; then each of the others in turn, from a random one on, so that the clients of a
 * node that is lost spread over those that are left.
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
    const chosen = first ?? left[Math.floor(this.#random() * left.length)] ?? given;
    this.#current = chosen.text;
    return chosen;
  }

  /** The one that was picked last has failed, or its connection has ended. */
  failed(): void {
    if (this.#current !== undefined) this.#failed.add(this.#current);
  }

  connected(): void {
    this.#failed.clear();
  }

  /** Another server altogether: what was learnt is of no use. */
  reset(): void {
    this.#current = undefined;
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

  #servers(
    given: ServerUrl,
    nodeList: Uint8Array | undefined,
    clusterKey: Uint8Array | undefined,
  ): ServerUrl[] {
    const servers = new Map([[given.text, given]]);
    const list =
      nodeList === undefined || clusterKey === undefined
        ? undefined
        : openDocument('node-list', nodeList, (message, signature) =>
            this.#crypto.ed25519Verify(clusterKey, message, signature),
          );
    for (const node of list?.nodes ?? [])
      for (const text of node.control.slice(0, 1)) {
        const url = parsed(text);
        // A server that was reached by TLS is not asked without it.
        const downgrade = given.text.startsWith('buris:') && url?.text.startsWith('buri:') === true;
        if (url !== undefined && !downgrade && servers.size < maxServers)
          servers.set(url.text, url);
      }
    return [...servers.values()];
  }
}

function parsed(text: string): ServerUrl | undefined {
  try {
    return parseServerUrl(text);
  } catch {
    return undefined;
  }
}
