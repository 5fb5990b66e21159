import type { Member } from '#core/member/member.ts';
import type { MeshMember, NetworkView } from '#core/mesh/network-view.ts';
import { describeNat } from '#core/path/reason.ts';
import type { Engine } from '#engine/engine.ts';
import type { MemberEntry, NetworkEntry, PathView, PeerView } from '#wire/local-api.ts';
import { adviceFor } from './advice.ts';
import type { SystemClock } from './clock.ts';

/** What is shown of the networks, from the state of the machine. */
export class Views {
  readonly #member: Member;
  readonly #clock: SystemClock;

  constructor(member: Member, clock: SystemClock) {
    this.#member = member;
    this.#clock = clock;
  }

  networks(): NetworkEntry[] {
    return [...this.#member.networks.values()]
      .map((network) => this.network(network))
      .toSorted((a, b) => a.name.localeCompare(b.name) || (a.id < b.id ? -1 : 1));
  }

  network(network: NetworkView): NetworkEntry {
    const { id, facts, state, active, pending } = network;
    return {
      id,
      name: facts.name,
      type: facts.type,
      online: state === 'member' && active,
      state,
      owner: facts.owner,
      locked: facts.locked,
      approval: facts.approval,
      password: facts.hasPassword,
      pending: [...pending],
      members: [...network.members.values()]
        .map((member) => this.#entry(network, member))
        .toSorted((a, b) => Number(b.self) - Number(a.self) || (a.clientId < b.clientId ? -1 : 1)),
    };
  }

  peer(clientId: string, engine: Engine): PeerView | undefined {
    const networks = [...this.#member.networks.values()].filter((network) =>
      network.members.has(clientId),
    );
    const [network] = networks;
    const member = network?.members.get(clientId);
    if (network === undefined || member === undefined) return undefined;
    const { self: _, ...entry } = this.#entry(network, member);
    const peer = this.#member.manager.peers.byClientId(clientId);
    const counters = peer && engine.peerCounters(peer.index);
    const handshakeAt = peer?.lastHandshakeAt;
    const view = peer && this.#member.manager.pathView(peer);
    return {
      ...entry,
      presence: peer?.pair.presence ?? entry.presence,
      networks: networks.map(({ facts }) => facts.name),
      session: {
        established: peer !== undefined && this.#member.manager.isUp(peer),
        ...(peer?.suite === undefined ? {} : { suite: peer.suite }),
        ...(handshakeAt === undefined
          ? {}
          : { lastHandshakeAgoMs: Math.round(this.#clock.now().monotonic - handshakeAt) }),
        sentBytes: counters?.sentBytes ?? 0,
        receivedBytes: counters?.receivedBytes ?? 0,
      },
      candidates: view === undefined ? [] : [...view.candidates],
      ...(view === undefined
        ? {}
        : {
            nat: { here: describeNat(view.nats.here), there: describeNat(view.nats.there) },
            advice: adviceFor(entry.path, view.nats),
          }),
    };
  }

  #entry(network: NetworkView, member: MeshMember): MemberEntry {
    const { clientId, nick, membership } = member;
    const self = clientId === this.#member.clientId;
    return {
      clientId,
      nick,
      ipv4: membership.ipv4,
      ipv6: membership.ipv6,
      presence: self ? this.#ownPresence(network) : member.presence,
      self,
      path: self ? { kind: 'none' } : this.#path(network, member),
    };
  }

  #ownPresence(network: NetworkView): 'online' | 'offline' {
    return this.#member.isSynchronised && network.active ? 'online' : 'offline';
  }

  #path(network: NetworkView, { clientId, presence, membership }: MeshMember): PathView {
    const { manager, secrets } = this.#member;
    const peer = manager.peers.byClientId(clientId);
    if (peer === undefined) {
      if (presence === 'offline') return { kind: 'none' };
      if (!network.active) return { kind: 'none', reason: 'you are offline in this network' };
      if (!secrets.has(network.id)) {
        return { kind: 'unreachable', reason: 'the secret of the network is not here: join again' };
      }
      const now = this.#member.bestTime(this.#clock.now());
      const reason =
        membership.notAfter < now
          ? 'its membership has expired: the server has not renewed it'
          : 'its membership or certificate does not allow a tunnel';
      return { kind: 'unreachable', reason };
    }
    const { candidates: _, nats: __, ...path } = manager.pathView(peer);
    if (path.kind !== 'direct' && path.kind !== 'relayed') {
      return presence === 'offline' ? { kind: 'none' } : path;
    }
    if (peer.failure === 'psk-mismatch') {
      const reason = 'the two sides derive different keys: one has not heard of a change yet';
      return { ...path, kind: 'unreachable', reason };
    }
    if (peer.failure === 'bad-key') {
      return { ...path, kind: 'unreachable', reason: 'its tunnel key is unusable' };
    }
    if (peer.lastHandshakeAt !== undefined || manager.isUp(peer)) return path;
    return { ...path, kind: 'establishing', reason: 'the tunnel handshake is under way' };
  }
}
