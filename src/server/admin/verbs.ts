/** The operator's verbs with their requests: the same beside a running server and without one. */
import { z } from 'zod';
import { BuriError } from '#core/errors.ts';
import * as field from '#wire/fields.ts';
import { relayRows } from '../coordinator/relays/relay-store.ts';
import { renumber } from '../coordinator/renumber.ts';
import { createToken, listTokens, revokeToken } from '../coordinator/tokens.ts';
import { now, type ServerState } from '../state.ts';
import { readSetting } from '../store/settings.ts';
import { version } from '../version.ts';
import { listClients, listNetworks, removeClient, tokenEntry } from './actions.ts';
import { listRelays, removeRelay } from './relays.ts';

const maxUses = 1_000_000_000;

const requests = {
  url: z.strictObject({}),
  status: z.strictObject({}),
  'token-create': z.strictObject({
    uses: z.number().int().min(1).max(maxUses).nullable(),
    expiresInMs: field.milliseconds.nullable(),
    kind: z.enum(['device', 'relay']).default('device'),
  }),
  'token-list': z.strictObject({}),
  'token-revoke': z.strictObject({ id: z.string().max(64) }),
  clients: z.strictObject({}),
  networks: z.strictObject({}),
  relays: z.strictObject({}),
  remove: z.strictObject({ clientId: field.clientId }),
  'relay-remove': z.strictObject({ id: field.relayId }),
  renumber: z.strictObject({}),
} as const;

export type AdminVerb = keyof typeof requests;
export type AdminRequest<V extends AdminVerb> = z.input<(typeof requests)[V]>;
type Parsed<V extends AdminVerb> = z.output<(typeof requests)[V]>;

export const isAdminVerb = (verb: string): verb is AdminVerb => Object.hasOwn(requests, verb);

/** What only a running server knows. */
export interface Running {
  readonly url: string;
  readonly status: () => object;
}

/** BuriError: bad-request, token-not-found, client-not-found, relay-not-found. Without `running`, on the data of a server that is stopped. */
export async function runVerb(
  verb: AdminVerb,
  body: unknown,
  state: ServerState,
  running: Running | undefined,
): Promise<object> {
  switch (verb) {
    case 'url': {
      const url = running?.url ?? (await readSetting(state.store.db, 'url'));
      if (url === undefined)
        throw new BuriError('never-started', 'no server has run here yet; start it once');
      return { url };
    }
    case 'status':
      return running === undefined ? { running: false, version } : running.status();
    case 'token-create':
      return await tokenCreate(state, parsed(verb, body));
    case 'token-list': {
      const nowMs = now().wall;
      const rows = await listTokens(state.store.db);
      return { tokens: rows.map((row) => tokenEntry(row, nowMs)) };
    }
    case 'token-revoke':
      return await tokenRevoke(state, parsed(verb, body));
    case 'clients': {
      const presenceOf = (clientId: string) => state.coordinator.presenceOf(clientId);
      return { clients: await listClients(state.store.db, presenceOf) };
    }
    case 'networks':
      return { networks: await listNetworks(state.store.db) };
    case 'relays':
      return { relays: listRelays(await relayRows(state.store.db), state.coordinator.relays) };
    case 'relay-remove': {
      const { id } = parsed(verb, body);
      await state.coordinator.operate(now(), (tx) => removeRelay(tx, id));
      return { ok: true, id };
    }
    case 'remove': {
      const { clientId } = parsed(verb, body);
      const done = await state.coordinator.operate(now(), (tx, context) =>
        removeClient(tx, context, clientId),
      );
      return { ok: true, clientId, ...done };
    }
    case 'renumber': {
      const networks = await state.coordinator.operate(now(), renumber);
      return { ok: true, networks };
    }
    default:
      verb satisfies never;
      throw new Error('a verb without an action');
  }
}

function parsed<V extends AdminVerb>(verb: V, body: unknown): Parsed<V> {
  const result = requests[verb].safeParse(body);
  if (result.success) return result.data as Parsed<V>;
  const issue = result.error.issues[0];
  throw new BuriError('bad-request', `${issue?.path.join('.') || 'request'}: ${issue?.message}`);
}

async function tokenCreate(
  state: ServerState,
  { uses, expiresInMs, kind }: Parsed<'token-create'>,
): Promise<object> {
  const at = now();
  const expiresAt = expiresInMs === null ? null : at.wall + expiresInMs;
  const created = await state.coordinator.operate(at, async (tx, context) => ({
    value: await createToken(tx, context, { uses, expiresAt, kind }),
    events: [],
  }));
  return { token: created.token, ...tokenEntry(created.row, at.wall) };
}

async function tokenRevoke(state: ServerState, { id }: Parsed<'token-revoke'>): Promise<object> {
  const known = await state.coordinator.operate(now(), async (tx, context) => ({
    value: await revokeToken(tx, context, id),
    events: [],
  }));
  if (!known)
    throw new BuriError('token-not-found', `no token ${id}; 'buri server token list' shows them`);
  return { ok: true, id };
}
