import type { Change, MemberView, NetworkFacts, PendingRequest } from '#wire/control.ts';
import { addressBytes } from '#wire/endpoint.ts';
import type { Presence } from '#wire/fields.ts';
import type { Membership } from '#wire/signed.ts';
import { hex, sameBytes } from '../bytes.ts';
import type { Crypto } from '../crypto.ts';
import { forgetOldest } from '../forget-oldest.ts';
import type { DeletionBook } from './deletions.ts';
import type { DeviceBook } from './devices.ts';
import { addressesAgree, type DocumentFault, openMembership, openRevocation } from './documents.ts';

/** A member whose documents have been verified. */
export interface MeshMember {
  readonly clientId: string;
  readonly nick: string;
  readonly presence: Presence;
  /** Ed25519 identity in hexadecimal. */
  readonly identity: string;
  readonly membership: Membership;
  /** The signed membership as it was received. */
  readonly statement: Uint8Array;
}

export interface Revoked {
  readonly clientId: string;
  readonly serial: number;
  readonly issuedAt: number;
  readonly bytes: Uint8Array;
}

/** Revocations remembered for one network; the oldest go first, long after the memberships they beat have expired. */
export const maxRevocations = 4096;

export interface Trust {
  readonly crypto: Crypto;
  readonly clusterKey: Uint8Array;
  readonly devices: DeviceBook;
  readonly deletions: DeletionBook;
  /** Told of everything that was not believed. */
  readonly reject: (fault: DocumentFault) => void;
}

/** One network as its server last described it; nothing gets in that was not verified. */
export class NetworkView {
  readonly id: string;
  revision = 0;
  state: 'member' | 'pending' = 'pending';
  /** Whether this client takes part (go-online, go-offline). */
  active = false;
  facts: NetworkFacts;
  pending: readonly PendingRequest[] = [];
  /** A `resync` was asked for and not answered yet: deltas are of no use until the view comes. */
  awaitsView = false;
  readonly members = new Map<string, MeshMember>();
  readonly revocations = new Map<string, Revoked>();
  readonly #trust: Trust;

  constructor(id: string, facts: NetworkFacts, trust: Trust) {
    this.id = id;
    this.facts = facts;
    this.#trust = trust;
  }

  /** Replaces the members by those of a view that are believed. */
  replaceMembers(members: readonly MemberView[]): void {
    const previous = new Map(this.members);
    this.members.clear();
    for (const entry of members) this.#accept(entry, previous.get(entry.clientId));
  }

  applyChange(change: Change): void {
    switch (change.op) {
      case 'member':
        this.#accept(change.member, this.members.get(change.member.clientId));
        return;
      case 'gone':
        this.#revoke(change.clientId, change.revocation);
        return;
      case 'facts':
        this.facts = change.facts;
        return;
      case 'pending':
        this.pending = change.pending;
        return;
      default:
        change satisfies never;
    }
  }

  setPresence(clientId: string, presence: Presence): boolean {
    const member = this.members.get(clientId);
    if (member === undefined || member.presence === presence) return false;
    this.members.set(clientId, { ...member, presence });
    return true;
  }

  /** Of all members: whoever is in neither list is offline. */
  setPresences(online: readonly string[], unconfirmed: readonly string[]): boolean {
    const [isOnline, isUnconfirmed] = [new Set(online), new Set(unconfirmed)];
    let isChanged = false;
    for (const clientId of [...this.members.keys()]) {
      const presence = isOnline.has(clientId)
        ? 'online'
        : isUnconfirmed.has(clientId)
          ? 'unconfirmed'
          : 'offline';
      isChanged = this.setPresence(clientId, presence) || isChanged;
    }
    return isChanged;
  }

  memberByIdentity(identity: string): MeshMember | undefined {
    for (const member of this.members.values()) if (member.identity === identity) return member;
    return undefined;
  }

  /** Remembers a revocation, wherever it came from: a delta, a view, or the cache. */
  acceptRevocation(bytes: Uint8Array): { identity: string; serial: number } | undefined {
    const { crypto, clusterKey, reject } = this.#trust;
    const opened = openRevocation(crypto, clusterKey, bytes);
    if (!opened.ok) {
      reject(opened.fault);
      return undefined;
    }
    if (opened.document.network !== this.id) {
      reject('revocation-of-another');
      return undefined;
    }
    const identity = hex(opened.document.identity);
    const held = this.revocations.get(identity);
    const { clientId, issuedAt, serial } = opened.document;
    if (held !== undefined && held.serial >= serial) return { identity, serial: held.serial };
    this.revocations.delete(identity);
    this.revocations.set(identity, { clientId, serial, issuedAt, bytes });
    forgetOldest(this.revocations, maxRevocations);
    return { identity, serial };
  }

  /** A revocation that another member told: whom it removed, undefined when it is not believed. */
  revoke(bytes: Uint8Array): { identity: string; clientId: string | undefined } | undefined {
    const revoked = this.acceptRevocation(bytes);
    if (revoked === undefined) return undefined;
    const { identity, serial } = revoked;
    const member = this.memberByIdentity(identity);
    if (member === undefined || member.membership.serial > serial) {
      return { identity, clientId: undefined };
    }
    this.members.delete(member.clientId);
    return { identity, clientId: member.clientId };
  }

  #revoke(clientId: string, bytes: Uint8Array): void {
    const revoked = this.acceptRevocation(bytes);
    if (revoked === undefined) return;
    const member = this.members.get(clientId);
    if (member === undefined) return;
    if (member.identity !== revoked.identity) {
      this.#trust.reject('revocation-of-another');
    } else if (member.membership.serial <= revoked.serial) {
      this.members.delete(clientId);
    }
  }

  /** An entry that is not believed leaves what was believed before as it was. */
  #accept(entry: MemberView, held: MeshMember | undefined): void {
    const verified = this.#verify(entry, held);
    if (typeof verified !== 'string') {
      this.members.set(entry.clientId, verified);
      return;
    }
    this.#trust.reject(verified);
    const stillBelieved = verified === 'membership-stale' && held !== undefined;
    if (stillBelieved) {
      this.members.set(held.clientId, { ...held, nick: entry.nick, presence: entry.presence });
    }
  }

  #verify(entry: MemberView, held: MeshMember | undefined): MeshMember | DocumentFault {
    const { crypto, clusterKey, devices, reject } = this.#trust;
    let membership = held?.membership;
    if (held === undefined || !sameBytes(held.statement, entry.statement)) {
      const opened = openMembership(crypto, clusterKey, entry.statement);
      if (!opened.ok) return opened.fault;
      membership = opened.document;
    }
    if (membership === undefined) return 'membership-malformed';
    const fault = this.#inconsistency(entry, membership, held);
    if (fault !== undefined) return fault;
    const identity = hex(membership.identity);
    if (devices.held(entry.certificate, identity) === undefined) {
      const device = devices.accept(entry.certificate);
      if (device.ok) {
        if (device.document.identity !== identity) return 'membership-of-another';
      } else if (device.fault === 'certificate-stale' && devices.get(identity) !== undefined) {
        // The newer certificate that is held stays in use; the membership stands on its own.
        reject(device.fault);
      } else return device.fault;
    }
    const { clientId, nick, presence, statement } = entry;
    return { clientId, nick, presence, identity, membership, statement };
  }

  #inconsistency(
    entry: MemberView,
    membership: Membership,
    held: MeshMember | undefined,
  ): DocumentFault | undefined {
    if (membership.network !== this.id || membership.clientId !== entry.clientId) {
      return 'membership-of-another';
    }
    const { deletions } = this.#trust;
    const ipv4 = addressBytes(membership.ipv4);
    const ipv6 = addressBytes(membership.ipv6);
    if (ipv4 === undefined || ipv6 === undefined || !addressesAgree(ipv4, ipv6)) {
      return 'addresses-inconsistent';
    }
    const identity = hex(membership.identity);
    const revoked = this.revocations.get(identity);
    const beaten = Math.max(revoked?.serial ?? -1, deletions.get(this.id)?.serial ?? -1);
    if (membership.serial <= beaten) return 'membership-revoked';
    if (held?.identity === identity && membership.serial < held.membership.serial) {
      return 'membership-stale';
    }
    return undefined;
  }
}
