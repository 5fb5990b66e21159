/** What the world knows of who may talk and of what was said: judged against it, the machines' own opinion does not count. */
import type { Store } from '#server/store/store.ts';
import { marker, packetNumber, readAddresses } from './packets.ts';
import { Violation } from './trace.ts';

interface Sent {
  readonly sender: string;
  readonly receiver: string;
  readonly bytes: Uint8Array;
  /** By a member that plays by no rules: must never arrive. */
  readonly forged: boolean;
  delivered: boolean;
}

/** A pair of clients, whoever is named first. */
const pairOf = (a: string, b: string) => (a < b ? `${a} ${b}` : `${b} ${a}`);

export class Ledger {
  readonly #store: Store;
  readonly #sent: Sent[] = [];
  /** Counters that were accepted, by receiving key. */
  readonly #accepted = new Map<string, Set<number>>();
  /** Pairs that share a network, and since when others no longer do. */
  #sharing = new Set<string>();
  readonly #endedAt = new Map<string, number>();
  deliveries = 0;

  constructor(store: Store) {
    this.#store = store;
  }

  get packets(): number {
    return this.#sent.length;
  }

  /** The number of the next packet. */
  get nextNumber(): number {
    return this.#sent.length;
  }

  record(sender: string, receiver: string, bytes: Uint8Array, forged: boolean): void {
    this.#sent.push({ sender, receiver, bytes: bytes.slice(), forged, delivered: false });
  }

  accepted(receiveKey: string, counter: number): void {
    let counters = this.#accepted.get(receiveKey);
    if (counters === undefined) {
      counters = new Set();
      this.#accepted.set(receiveKey, counters);
    }
    if (counters.has(counter)) throw new Violation(`counter ${counter} of a key accepted twice`);
    counters.add(counter);
  }

  /** Reads who shares a network now. */
  async refresh(at: number): Promise<void> {
    const rows = await this.#store.db
      .selectFrom('memberships')
      .select(['network_id', 'client_id'])
      .orderBy('network_id')
      .orderBy('client_id')
      .execute();
    const members = new Map<string, string[]>();
    for (const { network_id, client_id } of rows) {
      const list = members.get(network_id) ?? [];
      list.push(client_id);
      members.set(network_id, list);
    }
    const sharing = new Set<string>();
    for (const list of members.values()) {
      for (const [i, a] of list.entries()) {
        for (const b of list.slice(i + 1)) sharing.add(pairOf(a, b));
      }
    }
    for (const pair of this.#sharing) if (!sharing.has(pair)) this.#endedAt.set(pair, at);
    this.#sharing = sharing;
  }

  share(a: string, b: string): boolean {
    return this.#sharing.has(pairOf(a, b));
  }

  /**
   * A packet came out of a device: it must be what its sender sent, once, to this receiver, from somebody with whom the
   * receiver shares a network as far as it can know.
   * @param upToDateAt the receiver has taken in everything that the server sent before.
   * @returns who sent it.
   */
  delivered(
    receiver: string,
    packet: Uint8Array,
    tunnelOf: string | undefined,
    upToDateAt: number,
  ): string {
    this.deliveries += 1;
    const number = packetNumber(packet);
    const sent = number === undefined ? undefined : this.#sent[number];
    const addresses = readAddresses(packet);
    if (sent === undefined || addresses === undefined) {
      throw new Violation(`${receiver} was delivered a packet that nobody sent`);
    }
    const what = `packet ${number} of ${sent.sender} to ${sent.receiver}`;
    if (sent.forged) throw new Violation(`${what} with a forged source was delivered`);
    if (sent.delivered) throw new Violation(`${what} was delivered twice`);
    if (sent.receiver !== receiver) throw new Violation(`${what} was delivered to ${receiver}`);
    if (sent.sender !== tunnelOf) {
      throw new Violation(`${what} came out of the tunnel with ${tunnelOf}`);
    }
    if (Buffer.compare(sent.bytes, packet) !== 0) throw new Violation(`${what} was changed`);
    sent.delivered = true;
    this.#judgePair(sent.sender, receiver, upToDateAt, what);
    return sent.sender;
  }

  #judgePair(sender: string, receiver: string, upToDateAt: number, what: string): void {
    if (this.share(sender, receiver)) return;
    const endedAt = this.#endedAt.get(pairOf(sender, receiver));
    if (endedAt === undefined) throw new Violation(`${what}: they never shared a network`);
    // What the server says arrives in order: something that it sent later has arrived, so this has, too.
    if (upToDateAt > endedAt) {
      throw new Violation(`${what}: the receiver knew that they share no network any more`);
    }
  }
}

/** No plaintext on a link. */
export function checkDatagram(bytes: Uint8Array): void {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  if (buffer.includes(marker))
    throw new Violation('a packet of the virtual LAN is on a link in the clear');
}
