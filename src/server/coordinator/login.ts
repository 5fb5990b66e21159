/** Login (protocol §4): who it is, whether it may enrol, and what it has missed. */
import { hex } from '#core/bytes.ts';
import type { Crypto } from '#core/crypto.ts';
import type { ClientMessage } from '#wire/control.ts';
import { type DeviceCertificate, openDocument, peekDocument } from '#wire/signed.ts';
import { prepared } from '../store/prepared.ts';
import type { ClientRow, Db } from '../store/schema.ts';
import type { Context } from './context.ts';
import type { CoordinatorEvent } from './events.ts';
import { maxCertificateBytes } from './limits.ts';
import { newClientId } from './names.ts';
import { clientChanged } from './operations/members.ts';
import { allocateAddress } from './pool.ts';
import type { ProvenCertificates } from './proven-certificates.ts';
import { Refusal } from './refusal.ts';
import { renewalOf, renewStatements } from './renewal.ts';
import { type Held, participationsOf, type SyncItem, synchronise } from './sync.ts';
import { redeemToken } from './tokens.ts';

export type LoginMessage = Extract<ClientMessage, { t: 'login' }>;

/** What the endpoint knows of the other side of an authenticated connection. */
export interface Remote {
  /** X25519 static key that the Noise handshake proved. */
  readonly controlKey: Uint8Array;
  /** Address prefix, for limits that many addresses must not evade. */
  readonly prefix: string;
  /** IP address that the connection comes from. */
  readonly address?: string | undefined;
  /** The client has the capability `relay`. */
  readonly relays?: boolean;
}

/** A login whose certificate holds: by the identity's own signature, for the key that the handshake proved. */
export interface ProvenLogin {
  readonly remote: Remote;
  readonly message: LoginMessage;
  readonly certificate: DeviceCertificate;
}

export interface LoggedIn {
  readonly client: ClientRow;
  readonly sync: readonly SyncItem[];
  /** For the others. */
  readonly events: readonly CoordinatorEvent[];
  readonly networks: readonly Held[];
  readonly enrolled: boolean;
  /** When the first of its statements falls due; undefined when it has none. */
  readonly renewAt: number | undefined;
}

export function proveLogin(
  crypto: Crypto,
  proven: ProvenCertificates,
  remote: Remote,
  message: LoginMessage,
  nowMs: number,
): ProvenLogin {
  if (message.certificate.length > maxCertificateBytes)
    throw new Refusal('certificate-invalid', { detail: 'it is too long' });
  const named = peekDocument('device-certificate', message.certificate);
  if (named === undefined) throw new Refusal('certificate-invalid', { detail: 'malformed' });
  const isSigned = () =>
    openDocument('device-certificate', message.certificate, (bytes, signature) =>
      crypto.ed25519Verify(named.identity, bytes, signature),
    ) !== undefined;
  if (!proven.holds(message.certificate, isSigned))
    throw new Refusal('certificate-invalid', { detail: 'its signature is not by its identity' });
  if (!crypto.equal(named.controlKey, remote.controlKey))
    throw new Refusal('certificate-invalid', { detail: 'it is for another control key' });
  if (named.notAfter <= nowMs)
    throw new Refusal('certificate-invalid', { detail: 'it has expired; check the clock' });
  return { remote, message, certificate: named };
}

const clientsByIdentity = prepared((db: Db, identity: Uint8Array) =>
  db.selectFrom('clients').selectAll().where('identity', '=', identity),
);

export async function login(tx: Db, context: Context, proven: ProvenLogin): Promise<LoggedIn> {
  const { known: held } = proven.message;
  const [known] = await clientsByIdentity(tx, proven.certificate.identity);
  if (known === undefined) {
    const client = await enrol(tx, context, proven);
    const removed = await synchronise(tx, client.client_id, held, [], context.isAlone);
    return { client, sync: removed, events: [], networks: [], enrolled: true, renewAt: undefined };
  }
  const { client, changed } = await update(tx, context, known, proven);
  const { client_id } = client;
  const events = changed ? await clientChanged(tx, client_id, client_id) : [];
  let networks = await participationsOf(tx, client_id);
  let renewAt = renewalOf(networks);
  if (renewAt !== undefined && renewAt <= context.now.wall) {
    events.push(...(await renewStatements(tx, context, [client_id], client_id)));
    networks = await participationsOf(tx, client_id);
    renewAt = renewalOf(networks);
  }
  const sync = await synchronise(tx, client_id, held, networks, context.isAlone);
  return { client, sync, events, networks, enrolled: false, renewAt };
}

async function enrol(tx: Db, context: Context, proven: ProvenLogin): Promise<ClientRow> {
  const { message, certificate, remote } = proven;
  switch (context.config.enrol) {
    case 'closed':
      throw new Refusal('enrolment-closed');
    case 'token':
      await redeemToken(tx, context, message.token, remote.prefix);
      break;
    case 'open':
      break;
    default:
      context.config.enrol satisfies never;
  }
  const client: ClientRow = {
    client_id: await newClientId(tx, context.crypto),
    identity: certificate.identity,
    address4: await allocateAddress(tx, context.config.pool4),
    nick: message.nick,
    certificate: message.certificate,
    certificate_serial: certificate.serial,
    software: message.software,
    protocol_version: 1,
    connected: 1,
    plan: null,
    created_at: context.now.wall,
    last_seen_at: context.now.wall,
    node: context.node,
    login_serial: 1,
    instance: hex(message.instance),
  };
  await tx.insertInto('clients').values(client).execute();
  return client;
}

/**
 * Takes over what the device says of itself; `changed` when others must hear of it. The serial is the time or later, and so
 * goes up even when the database has lost logins that nodes remember.
 */
async function update(tx: Db, context: Context, known: ClientRow, proven: ProvenLogin) {
  const { message, certificate } = proven;
  const sameCertificate = context.crypto.equal(known.certificate, message.certificate);
  if (!sameCertificate && certificate.serial <= known.certificate_serial)
    throw new Refusal('certificate-stale');
  const changed = !sameCertificate || known.nick !== message.nick;
  const client: ClientRow = {
    ...known,
    ...{ certificate: message.certificate, certificate_serial: certificate.serial },
    ...{ nick: message.nick, software: message.software },
    ...{ connected: 1, last_seen_at: context.now.wall, node: context.node },
    ...{ login_serial: Math.max(known.login_serial + 1, context.now.wall) },
    instance: hex(message.instance),
  };
  if (changed || known.software !== message.software || known.node !== context.node)
    await describe(tx, client);
  const { client_id, last_seen_at, login_serial, instance } = client;
  await connect(tx, client_id, last_seen_at, login_serial, instance);
  return { client, changed };
}

/** What seldom changes is left alone: a login is small, and everybody may come at once. */
const describe = (tx: Db, client: ClientRow) => {
  const { client_id, certificate, certificate_serial, nick, software, node } = client;
  return tx
    .updateTable('clients')
    .set({ certificate, certificate_serial, nick, software, node })
    .where('client_id', '=', client_id)
    .execute();
};

const connect = prepared((db: Db, client: string, atMs: number, serial: number, instance: string) =>
  db
    .updateTable('clients')
    .set({ connected: 1, last_seen_at: atMs, login_serial: serial, instance })
    .where('client_id', '=', client),
);
