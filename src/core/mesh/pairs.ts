import type { Presence } from '#wire/fields.ts';
import { hex } from '../bytes.ts';
import type { AeadSuite } from '../crypto.ts';
import type { WallMs } from '../time.ts';
import type { Device, DeviceBook } from './devices.ts';
import { inForce } from './documents.ts';
import type { MeshMember, NetworkView } from './network-view.ts';
import { mayTalk, type Side, strongest, type Verdict } from './policy.ts';

/** What the pre-shared key of a pair is made of: the common networks as this client sees them (protocol §9). */
export interface CommonView {
  /** End-to-end secrets of the common networks, in no particular order. */
  readonly secrets: readonly Uint8Array[];
  /** Sum of the common networks' epochs modulo 2^32. */
  readonly epoch: number;
}

/** Another client with which this one shares a network. */
export interface Pair {
  readonly clientId: string;
  readonly nick: string;
  /** Ed25519 identity in hexadecimal. */
  readonly identity: string;
  readonly tunnelKey: Uint8Array;
  readonly suite: AeadSuite;
  readonly extensionVersion: number;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly presence: Presence;
  readonly verdict: Verdict;
  /** Networks that both are members of, whether online in them or not, and whose secret is held. */
  readonly networks: readonly string[];
  /** The current view of the common networks, then earlier ones: at most `maxCommonViews`. */
  readonly views: readonly CommonView[];
  /** Changes exactly when the pre-shared keys of the pair do. */
  readonly viewsKey: string;
}

export type PairFault = 'address-clash' | 'tunnel-key-clash' | 'certificate-expired';

/** Views tried by an initiator before the pair is brought up to date by the server (protocol §9). */
export const maxCommonViews = 4;

export interface OwnSide {
  readonly identity: string;
  readonly tunnelKey: Uint8Array;
  readonly suites: readonly string[];
  readonly extensionVersion: number;
}

interface HistoryEntry {
  readonly key: string;
  readonly view: CommonView;
}

interface Draft {
  readonly member: MeshMember;
  readonly device: Device;
  readonly networks: readonly NetworkView[];
  readonly verdict: Verdict;
  readonly presence: Presence;
}

/** Computes the pairs; remembers earlier views of each, and who held a tunnel key first. */
export class PairBook {
  readonly #own: OwnSide;
  readonly #ownTunnelKey: string;
  #histories = new Map<string, HistoryEntry[]>();
  #tunnelKeyHolders = new Map<string, string>();

  constructor(own: OwnSide) {
    this.#own = own;
    this.#ownTunnelKey = hex(own.tunnelKey);
  }

  /** Every other client with a common network and a verdict other than `none`, by client id. */
  compute(
    networks: Iterable<NetworkView>,
    devices: DeviceBook,
    secrets: ReadonlyMap<string, Uint8Array>,
    time: WallMs,
    fault: (fault: PairFault) => void,
  ): Map<string, Pair> {
    const drafts = withoutClashes(this.#draft(networks, devices, secrets, time, fault), fault);
    const pairs = new Map<string, Pair>();
    const histories = new Map<string, HistoryEntry[]>();
    const views = new CommonViews(secrets);
    const holders = new Map<string, string>();
    for (const draft of drafts.values()) {
      const { tunnelKey } = draft.device;
      const holder = this.#tunnelKeyHolders.get(tunnelKey);
      const taken = holders.has(tunnelKey) || tunnelKey === this.#ownTunnelKey;
      // A certificate is no proof of possession: whoever showed the key first keeps it.
      if (
        taken ||
        (holder !== undefined && holder !== draft.member.identity && drafts.has(holder))
      ) {
        fault('tunnel-key-clash');
        continue;
      }
      holders.set(tunnelKey, draft.member.identity);
      const history = this.#history(draft, views);
      histories.set(draft.member.identity, history);
      if (draft.verdict !== 'none') {
        pairs.set(draft.member.clientId, this.#pair(draft, history));
      }
    }
    this.#histories = histories;
    this.#tunnelKeyHolders = holders;
    return pairs;
  }

  #draft(
    networks: Iterable<NetworkView>,
    devices: DeviceBook,
    secrets: ReadonlyMap<string, Uint8Array>,
    time: WallMs,
    fault: (fault: PairFault) => void,
  ): Map<string, Draft> {
    const drafts = new Map<string, Draft>();
    for (const network of networks) {
      const self = network.memberByIdentity(this.#own.identity);
      if (network.state !== 'member' || self === undefined || !secrets.has(network.id)) continue;
      const selfSide: Side = sideOf(self, network.active ? 'online' : 'offline', time);
      for (const member of network.members.values()) {
        const device = devices.get(member.identity);
        if (device === undefined || member.identity === this.#own.identity) continue;
        if (device.certificate.notAfter < time) {
          fault('certificate-expired');
          continue;
        }
        if (member.membership.ipv4 === self.membership.ipv4) {
          fault('address-clash');
          continue;
        }
        const peerSide = sideOf(member, member.presence, time);
        const verdict = mayTalk(network.facts.type, selfSide, peerSide);
        const held = drafts.get(member.identity);
        drafts.set(member.identity, {
          member: held !== undefined && newer(held.member, member) ? held.member : member,
          device,
          networks: [...(held?.networks ?? []), network],
          verdict: strongest(held?.verdict ?? 'none', verdict),
          presence: moreOnline(held?.presence ?? 'offline', member.presence),
        });
      }
    }
    return drafts;
  }

  #history(draft: Draft, views: CommonViews): HistoryEntry[] {
    const held = this.#histories.get(draft.member.identity) ?? [];
    const current = views.of(draft.networks);
    if (held[0]?.key === current.key) return held;
    const earlier = held.filter((entry) => entry.key !== current.key);
    return [current, ...earlier].slice(0, maxCommonViews);
  }

  #pair(draft: Draft, history: readonly HistoryEntry[]): Pair {
    const { member, device, verdict, presence } = draft;
    const { suites, tunnelKey, extensionVersion } = device.certificate;
    const aes = suites.includes('aes256gcm') && this.#own.suites.includes('aes256gcm');
    const suite = aes ? 'aes256gcm' : 'chacha20poly1305';
    const version = Math.min(extensionVersion, this.#own.extensionVersion);
    return {
      clientId: member.clientId,
      nick: member.nick,
      identity: member.identity,
      tunnelKey,
      suite,
      extensionVersion: version,
      ipv4: member.membership.ipv4,
      ipv6: member.membership.ipv6,
      presence,
      verdict,
      networks: draft.networks.map((network) => network.id),
      views: history.map((entry) => entry.view),
      viewsKey: [suite, version, ...history.map((entry) => entry.key)].join(' '),
    };
  }
}

/** The view of each set of networks, made once for the many members who share it. */
class CommonViews {
  readonly #secrets: ReadonlyMap<string, Uint8Array>;
  readonly #made = new Map<string, HistoryEntry>();

  constructor(secrets: ReadonlyMap<string, Uint8Array>) {
    this.#secrets = secrets;
  }

  of(networks: readonly NetworkView[]): HistoryEntry {
    const sorted = networks.length < 2 ? networks : networks.toSorted(byId);
    const ids = sorted.map((network) => network.id).join();
    const known = this.#made.get(ids);
    if (known !== undefined) return known;
    const view: CommonView = {
      secrets: sorted.map((network) => this.#secrets.get(network.id)!),
      epoch: sorted.reduce((sum, network) => (sum + network.facts.epoch) % 0x1_0000_0000, 0),
    };
    const entry = { key: `${view.secrets.map(hex).join()}/${view.epoch}`, view };
    this.#made.set(ids, entry);
    return entry;
  }
}

const byId = (a: NetworkView, b: NetworkView): number => (a.id < b.id ? -1 : 1);

const sideOf = (member: MeshMember, presence: Presence, time: WallMs): Side => ({
  role: member.membership.role,
  presence,
  inForce: inForce(member.membership, time),
});

const newer = (a: MeshMember, b: MeshMember): boolean =>
  a.membership.notBefore > b.membership.notBefore;

const presenceOrder: readonly Presence[] = ['offline', 'unconfirmed', 'online'];
const moreOnline = (a: Presence, b: Presence): Presence =>
  presenceOrder.indexOf(a) > presenceOrder.indexOf(b) ? a : b;

/** Two identities with one address: the cluster's newer statement holds. */
function withoutClashes(
  drafts: Map<string, Draft>,
  fault: (fault: PairFault) => void,
): Map<string, Draft> {
  const byAddress = new Map<string, Draft>();
  for (const draft of drafts.values()) {
    const held = byAddress.get(draft.member.membership.ipv4);
    if (held === undefined) byAddress.set(draft.member.membership.ipv4, draft);
    else {
      fault('address-clash');
      const loser = newer(held.member, draft.member) ? draft : held;
      drafts.delete(loser.member.identity);
      if (loser === held) byAddress.set(draft.member.membership.ipv4, draft);
    }
  }
  return drafts;
}
