/**
 * Many members of one network in one process: each with its own identity and control connection to a real server, online, and
 * never reached. What a daemon carries that shares a network with many.
 *
 *   synthetic-members.ts URL NETWORK PASSWORD MEMBERS      makes the network; prints `ready` when all are in it
 */
import { randomBytes } from 'node:crypto';
import { newAdmission } from '#client/admission.ts';
import { nodeCrypto } from '#crypto/node-crypto.ts';
import { ControlClient, DeviceKeys } from '../test/support/control-client.ts';

const [url = '', name = '', password = '', members = ''] = process.argv.slice(2);

const admission = await newAdmission(nodeCrypto, password, new Uint8Array(randomBytes(32)));
for (let i = 0; i < Number(members); i++) {
  const client = await ControlClient.login({ url, keys: new DeviceKeys(`member ${i}`) });
  if (i === 0) await client.granted({ op: 'create', name, type: 'mesh', admission });
  else await client.granted({ op: 'join', name, verifier: admission.verifier });
}
console.log('ready');
