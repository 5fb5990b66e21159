/** What must hold once nothing goes wrong any more: everybody sees what the server has, and whoever may talk talks. */
import type { NetworkView } from '#core/mesh/network-view.ts';
import type { World } from '../world.ts';
import type { Daemon } from './daemon.ts';
import { canTalkDirectly } from './site.ts';

interface MemberTruth {
  readonly clientId: string;
  readonly nick: string;
  readonly active: boolean;
  readonly statement: string;
}

interface NetworkTruth {
  readonly id: string;
  readonly name: string;
  readonly owner: string;
  readonly revision: number;
  readonly locked: boolean;
  readonly approval: string;
  readonly epoch: number;
  readonly members: ReadonlyMap<string, MemberTruth>;
  readonly waiting: readonly string[];
}

type Truth = ReadonlyMap<string, NetworkTruth>;

/** What is not as it must be yet, in words. `since`: packets count that arrived after it. */
export async function disagreements(world: World, since: number): Promise<string[]> {
  if (!world.server.isUp) return ['the server is down'];
  const truth = await readTruth(world);
  return world.daemons.flatMap((daemon) => {
    if (daemon.member?.isSynchronised !== true) return [`${daemon.name} is not synchronised`];
    return [...viewFaults(world, daemon, truth), ...pairFaults(world, daemon, truth, since)];
  });
}

async function readTruth(world: World): Promise<Truth> {
  const { db } = world.server.store;
  const networks = await db.selectFrom('networks').selectAll().execute();
  const members = await db
    .selectFrom('memberships')
    .innerJoin('clients', 'clients.client_id', 'memberships.client_id')
    .select(['network_id', 'clients.client_id as client', 'nick', 'active', 'statement'])
    .execute();
  const requests = await db.selectFrom('join_requests').selectAll().execute();
  return new Map(
    networks.map((row) => {
      const id = row.network_id;
      const mine = members.filter((member) => member.network_id === id);
      const truths = mine.map(({ client, nick, active, statement }): [string, MemberTruth] => [
        client,
        { clientId: client, nick, active: active === 1, statement: hexOf(statement) },
      ]);
      const waiting = requests.filter(({ network_id }) => network_id === id);
      return [
        id,
        {
          id,
          name: row.name,
          owner: row.owner,
          revision: Number(row.revision),
          locked: row.locked === 1,
          approval: row.approval,
          epoch: Number(row.epoch),
          members: new Map(truths),
          waiting: waiting.map(({ client_id }) => client_id).sort(),
        },
      ];
    }),
  );
}

function viewFaults(world: World, daemon: Daemon, truth: Truth): string[] {
  const self = daemon.clientId!;
  const views = daemon.member!.networks;
  const faults: string[] = [];
  const fault = (what: string) => faults.push(`${daemon.name}'s view: ${what}`);
  for (const id of views.keys()) {
    const network = truth.get(id);
    const belongs = network?.members.has(self) === true || network?.waiting.includes(self) === true;
    if (!belongs) fault(`${id} is shown, but the server does not have it`);
  }
  for (const network of truth.values()) {
    const view = views.get(network.id);
    const isMember = network.members.has(self);
    if (!isMember && !network.waiting.includes(self)) continue;
    if (view === undefined) fault(`${network.id} is missing`);
    else if (!isMember) {
      if (view.state !== 'pending') fault(`${network.id} is ${view.state}, not pending`);
      if (view.members.size > 0) fault(`${network.id} shows members to one who waits`);
      factFaults(network, view, fault);
    } else {
      if (view.revision !== network.revision) {
        fault(`${network.id} is r${view.revision}, not r${network.revision}`);
      }
      factFaults(network, view, fault);
      memberFaults(world, self, network, view, fault);
      if (!daemon.member!.secrets.has(network.id)) fault(`the secret of ${network.id} is missing`);
    }
  }
  return faults;
}

function factFaults(truth: NetworkTruth, view: NetworkView, fault: (what: string) => void): void {
  for (const name of ['name', 'owner', 'locked', 'approval', 'epoch'] as const) {
    const [is, should] = [view.facts[name], truth[name]];
    if (is !== should) fault(`${truth.id}: ${name} is ${is}, not ${should}`);
  }
}

function memberFaults(
  world: World,
  self: string,
  truth: NetworkTruth,
  view: NetworkView,
  fault: (what: string) => void,
): void {
  const { coordinator } = world.server;
  if (view.state !== 'member') fault(`${truth.id} is ${view.state}, not member`);
  if (view.active !== truth.members.get(self)!.active) fault(`${truth.id}: active ${view.active}`);
  const shown = [...view.members.keys()].sort().join(' ');
  const real = [...truth.members.keys()].sort().join(' ');
  if (shown !== real) fault(`${truth.id} has ${shown}, not ${real}`);
  for (const member of truth.members.values()) {
    const seen = view.members.get(member.clientId);
    if (seen === undefined) continue;
    const presence = member.active ? coordinator.presenceOf(member.clientId) : 'offline';
    const who = `${truth.id} ${member.clientId}`;
    if (seen.presence !== presence && member.clientId !== self) {
      fault(`${who} is ${seen.presence}, not ${presence}`);
    }
    if (seen.nick !== member.nick) fault(`${who} is called ${seen.nick}, not ${member.nick}`);
    if (hexOf(seen.statement) !== member.statement) fault(`${who} has another statement`);
  }
  const pending = view.pending.map(({ clientId }) => clientId).sort();
  const waiting = truth.owner === self ? truth.waiting : [];
  if (pending.join() !== waiting.join()) fault(`${truth.id}: ${pending.join()} wait`);
}

/** Clients with whom this one may have a tunnel now. */
function allowedFor(self: string, truth: Truth): Set<string> {
  const allowed = new Set<string>();
  for (const { members } of truth.values()) {
    if (members.get(self)?.active !== true) continue;
    for (const { clientId, active } of members.values()) {
      if (active && clientId !== self) allowed.add(clientId);
    }
  }
  return allowed;
}

function pairFaults(world: World, daemon: Daemon, truth: Truth, since: number): string[] {
  const self = daemon.clientId!;
  const member = daemon.member!;
  const faults: string[] = [];
  const allowed = allowedFor(self, truth);
  for (const [clientId, { verdict }] of member.pairs) {
    if (verdict === 'establish' && !allowed.has(clientId)) {
      faults.push(`${daemon.name} wants a tunnel with ${clientId}, with whom it may have none`);
    }
  }
  for (const clientId of allowed) {
    const other = world.daemonOf(clientId);
    const peer = member.manager.peers.byClientId(clientId);
    if (other === undefined || peer === undefined) {
      faults.push(`${daemon.name} has no peer ${clientId}`);
      continue;
    }
    const heardAt = world.lastDelivery.get(`${clientId} ${self}`) ?? -Infinity;
    const view = member.manager.pathView(peer);
    const isReached = view.kind === 'direct' || view.kind === 'relayed';
    const talks = heardAt >= since && isReached;
    if (talks && view.kind === 'relayed') {
      const isWrong = canTalkDirectly(daemon.site, other.site) || view.reason === undefined;
      if (isWrong) faults.push(`${daemon.name} reaches ${other.name} by a relay: ${view.reason}`);
    }
    if (talks) {
      faults.push(...lanFaults(daemon, peer.index, other));
      continue;
    }
    const seen = `${view.kind}, ${view.reason ?? 'no reason'}`;
    const places = `${daemon.site.name} from ${other.site.name}`;
    faults.push(`${daemon.name} hears nothing of ${other.name}, ${places}: ${seen}`);
  }
  return faults;
}

/** Whoever talks has told which multicast groups it takes. Those that everybody gets are not told. */
function lanFaults(daemon: Daemon, peer: number, other: Daemon): string[] {
  const told = daemon.plane!.lan.get(peer)?.groups;
  const is = told === undefined || told === 'all' ? String(told) : told.join();
  const should = other.groups
    .filter((group) => group !== '224.0.0.251' && group !== 'ff02::fb')
    .toSorted()
    .join();
  return is === should ? [] : [`${daemon.name} knows ${other.name}'s groups as ${is}: ${should}`];
}

/** Everybody sends a packet to whomever it shares a network with and was not heard by since then. */
export function talkToAll(world: World, since: number): void {
  for (const from of world.daemons) {
    for (const to of world.daemons) {
      const [sender, receiver] = [from.clientId, to.clientId];
      if (from === to || sender === undefined || receiver === undefined) continue;
      const heardAt = world.lastDelivery.get(`${sender} ${receiver}`) ?? -Infinity;
      if (heardAt < since && world.ledger.share(sender, receiver)) world.say(from, to);
    }
  }
}

const hexOf = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');
