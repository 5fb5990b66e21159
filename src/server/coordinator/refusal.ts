import { BuriError } from '#core/errors.ts';

/** What the server says no with. Codes are for programs and never change; texts are for people and say what to do. */
const texts = {
  'network-not-found': 'there is no network of that name here; check the spelling',
  'invalid-password': 'the password is wrong; ask whoever owns the network',
  'name-taken': 'a network of that name exists already; choose another name',
  'network-locked':
    'the network is locked: its owner admits nobody now; ask the owner to unlock it',
  'network-full': 'the network has as many members as fit; somebody must leave first',
  'already-member': 'this device is a member of that network already',
  'not-member': 'that device is no member of the network; `list` shows who is',
  'not-owner': 'only the owner of the network may do that; ask the owner',
  'you-are-owner': 'you own this network; transfer it to another member, or delete it',
  'approval-pending': 'the request to join waits for approval by the owner of the network',
  'awaiting-approval': 'that device has not been admitted yet; approve or reject its request',
  'no-request': 'that device has not asked to join; `network` shows who waits',
  'approval-queue-full': 'too many requests wait for approval; the owner must work them off first',
  'token-required':
    'this server enrols new devices by token only; ask its operator for one and give --token',
  'token-invalid': 'the server does not know that enrolment token; ask its operator for another',
  'token-expired': 'the enrolment token has expired; ask the operator of the server for another',
  'token-used-up': 'the enrolment token was used as often as it may; ask the operator for another',
  'enrolment-closed': 'this server enrols no new devices; ask its operator to open enrolment',
  'identity-in-use':
    'another running daemon has the same identity, probably a copy of its state directory; give ' +
    'each device a state directory of its own (remove the copy and log in again)',
  'login-in-progress': 'another login with this identity is being decided; try again in a moment',
  'certificate-stale':
    'the server has seen a newer certificate of this device; its state directory was probably ' +
    'restored from a backup: bring back the newer one, or enrol it as a new device',
  'certificate-invalid': "the device's certificate does not hold; update Buri and log in again",
  'client-removed': 'the operator of the server removed this device; enrol again to come back',
  'relay-invalid': "the relay's offer does not hold",
  'relay-in-use':
    'another relay is there with the same key, probably a copy of its directory; give each relay a ' +
    'directory of its own',
  'relay-removed': 'the operator of the server removed this relay; enrol it again with a new token',
  'too-many-relays': 'the server knows as many relays as it may; its operator must remove some',
  'pool-exhausted':
    'the server has no virtual address left; its operator must remove unused devices',
  'rate-limited': 'too many attempts; wait a little before the next one',
  'too-many-networks': 'this device is in as many networks as it may be; leave one first',
  'invalid-name': 'that name cannot be used; 1 to 64 printable characters, no space at either end',
  'server-storage': 'the server cannot write its database now; tell its operator, then try again',
} as const;

export type RefusalCode = keyof typeof texts;

/** A request that was understood and is not granted. */
export class Refusal extends BuriError {
  readonly retryAfterMs: number | undefined;

  constructor(code: RefusalCode, options: { detail?: string; retryAfterMs?: number } = {}) {
    const { detail, retryAfterMs } = options;
    const wait =
      retryAfterMs === undefined ? '' : ` (try again in ${Math.ceil(retryAfterMs / 1000)} s)`;
    super(code, `${texts[code]}${detail === undefined ? '' : `: ${detail}`}${wait}`);
    this.retryAfterMs = retryAfterMs;
  }
}
