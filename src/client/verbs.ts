import { randomBytes } from 'node:crypto';
import { BuriError } from '#core/errors.ts';
import type { Member } from '#core/member/member.ts';
import type { NetworkView } from '#core/mesh/network-view.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import type { OperationResult } from '#wire/control.ts';
import type { VerbRequest, VerbResponse } from '#wire/local-api.ts';
import { admissionKeys, newAdmission, unwrapSecret } from './admission.ts';
import type { Client } from './client.ts';
import type { Verbs } from './local-api.ts';
import { checkedName, clientNamed, type Named, networkNamed } from './names.ts';
import { netcheck } from './netcheck.ts';
import type { StateStore } from './state.ts';
import type { StatusSource } from './status.ts';
import { statusOf } from './status.ts';
import { until } from './until.ts';
import { Views } from './views.ts';

const done = { ok: true } as const;
const joinTimeoutText = 'not every member that is online has a tunnel yet';

/** The verbs of the local API, over a client. */
export function verbsOf(source: StatusSource): Verbs {
  const { client, store, engine, clock } = source;
  const network = (text: string) => networkNamed(memberOf(client).networks.values(), text);
  const views = () => new Views(memberOf(client), clock);
  return {
    status: async () => statusOf(source),
    doctor: async () => await (await import('./doctor/doctor.ts')).examine(source),
    login: (request, signal) => login(client, request, signal),
    logout: async () => {
      await client.logout();
      return done;
    },
    create: (request) => create(client, request),
    join: (request, signal) => join(source, request, signal),
    leave: async (request) => {
      await client.link.request({ op: 'leave', network: network(request.network).id });
      return done;
    },
    delete: async (request) => {
      await client.link.request({ op: 'delete', network: network(request.network).id });
      return done;
    },
    evict: (request) => aboutMember(client, 'evict', request),
    transfer: (request) => aboutMember(client, 'transfer', request),
    approve: (request) => aboutRequest(client, 'approve', request),
    reject: (request) => aboutRequest(client, 'reject', request),
    'set-nick': (request) => setNick(client, store, request),
    'set-pass': (request) => setPassword(client, request),
    'set-access': async ({ network: text, locked, approval }) => {
      await client.link.request({
        op: 'set-access',
        network: network(text).id,
        ...(locked === undefined ? {} : { locked }),
        ...(approval === undefined ? {} : { approval }),
      });
      return done;
    },
    'go-online': async (request) => {
      await client.link.request({ op: 'go-online', network: network(request.network).id });
      return done;
    },
    'go-offline': async (request) => {
      await client.link.request({ op: 'go-offline', network: network(request.network).id });
      return done;
    },
    list: async () => ({ networks: client.member === undefined ? [] : views().networks() }),
    network: async (request) => views().network(network(request.network)),
    peer: async ({ clientId: text }) => {
      const clientId = clientNamed(everybody(memberOf(client)), text);
      const view = views().peer(clientId, engine);
      if (view !== undefined) return view;
      throw new BuriError('client-unknown', `you share no network with ${clientId}`);
    },
    netcheck: (_request, signal) => netcheck(source, signal),
  };
}

async function login(
  client: Client,
  { url, nick, token, waitSeconds }: VerbRequest<'login'>,
  signal: AbortSignal,
): Promise<VerbResponse<'login'>> {
  const { clientId, ipv4, ipv6, pinnedKey } = await client.login({
    ...(url === undefined ? {} : { url }),
    ...(nick === undefined ? {} : { nick: checkedName(nick, 'the nickname') }),
    ...(token === undefined ? {} : { token }),
  });
  if (waitSeconds !== undefined) {
    const isOnline = () => client.member?.isSynchronised === true;
    await until(isOnline, waitSeconds, signal, () => 'the networks are not synchronised yet');
  }
  return { ok: true, clientId, ipv4, ipv6, ...(pinnedKey === undefined ? {} : { pinnedKey }) };
}

async function create(
  client: Client,
  { network, password }: VerbRequest<'create'>,
): Promise<VerbResponse<'create'>> {
  const name = checkedName(network, 'the network name');
  memberOf(client);
  const secret = new Uint8Array(randomBytes(32));
  const admission = await newAdmission(crypto, password ?? '', secret);
  const result = await client.link.request({ op: 'create', name, type: 'mesh', admission });
  const id = networkOf(result);
  await client.keepSecret(id, secret);
  return { ok: true, id, name, state: result.state ?? 'member' };
}

async function join(
  { client, store, clock }: StatusSource,
  { network, password, waitSeconds }: VerbRequest<'join'>,
  signal: AbortSignal,
): Promise<VerbResponse<'join'>> {
  const name = checkedName(network, 'the network name');
  memberOf(client);
  const known = await client.link.request({ op: 'admission', name });
  const keys = await keysFor(known, name, password ?? '');
  // Already in, or waiting, but without the secret: a device whose state was lost gets it again.
  const regains =
    known.state !== undefined &&
    known.network !== undefined &&
    known.wrappedSecret !== undefined &&
    store.settings.secrets[known.network] === undefined;
  const { verifier } = keys;
  const result = regains ? known : await client.link.request({ op: 'join', name, verifier });
  const id = networkOf(result);
  if (result.wrappedSecret === undefined) {
    throw new BuriError('protocol-error', 'the server did not hand out the wrapped secret');
  }
  await client.keepSecret(id, unwrapSecret(crypto, keys.wrappingKey, result.wrappedSecret));
  keys.wrappingKey.fill(0);
  const state = result.state ?? 'member';
  if (waitSeconds !== undefined && state === 'member') {
    const hasTunnels = () => isConnected(client, clock, id);
    await until(hasTunnels, waitSeconds, signal, () => joinTimeoutText);
  }
  const facts = client.member?.networks.get(id)?.facts;
  return { ok: true, id, name: facts?.name ?? name, state };
}

/** Argon2id over the password, with what the server says about the network. */
async function keysFor(known: Ok, name: string, password: string) {
  const { admission } = known;
  if (admission === undefined) {
    throw new BuriError('protocol-error', 'the server did not say how the network admits members');
  }
  if (admission.hasPassword && password === '') {
    throw new BuriError(
      'password-required',
      `the network ${JSON.stringify(name)} has a password; give it, or - to be asked for it`,
    );
  }
  if (!admission.hasPassword && password !== '') {
    throw new BuriError(
      'invalid-password',
      `the network ${JSON.stringify(name)} has no password; join it without one`,
    );
  }
  return await admissionKeys(crypto, password, admission.salt, admission.argon2);
}

/** Whether every other member that is online has a tunnel. */
function isConnected(client: Client, clock: StatusSource['clock'], id: string): boolean {
  const { member } = client;
  const network = member?.networks.get(id);
  if (member === undefined || network === undefined) return false;
  return new Views(member, clock)
    .network(network)
    .members.filter(({ self, presence }) => !self && presence === 'online')
    .every(({ path }) => path.kind === 'direct' || path.kind === 'relayed');
}

async function aboutMember(
  client: Client,
  op: 'evict' | 'transfer',
  { network: text, clientId: who }: VerbRequest<'evict'>,
) {
  const network = networkNamed(memberOf(client).networks.values(), text);
  const clientId = clientNamed(network.members.values(), who);
  await client.link.request({ op, network: network.id, clientId });
  return done;
}

async function aboutRequest(
  client: Client,
  op: 'approve' | 'reject',
  { network: text, clientId: who }: VerbRequest<'approve'>,
) {
  const network = networkNamed(memberOf(client).networks.values(), text);
  const clientId = clientNamed(network.pending, who);
  await client.link.request({ op, network: network.id, clientId });
  return done;
}

/** Offline it is remembered, and told at the next login. */
async function setNick(client: Client, store: StateStore, request: VerbRequest<'set-nick'>) {
  const nick = checkedName(request.nick, 'the nickname');
  if (client.link.state.kind === 'connected') await client.link.request({ op: 'set-nick', nick });
  store.update({ nick });
  await store.flush();
  return done;
}

/** Wraps the same secret under the new password: no tunnel notices. */
async function setPassword(client: Client, request: VerbRequest<'set-pass'>) {
  const member = memberOf(client);
  const network = networkNamed(member.networks.values(), request.network);
  const secret = member.secrets.get(network.id);
  if (secret === undefined) {
    throw new BuriError(
      'secret-missing',
      'the end-to-end secret of the network is not on this computer; join again with the password',
    );
  }
  const admission = await newAdmission(crypto, request.password ?? '', secret);
  await client.link.request({ op: 'set-pass', network: network.id, admission });
  return done;
}

type Ok = Extract<OperationResult, { ok: true }>;

function networkOf({ network }: Ok): string {
  if (network !== undefined) return network;
  throw new BuriError('protocol-error', 'the server did not say which network it is');
}

function memberOf({ member }: Client): Member {
  if (member !== undefined) return member;
  throw new BuriError('not-logged-in', "this computer is not logged in; use 'buri login'");
}

function* everybody({
  networks,
}: {
  networks: ReadonlyMap<string, NetworkView>;
}): Generator<Named> {
  for (const network of networks.values()) yield* network.members.values();
}
