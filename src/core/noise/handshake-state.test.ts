import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { CipherState } from './cipher-state.ts';
import { generateKeyPair, HandshakeState, type KeyPair } from './handshake-state.ts';
import type { PatternName } from './patterns.ts';

interface Vector {
  readonly protocol_name: string;
  readonly init_prologue: string;
  readonly init_psks?: readonly string[];
  readonly init_static?: string;
  readonly init_ephemeral: string;
  readonly init_remote_static: string;
  readonly resp_static: string;
  readonly resp_ephemeral?: string;
  readonly resp_remote_static?: string;
  readonly messages: readonly { readonly payload: string; readonly ciphertext: string }[];
}

const { vectors } = JSON.parse(
  readFileSync(new URL('./vectors/noise.json', import.meta.url), 'utf8'),
) as { vectors: readonly Vector[] };
const bytes = (hex: string) => new Uint8Array(Buffer.from(hex, 'hex'));
const hex = (data: Uint8Array | undefined) => Buffer.from(data ?? []).toString('hex');
const none = new Uint8Array(0);

function keyPair(privateHex: string): KeyPair {
  const privateKey = bytes(privateHex);
  return { privateKey, publicKey: crypto.x25519PublicKey(privateKey) };
}

function ends(vector: Vector): { initiator: HandshakeState; responder: HandshakeState } {
  const pattern = vector.protocol_name.split('_')[1] as PatternName;
  const psk = vector.init_psks === undefined ? {} : { psk: bytes(vector.init_psks[0]!) };
  const common = { pattern, prologue: bytes(vector.init_prologue), ...psk };
  const initiator = new HandshakeState(crypto, {
    ...common,
    role: 'initiator',
    rs: bytes(vector.init_remote_static),
    e: keyPair(vector.init_ephemeral),
    ...(vector.init_static === undefined ? {} : { s: keyPair(vector.init_static) }),
  });
  const responder = new HandshakeState(crypto, {
    ...common,
    role: 'responder',
    s: keyPair(vector.resp_static),
    ...(vector.resp_ephemeral === undefined ? {} : { e: keyPair(vector.resp_ephemeral) }),
    ...(vector.resp_remote_static === undefined ? {} : { rs: bytes(vector.resp_remote_static) }),
  });
  return { initiator, responder };
}

for (const vector of vectors) {
  test(`${vector.protocol_name} gives the bytes of the published vector`, () => {
    const { initiator, responder } = ends(vector);
    let turn = 0;
    for (; !initiator.isFinished; turn++) {
      const { payload, ciphertext } = vector.messages[turn]!;
      const [writer, reader] = turn % 2 === 0 ? [initiator, responder] : [responder, initiator];
      assert.equal(hex(writer.writeMessage(bytes(payload))), ciphertext);
      assert.equal(hex(reader.readMessage(bytes(ciphertext))), payload);
    }
    assert.ok(responder.isFinished);
    assert.deepEqual(initiator.handshakeHash, responder.handshakeHash);
    const [ours, theirs] = [initiator.split(), responder.split()];
    const isOneWay = turn === 1;
    for (const { payload, ciphertext } of vector.messages.slice(turn)) {
      const fromInitiator = isOneWay || turn % 2 === 0;
      const [from, to] = fromInitiator ? [ours, theirs] : [theirs, ours];
      assert.equal(hex(from.send.encryptWithAd(none, bytes(payload))), ciphertext);
      assert.equal(hex(to.receive.decryptWithAd(none, bytes(ciphertext))), payload);
      turn++;
    }
  });
}

const freshIk = () => {
  const [client, server] = [generateKeyPair(crypto), generateKeyPair(crypto)];
  return {
    client,
    server,
    initiator: new HandshakeState(crypto, {
      pattern: 'IK',
      role: 'initiator',
      s: client,
      rs: server.publicKey,
    }),
    responder: new HandshakeState(crypto, { pattern: 'IK', role: 'responder', s: server }),
  };
};

test('an IK responder learns the static key of the initiator', () => {
  const { client, initiator, responder } = freshIk();
  assert.deepEqual(
    responder.readMessage(initiator.writeMessage(Uint8Array.of(1, 2))!),
    Uint8Array.of(1, 2),
  );
  assert.deepEqual(responder.remoteStatic, client.publicKey);
});

test('every single flipped bit of either IK message is refused', () => {
  for (let bit = 0; bit < 96 * 8; bit += 13) {
    const { initiator, responder } = freshIk();
    const first = initiator.writeMessage(none)!;
    first[bit >> 3]! ^= 1 << (bit & 7);
    // Bit 255 of a public key is ignored by X25519 but not by the transcript hash.
    assert.equal(responder.readMessage(first), undefined, `bit ${bit} of message 1`);
    assert.throws(() => responder.writeMessage(none), /under way/);
  }
  for (let bit = 0; bit < 48 * 8; bit += 13) {
    const { initiator, responder } = freshIk();
    responder.readMessage(initiator.writeMessage(none)!);
    const second = responder.writeMessage(none)!;
    second[bit >> 3]! ^= 1 << (bit & 7);
    assert.equal(initiator.readMessage(second), undefined, `bit ${bit} of message 2`);
  }
});

test('truncated and overlong messages are refused', () => {
  for (const length of [0, 1, 31, 32, 79, 80, 95, 97, 65_536]) {
    const { initiator, responder } = freshIk();
    const message = new Uint8Array(length);
    message.set(initiator.writeMessage(none)!.subarray(0, length));
    assert.equal(responder.readMessage(message), undefined, `${length} bytes`);
  }
});

test('another prologue, server key or psk fails the handshake', () => {
  const { client, server, responder } = freshIk();
  const initiator = (change: object) =>
    new HandshakeState(crypto, {
      pattern: 'IK',
      role: 'initiator',
      s: client,
      rs: server.publicKey,
      ...change,
    });
  const other = initiator({ prologue: Uint8Array.of(1) }).writeMessage(none)!;
  assert.equal(responder.readMessage(other), undefined);
  const wrongKey = initiator({ rs: generateKeyPair(crypto).publicKey }).writeMessage(none)!;
  assert.equal(freshIk().responder.readMessage(wrongKey), undefined);

  const psk = (role: 'initiator' | 'responder', key: number) =>
    new HandshakeState(crypto, {
      pattern: 'IKpsk2',
      role,
      s: role === 'initiator' ? client : server,
      psk: new Uint8Array(32).fill(key),
      ...(role === 'initiator' ? { rs: server.publicKey } : {}),
    });
  const [one, two] = [psk('initiator', 1), psk('responder', 2)];
  assert.notEqual(two.readMessage(one.writeMessage(none)!), undefined);
  const answer = two.writeMessage(none)!;
  const right = one.clone(new Uint8Array(32).fill(2));
  assert.equal(one.readMessage(answer), undefined);
  assert.deepEqual(right.readMessage(answer), none);
  assert.deepEqual(right.splitKeys().sendKey, two.splitKeys().receiveKey);
});

test('low-order public keys are refused by both ends', () => {
  // The points of order 1, 2, 4 and 8 and their aliases (RFC 7748 §7; cr.yp.to/ecdh.html).
  const lowOrder = [
    '0000000000000000000000000000000000000000000000000000000000000000',
    '0100000000000000000000000000000000000000000000000000000000000000',
    'e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800',
    '5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157',
    'ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
    'eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f',
  ];
  for (const point of lowOrder) {
    const { client, responder } = freshIk();
    const initiator = new HandshakeState(crypto, {
      pattern: 'IK',
      role: 'initiator',
      s: client,
      rs: bytes(point),
    });
    assert.equal(initiator.writeMessage(none), undefined, point);
    const message = new Uint8Array(96);
    message.set(bytes(point));
    assert.equal(responder.readMessage(message), undefined, point);
  }
});

test('a cipher state keeps its nonce when a message does not authenticate', () => {
  const key = () => new Uint8Array(32).fill(7);
  const [send, receive] = [new CipherState(crypto, key()), new CipherState(crypto, key())];
  const sealed = send.encryptWithAd(none, Uint8Array.of(1));
  assert.equal(receive.decryptWithAd(Uint8Array.of(9), sealed), undefined);
  assert.equal(receive.nonce, 0);
  assert.deepEqual(receive.decryptWithAd(none, sealed), Uint8Array.of(1));
  send.rekey();
  const second = send.encryptWithAd(none, Uint8Array.of(2));
  assert.equal(receive.clone().decryptWithAd(none, second), undefined);
  receive.rekey();
  assert.deepEqual(receive.decryptWithAd(none, second), Uint8Array.of(2));
  assert.equal(receive.decryptWithAd(none, new Uint8Array(65_536)), undefined);
  assert.throws(() => send.encryptWithAd(none, new Uint8Array(65_520)), /bound/);
});
