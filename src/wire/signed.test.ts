import assert from 'node:assert/strict';
import { createPrivateKey, createPublicKey, sign, verify } from 'node:crypto';
import { test } from 'node:test';
import { decodeCbor, encodeCbor } from './cbor.ts';
import { type Membership, openDocument, peekDocument, signDocument } from './signed.ts';

const seed = new Uint8Array(32).fill(7);
const pkcs8 = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
const privateKey = createPrivateKey({ key: pkcs8, format: 'der', type: 'pkcs8' });
const publicKey = createPublicKey(privateKey);
const signer = (message: Uint8Array) => new Uint8Array(sign(null, message, privateKey));
const verifier = (message: Uint8Array, signature: Uint8Array) =>
  verify(null, message, publicKey, signature);

const document: Membership = {
  network: '123-456-789',
  networkType: 'mesh',
  identity: new Uint8Array(32).fill(1),
  clientId: '987-654-321',
  ipv4: '100.64.0.1',
  ipv6: 'fd62:7572:6900::6440:1',
  role: 'member',
  serial: 3,
  notBefore: 1000,
  notAfter: 2000,
  signer: 'cluster',
};

test('a signed document opens for the right key and kind', () => {
  const bytes = signDocument('membership', document, signer);
  assert.deepEqual(openDocument('membership', bytes, verifier), document);
  assert.deepEqual(peekDocument('membership', bytes), document);
});

test('no flipped bit of a signed document goes unnoticed', () => {
  const bytes = signDocument('membership', document, signer);
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const damaged = bytes.slice();
    damaged[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(openDocument('membership', damaged, verifier), undefined, `bit ${bit}`);
  }
});

test('a signature does not carry over to another kind of document', () => {
  const revocation = {
    network: document.network,
    identity: document.identity,
    clientId: document.clientId,
    serial: 3,
    issuedAt: 1000,
    signer: 'cluster' as const,
  };
  const { p } = decodeCbor(signDocument('revocation', revocation, signer), 5000) as {
    p: Uint8Array;
  };
  const asMembership = encodeCbor({ p, s: signer(p) });
  assert.equal(openDocument('revocation', asMembership, verifier), undefined);
});

test('the signature covers the bytes received, so an unknown field is covered and ignored', () => {
  const payload = encodeCbor({ ...document, later: 'field' });
  const domain = new TextEncoder().encode('buri/membership/1\0');
  const signature = signer(Buffer.concat([domain, payload]));
  assert.deepEqual(
    openDocument('membership', encodeCbor({ p: payload, s: signature }), verifier),
    document,
  );
});
