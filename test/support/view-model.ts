/** What a client believes, from nothing but what the server sent it; and what it should believe. */
import assert from 'node:assert/strict';
import type { Db } from '#server/store/schema.ts';
import type { NetworkFacts, ServerMessage } from '#wire/control.ts';

interface ModelMember {
  readonly nick: string;
  readonly statement: string;
  presence: string;
}

export interface ModelNetwork {
  revision: number;
  readonly state: string;
  active: boolean;
  facts: NetworkFacts;
  readonly members: Map<string, ModelMember>;
}

/** Members whom a client was told to be offline, but for those who were on their way out of the network. */
export function toldOffline({ presences }: ViewModel): string[] {
  return presences.filter((text, i) => {
    const [, network, client, presence] = text.split(' ');
    if (presence !== 'offline') return false;
    const next = presences.slice(i + 1).find((later) => later.includes(`${network} ${client} `));
    return next?.startsWith('gone ') !== true;
  });
}

export class ViewModel {
  readonly networks = new Map<string, ModelNetwork>();
  /** Presences in the order told: `message network client presence`. */
  readonly presences: string[] = [];

  /** The network to resynchronise, when a delta does not fit. */
  apply(message: ServerMessage): string | undefined {
    switch (message.t) {
      case 'view': {
        const { network, revision, state, active, facts, members } = message;
        const known = new Map<string, ModelMember>();
        for (const member of members) {
          known.set(member.clientId, entry(member));
          this.presences.push(`view ${network} ${member.clientId} ${member.presence}`);
        }
        this.networks.set(network, { revision, state, active, facts, members: known });
        return undefined;
      }
      case 'delta':
        return this.#delta(message);
      case 'removed':
        this.networks.delete(message.network);
        return undefined;
      case 'presence': {
        const { network, clientId, presence } = message;
        const member = this.networks.get(network)?.members.get(clientId);
        if (member !== undefined) member.presence = presence;
        this.presences.push(`presence ${network} ${clientId} ${presence}`);
        return undefined;
      }
      case 'presences': {
        const { network, online, unconfirmed } = message;
        for (const [clientId, member] of this.networks.get(network)?.members ?? []) {
          const isOnline = online.includes(clientId);
          const other = unconfirmed.includes(clientId) ? 'unconfirmed' : 'offline';
          member.presence = isOnline ? 'online' : other;
          this.presences.push(`presences ${network} ${clientId} ${member.presence}`);
        }
        return undefined;
      }
      default:
        return undefined;
    }
  }

  #delta(delta: Extract<ServerMessage, { t: 'delta' }>): string | undefined {
    const known = this.networks.get(delta.network);
    if (known === undefined) return undefined;
    if (delta.to <= known.revision) return undefined;
    if (delta.from !== known.revision) return delta.network;
    known.revision = delta.to;
    if (delta.active !== undefined) known.active = delta.active;
    for (const change of delta.changes) {
      if (change.op === 'member') {
        known.members.set(change.member.clientId, entry(change.member));
        const { clientId, presence } = change.member;
        this.presences.push(`delta ${delta.network} ${clientId} ${presence}`);
      } else if (change.op === 'gone') {
        known.members.delete(change.clientId);
        this.presences.push(`gone ${delta.network} ${change.clientId} -`);
      } else if (change.op === 'facts') known.facts = change.facts;
    }
    return undefined;
  }
}

const entry = (member: {
  readonly nick: string;
  readonly statement: Uint8Array;
  readonly presence: string;
}): ModelMember => ({
  nick: member.nick,
  statement: Buffer.from(member.statement).toString('base64'),
  presence: member.presence,
});

/** Compares what a client believes with the database; presence with `online`, of those who are connected. */
export async function assertView(
  db: Db,
  clientId: string,
  model: ViewModel,
  online: ReadonlySet<string>,
): Promise<void> {
  const memberships = await db
    .selectFrom('memberships')
    .innerJoin('networks', 'networks.network_id', 'memberships.network_id')
    .select(['memberships.network_id', 'revision', 'active', 'name', 'owner', 'locked'])
    .where('client_id', '=', clientId)
    .execute();
  const joined = [...model.networks].filter(([, { state }]) => state === 'member');
  assert.deepEqual(
    joined.map(([id]) => id).sort(),
    memberships.map((row) => row.network_id).sort(),
    `networks of ${clientId}`,
  );
  for (const row of memberships) {
    const network = model.networks.get(row.network_id)!;
    const what = `network ${row.network_id} as ${clientId} sees it`;
    const { facts } = network;
    assert.deepEqual(
      [network.revision, network.active, facts.name, facts.owner, facts.locked],
      [row.revision, row.active === 1, row.name, row.owner, row.locked === 1],
      what,
    );
    const members = await db
      .selectFrom('memberships')
      .innerJoin('clients', 'clients.client_id', 'memberships.client_id')
      .select(['memberships.client_id', 'nick', 'statement', 'active'])
      .where('network_id', '=', row.network_id)
      .orderBy('memberships.client_id')
      .execute();
    // Nobody is told of its own presence.
    const self = network.members.get(clientId);
    if (self !== undefined) self.presence = '-';
    const presenceOf = (member: { client_id: string; active: number }) => {
      if (member.client_id === clientId) return '-';
      return member.active === 1 && online.has(member.client_id) ? 'online' : 'offline';
    };
    assert.deepEqual(
      [...network.members].sort(([a], [b]) => (a < b ? -1 : 1)).map(([id, m]) => ({ id, ...m })),
      members.map((member) => ({
        id: member.client_id,
        nick: member.nick,
        statement: Buffer.from(member.statement).toString('base64'),
        presence: presenceOf(member),
      })),
      what,
    );
  }
}
