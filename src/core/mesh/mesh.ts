import { maxNetworksPerClient, type ServerMessageOf } from '#wire/control.ts';
import { peekDocument } from '#wire/signed.ts';
import { hex } from '../bytes.ts';
import type { Crypto } from '../crypto.ts';
import type { WallMs } from '../time.ts';
import { type Deleted, DeletionBook } from './deletions.ts';
import { DeviceBook } from './devices.ts';
import type { DocumentFault } from './documents.ts';
import { type MeshMember, NetworkView, type Revoked, type Trust } from './network-view.ts';
import { type OwnSide, type Pair, PairBook, type PairFault } from './pairs.ts';

export type MeshFault = DocumentFault | PairFault | 'gap' | 'too-many-networks';

export interface MeshOptions {
  readonly crypto: Crypto;
  /** Ed25519 key of the cluster: the pin. */
  readonly clusterKey: Uint8Array;
  readonly own: OwnSide;
}

/** What one server message asks of the caller besides computing the pairs again. */
export interface MeshOutcome {
  /** Networks whose view must be asked for, because a delta did not fit. */
  readonly resync: readonly string[];
  /** Networks that this client is not in any more. */
  readonly removed: readonly { readonly network: string; readonly reason: string }[];
}

export interface RevocationOutcome {
  readonly network: string;
  /** Ed25519 identity in hexadecimal; undefined when the whole network was deleted. */
  readonly identity: string | undefined;
  readonly outcome: MeshOutcome;
}

const nothing: MeshOutcome = { resync: [], removed: [] };

/** A network as it is kept on disk: documents as they were received, to be verified again when loaded. */
export interface CachedNetwork {
  readonly id: string;
  readonly view: Omit<ServerMessageOf<'view'>, 't'>;
  readonly revocations: readonly Uint8Array[];
}

/**
 * The networks of one client as the server described them (protocol §3, §4): applies views, deltas and presence, believes
 * nothing that is not signed as it must be, notices gaps, and computes with whom a tunnel is wanted.
 */
export class Mesh {
  /** What was not believed, by reason. */
  readonly faults = new Map<MeshFault, number>();
  readonly #trust: Trust;
  readonly #own: OwnSide;
  readonly #devices: DeviceBook;
  readonly #deletions: DeletionBook;
  readonly #networks = new Map<string, NetworkView>();
  readonly #secrets = new Map<string, Uint8Array>();
  readonly #pairs: PairBook;

  constructor({ crypto, clusterKey, own }: MeshOptions) {
    this.#devices = new DeviceBook(crypto);
    const reject = (fault: DocumentFault) => this.#count(fault);
    this.#deletions = new DeletionBook(crypto, clusterKey, reject);
    const [devices, deletions] = [this.#devices, this.#deletions];
    this.#trust = { crypto, clusterKey, devices, deletions, reject };
    this.#own = own;
    this.#pairs = new PairBook(own);
  }

  get networks(): ReadonlyMap<string, NetworkView> {
    return this.#networks;
  }

  get secrets(): ReadonlyMap<string, Uint8Array> {
    return this.#secrets;
  }

  /** Own entry in a network; undefined while the membership waits for approval. */
  self(network: NetworkView): MeshMember | undefined {
    return network.memberByIdentity(this.#own.identity);
  }

  /** The end-to-end secret of a network, as admission opened or made it. Never from the server in the clear. */
  setSecret(network: string, secret: Uint8Array): void {
    this.#secrets.set(network, secret);
  }

  /** What to tell the server at login, so that it sends deltas where it can. */
  known(): { network: string; revision: number }[] {
    return [...this.#networks.values()]
      .filter((network) => !network.awaitsView)
      .map((network) => ({ network: network.id, revision: network.revision }));
  }

  applyView(view: Omit<ServerMessageOf<'view'>, 't'>): MeshOutcome {
    let network = this.#networks.get(view.network);
    if (network === undefined) {
      if (this.#networks.size >= maxNetworksPerClient) {
        this.#count('too-many-networks');
        return nothing;
      }
      network = new NetworkView(view.network, view.facts, this.#trust);
      this.#networks.set(view.network, network);
    }
    network.revision = view.revision;
    network.state = view.state;
    network.active = view.active;
    network.facts = view.facts;
    network.pending = view.pending;
    network.awaitsView = false;
    for (const bytes of view.revocations?.toReversed() ?? []) {
      if (!this.isRevocationKnown(bytes)) network.acceptRevocation(bytes);
    }
    network.replaceMembers(view.members);
    this.#prune();
    return nothing;
  }

  /** All of a delta or nothing of it: one that does not continue what is held is answered by a resync. */
  applyDelta(delta: ServerMessageOf<'delta'>): MeshOutcome {
    const network = this.#networks.get(delta.network);
    if (network === undefined || network.revision !== delta.from || delta.to < delta.from) {
      this.#count('gap');
      return this.requestView(delta.network);
    }
    if (network.awaitsView) return nothing;
    for (const change of delta.changes) network.applyChange(change);
    network.revision = delta.to;
    if (delta.active !== undefined) network.active = delta.active;
    this.#prune();
    return nothing;
  }

  /** Asks for the whole view of a network once, however many deltas do not fit until it comes. */
  requestView(id: string): MeshOutcome {
    const network = this.#networks.get(id);
    if (network?.awaitsView) return nothing;
    if (network !== undefined) network.awaitsView = true;
    return { resync: [id], removed: [] };
  }

  /** Whether this revocation or deletion, or a later one, is held already, or is about a network that is none of ours. */
  isRevocationKnown(bytes: Uint8Array): boolean {
    const told = peekDocument('revocation', bytes);
    if (told === undefined) {
      const deleted = peekDocument('deletion', bytes);
      if (deleted === undefined) return false;
      return !this.#networks.has(deleted.network) || this.#deletions.holds(bytes);
    }
    const network = this.#networks.get(told.network);
    const held = network?.revocations.get(hex(told.identity));
    return network === undefined || (held !== undefined && held.serial >= told.serial);
  }

  /** A revocation or deletion that was passed on; undefined when it is not believed. */
  applyRevocation(bytes: Uint8Array): RevocationOutcome | undefined {
    const told = peekDocument('revocation', bytes);
    if (told === undefined) return this.#applyDeletion(bytes);
    const network = this.#networks.get(told.network);
    const revoked = network?.revoke(bytes);
    if (network === undefined || revoked === undefined) return undefined;
    const isOut = revoked.identity === this.#own.identity && revoked.clientId !== undefined;
    const outcome = isOut ? this.applyRemoved({ network: network.id, reason: 'evicted' }) : nothing;
    this.#prune();
    return { network: network.id, identity: revoked.identity, outcome };
  }

  /** An old one does not end a membership that was given later. */
  #applyDeletion(bytes: Uint8Array): RevocationOutcome | undefined {
    const network = this.#networks.get(peekDocument('deletion', bytes)?.network ?? '');
    const deleted = network && this.#deletions.accept(bytes);
    if (network === undefined || deleted === undefined) return undefined;
    if ((this.self(network)?.membership.serial ?? -1) > deleted.serial) return undefined;
    const outcome = this.applyRemoved({ network: network.id, reason: 'deleted' });
    return { network: network.id, identity: undefined, outcome };
  }

  /** The one that is held; without an identity the network's deletion. */
  revocation(network: string, identity: string | undefined): Revoked | Deleted | undefined {
    if (identity === undefined) return this.#deletions.get(network);
    return this.#networks.get(network)?.revocations.get(identity);
  }

  get deletions(): Iterable<Deleted> {
    return this.#deletions.values();
  }

  applyRemoved({ network, reason }: { network: string; reason: string }): MeshOutcome {
    const wasHeld = this.#networks.delete(network);
    if (!this.#secrets.delete(network) && !wasHeld) return nothing;
    this.#prune();
    return { resync: [], removed: [{ network, reason }] };
  }

  applyPresences({ network, online, unconfirmed }: ServerMessageOf<'presences'>): boolean {
    return this.#networks.get(network)?.setPresences(online, unconfirmed) ?? false;
  }

  applyPresence({ network, clientId, presence }: ServerMessageOf<'presence'>): boolean {
    return this.#networks.get(network)?.setPresence(clientId, presence) ?? false;
  }

  /** Nobody says any more who is online: members who were offline may be there by now. */
  presume(isPresent: (clientId: string) => boolean): boolean {
    let isChanged = false;
    for (const network of this.#networks.values()) {
      for (const { clientId, presence } of [...network.members.values()]) {
        if (presence !== 'offline' || !isPresent(clientId)) continue;
        isChanged = network.setPresence(clientId, 'unconfirmed') || isChanged;
      }
    }
    return isChanged;
  }

  /** Who was presumed to be there is not. */
  presumedWrongly(clientId: string): boolean {
    let isChanged = false;
    for (const network of this.#networks.values()) {
      isChanged = network.setPresence(clientId, 'offline') || isChanged;
    }
    return isChanged;
  }

  /** The server has named every network of this client: what it does not name is not one. */
  applySynchronised({ networks }: ServerMessageOf<'synchronised'>): MeshOutcome {
    const held = new Set([...this.#networks.keys(), ...this.#secrets.keys()]);
    const removed = [...held].filter((id) => !networks.includes(id));
    const unknown = networks.filter((id) => !this.#networks.has(id));
    for (const network of removed) this.applyRemoved({ network, reason: 'gone' });
    return { resync: unknown, removed: removed.map((network) => ({ network, reason: 'gone' })) };
  }

  /** The connection is new: no resync asked for on the old one will be answered. */
  connectionRenewed(): void {
    for (const network of this.#networks.values()) {
      if (!network.awaitsView) continue;
      // Revision 0 is in no log: the server sends the view.
      network.revision = 0;
      network.awaitsView = false;
    }
  }

  /** With whom a tunnel may exist at `time`, the best time known; by client id. */
  pairs(time: WallMs): Map<string, Pair> {
    return this.#pairs.compute(this.#networks.values(), this.#devices, this.#secrets, time, (f) =>
      this.#count(f),
    );
  }

  /** Another member's certificate, for signals and for whoever shows it. */
  device(identity: string) {
    return this.#devices.get(identity);
  }

  save(id: string): CachedNetwork | undefined {
    const network = this.#networks.get(id);
    if (network === undefined) return undefined;
    return {
      id,
      view: {
        network: network.id,
        // A view that is being asked for again must not be taken for current after a restart.
        revision: network.awaitsView ? 0 : network.revision,
        state: network.state,
        active: network.active,
        facts: network.facts,
        members: [...network.members.values()].flatMap((member) => {
          const certificate = this.#devices.get(member.identity)?.bytes;
          const { clientId, nick, presence, statement } = member;
          return certificate === undefined
            ? []
            : [{ clientId, nick, presence, certificate, statement }];
        }),
        pending: [...network.pending],
      },
      revocations: [...network.revocations.values()].map((revoked) => revoked.bytes),
    };
  }

  /**
   * Takes a saved state, verified like any other; presence from before is a guess to be checked.
   * @param isKnown clients that are worth asking although they were gone when this was saved.
   * @param deletions of networks, some of which may still be among those saved.
   */
  load(
    networks: readonly CachedNetwork[],
    isKnown: (clientId: string) => boolean = () => false,
    deletions: readonly Uint8Array[] = [],
  ): void {
    for (const bytes of deletions) this.#deletions.accept(bytes);
    for (const { id, view, revocations } of networks) {
      if (view.revision <= (this.#deletions.get(id)?.serial ?? -1)) continue;
      const network = new NetworkView(id, view.facts, this.#trust);
      this.#networks.set(id, network);
      for (const bytes of revocations) network.acceptRevocation(bytes);
      const members = view.members.map((member) => ({
        ...member,
        presence:
          member.presence === 'offline' && !isKnown(member.clientId)
            ? member.presence
            : ('unconfirmed' as const),
      }));
      this.applyView({ ...view, network: id, members });
    }
  }

  #prune(): void {
    const identities = new Set<string>();
    for (const network of this.#networks.values()) {
      for (const member of network.members.values()) identities.add(member.identity);
    }
    this.#devices.retain(identities);
  }

  #count(fault: MeshFault): void {
    this.faults.set(fault, (this.faults.get(fault) ?? 0) + 1);
  }
}
