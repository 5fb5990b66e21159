import type { Operation } from '#wire/control.ts';
import type { Db } from '../../store/schema.ts';
import type { Context } from '../context.ts';
import { admission, create, join, setPassword } from './admission.ts';
import {
  approve,
  evict,
  leave,
  reject,
  remove,
  setAccess,
  setActive,
  setNick,
  transfer,
} from './members.ts';
import type { Outcome, Requester } from './outcome.ts';

/** Carries out one request of a logged-in client in a transaction. Throws a Refusal; then nothing has happened. */
export async function operate(
  tx: Db,
  context: Context,
  requester: Requester,
  operation: Operation,
): Promise<Outcome> {
  switch (operation.op) {
    case 'create':
      return await create(tx, context, requester, operation);
    case 'admission':
      return await admission(tx, requester, operation);
    case 'join':
      return await join(tx, context, requester, operation);
    case 'leave':
      return await leave(tx, context, requester, operation.network);
    case 'delete':
      return await remove(tx, context, requester, operation.network);
    case 'evict':
      return await evict(tx, context, requester, operation);
    case 'approve':
      return await approve(tx, context, requester, operation);
    case 'reject':
      return await reject(tx, requester, operation);
    case 'transfer':
      return await transfer(tx, requester, operation);
    case 'set-nick':
      return await setNick(tx, requester, operation.nick);
    case 'set-pass':
      return await setPassword(tx, context, requester, operation);
    case 'set-access':
      return await setAccess(tx, requester, operation);
    case 'go-online':
      return await setActive(tx, requester, operation.network, true);
    case 'go-offline':
      return await setActive(tx, requester, operation.network, false);
    default:
      operation satisfies never;
      throw new Error('an operation without a rule');
  }
}
