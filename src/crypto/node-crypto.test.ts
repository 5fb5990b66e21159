import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { nodeCrypto as crypto } from './node-crypto.ts';

const bytes = (hex: string) => new Uint8Array(Buffer.from(hex.replace(/\s/g, ''), 'hex'));
const text = (value: string) => new TextEncoder().encode(value);
const hex = (data: Uint8Array | undefined) => Buffer.from(data ?? []).toString('hex');

test('X25519 gives the values of RFC 7748', () => {
  const alice = bytes('77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a');
  const bob = bytes('5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb');
  const alicePublic = '8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a';
  const bobPublic = 'de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f';
  const shared = '4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742';
  assert.equal(hex(crypto.x25519PublicKey(alice)), alicePublic);
  assert.equal(hex(crypto.x25519PublicKey(bob)), bobPublic);
  assert.equal(hex(crypto.x25519(alice, bytes(bobPublic))), shared);
  assert.equal(hex(crypto.x25519(bob, bytes(alicePublic))), shared);
  // §5.2, scalar and u-coordinate with its unused bit set.
  assert.equal(
    hex(
      crypto.x25519(
        bytes('4b66e9d4d1b4673c5ad22691957d6af5c11b6421e0ea01d42ca4169e7918ba0d'),
        bytes('e5210f12786811d3f4b7959d0538ae2c31dbe7106fc03c3efc4cd549c715a493'),
      ),
    ),
    '95cbde9476e8907d7aade45cb4b873f88b595a68799fa152e6f8f7647aac7957',
  );
});

test('the iterated X25519 of RFC 7748 §5.2 gives its value after 1,000 rounds', () => {
  let k = bytes('0900000000000000000000000000000000000000000000000000000000000000');
  let u = k;
  for (let i = 0; i < 1000; i++) [k, u] = [new Uint8Array(crypto.x25519(k, u)!), k];
  assert.equal(hex(k), '684cf59ba83309552800ef566f2f4d3c1c3887c49360e3875f2eb94d99532c51');
});

test('X25519 with a low-order point has no result', () => {
  const key = new Uint8Array(32).fill(1);
  assert.equal(crypto.x25519(key, new Uint8Array(32)), undefined);
});

test('a private key array that is overwritten is another key', () => {
  const key = new Uint8Array(32).fill(1);
  const first = crypto.x25519PublicKey(key);
  key.fill(2);
  assert.notDeepEqual(crypto.x25519PublicKey(key), first);
  assert.deepEqual(crypto.x25519PublicKey(new Uint8Array(32).fill(1)), first);
});

test('Ed25519 gives the signatures of RFC 8032 and refuses others', () => {
  const cases = [
    {
      seed: '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
      publicKey: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
      message: '',
      signature:
        'e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155' +
        '5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b',
    },
    {
      seed: 'c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7',
      publicKey: 'fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025',
      message: 'af82',
      signature:
        '6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac' +
        '18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a',
    },
  ];
  for (const { seed, publicKey, message, signature } of cases) {
    assert.equal(hex(crypto.ed25519PublicKey(bytes(seed))), publicKey);
    assert.equal(hex(crypto.ed25519Sign(bytes(seed), bytes(message))), signature);
    const verify = (m: Uint8Array, s: Uint8Array, k = bytes(publicKey)) =>
      crypto.ed25519Verify(k, m, s);
    assert.ok(verify(bytes(message), bytes(signature)));
    assert.ok(!verify(text('other'), bytes(signature)));
    const forged = bytes(signature);
    forged[0]! ^= 1;
    assert.ok(!verify(bytes(message), forged));
    assert.ok(!verify(bytes(message), bytes(signature).subarray(0, 63)));
    assert.ok(!verify(bytes(message), bytes(signature), new Uint8Array(31)));
    assert.ok(!verify(bytes(message), bytes(signature), new Uint8Array(32).fill(0xff)));
  }
});

test('BLAKE2s, keyed and not, gives the values of RFC 7693 and of its reference vectors', () => {
  const abc = '508c5e8c327c14e2e1a72ba34eeb452f37458b209ed63a294d999b4c86675982';
  assert.equal(hex(crypto.blake2s(text('abc'))), abc);
  assert.equal(hex(crypto.blake2s(text('a'), new Uint8Array(0), text('bc'))), abc);
  const key = Uint8Array.from({ length: 32 }, (_, i) => i);
  assert.equal(
    hex(crypto.blake2sMac(key, 32, new Uint8Array(0))),
    '48a8997da407876b3d79c0d92325ad3b89cbb754d86ab71aee047ad345fd2c49',
  );
  assert.equal(
    hex(crypto.blake2sMac(key, 32, Uint8Array.of(0), Uint8Array.of(1, 2))),
    '1d220dbe2ee134661fdf6d9e74b41704710556f2f6e5a091b227697445dbea6b',
  );
  assert.equal(crypto.blake2sMac(key, 16, text('abc')).length, 16);
});

test('HMAC-BLAKE2s is that of OpenSSL', () => {
  for (const [key, parts] of [
    ['', []],
    ['a key', ['message']],
    ['a key', ['mess', 'age']],
    ['k'.repeat(64), ['', 'm'.repeat(200)]],
  ] as const) {
    const reference = createHmac('blake2s256', key);
    for (const part of parts) reference.update(part);
    assert.equal(hex(crypto.hmacBlake2s(text(key), ...parts.map(text))), reference.digest('hex'));
  }
  assert.throws(() => crypto.hmacBlake2s(new Uint8Array(65), text('')));
});

test('SHA-256 and HKDF-SHA-256 give the values of FIPS 180-4 and RFC 5869', () => {
  assert.equal(
    hex(crypto.sha256(text('a'), text('bc'))),
    'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad',
  );
  const secret = new Uint8Array(22).fill(0x0b);
  assert.equal(
    hex(
      crypto.hkdfSha256(
        secret,
        bytes('000102030405060708090a0b0c'),
        bytes('f0f1f2f3f4f5f6f7f8f9'),
        42,
      ),
    ),
    '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
  );
  const none = new Uint8Array(0);
  assert.equal(
    hex(crypto.hkdfSha256(secret, none, none, 42)),
    '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
  );
});

const sunscreen = text(
  "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, " +
    'sunscreen would be it.',
);
const sunscreenKey = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i);
const sunscreenAd = bytes('50515253c0c1c2c3c4c5c6c7');

test('ChaCha20-Poly1305 gives the value of RFC 8439 §2.8.2', () => {
  const nonce = bytes('070000004041424344454647');
  const sealed = crypto.seal('chacha20poly1305', sunscreenKey, nonce, sunscreen, sunscreenAd);
  assert.equal(
    hex(sealed),
    hex(
      bytes(`d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
             3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
             92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
             3ff4def08e4b7a9de576d26586cec64b6116 1ae10b594f09e26a7e902ecbd0600691`),
    ),
  );
  assert.deepEqual(
    crypto.open('chacha20poly1305', sunscreenKey, nonce, sealed, sunscreenAd),
    sunscreen,
  );
});

test('XChaCha20-Poly1305 gives the value of draft-irtf-cfrg-xchacha-03 A.3.1', () => {
  const nonce = Uint8Array.from({ length: 24 }, (_, i) => 0x40 + i);
  const sealed = crypto.xSeal(sunscreenKey, nonce, sunscreen, sunscreenAd);
  assert.equal(
    hex(sealed),
    hex(
      bytes(`bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb
             731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452
             2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9
             21f9664c97637da9768812f615c68b13b52e c0875924c1c7987947deafd8780acf49`),
    ),
  );
  assert.deepEqual(crypto.xOpen(sunscreenKey, nonce, sealed, sunscreenAd), sunscreen);
  sealed[0]! ^= 1;
  assert.equal(crypto.xOpen(sunscreenKey, nonce, sealed, sunscreenAd), undefined);
  assert.equal(crypto.xOpen(sunscreenKey, nonce, new Uint8Array(15), sunscreenAd), undefined);
});

test('AES-256-GCM gives the value of test case 16 of its specification', () => {
  const key = bytes('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308');
  const nonce = bytes('cafebabefacedbaddecaf888');
  const plaintext = bytes(`d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
    1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39`);
  const ad = bytes('feedfacedeadbeeffeedfacedeadbeefabaddad2');
  const sealed = crypto.seal('aes256gcm', key, nonce, plaintext, ad);
  assert.equal(
    hex(sealed),
    hex(
      bytes(`522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
             8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662 76fc6ece0f4e1768cddf8853bb2d551b`),
    ),
  );
  assert.deepEqual(crypto.open('aes256gcm', key, nonce, sealed, ad), plaintext);
});

for (const suite of ['chacha20poly1305', 'aes256gcm'] as const) {
  test(`${suite} opens nothing that was changed`, () => {
    const [key, nonce, ad] = [crypto.random(32), crypto.random(12), crypto.random(5)];
    const sealed = crypto.seal(suite, key, nonce, text('hello'), ad);
    for (let bit = 0; bit < sealed.length * 8; bit++) {
      const forged = sealed.slice();
      forged[bit >> 3]! ^= 1 << (bit & 7);
      assert.equal(crypto.open(suite, key, nonce, forged, ad), undefined);
    }
    assert.equal(crypto.open(suite, key, nonce, sealed, new Uint8Array(5)), undefined);
    for (let length = 0; length < sealed.length; length++) {
      assert.equal(crypto.open(suite, key, nonce, sealed.subarray(0, length), ad), undefined);
    }
    const empty = crypto.seal(suite, key, nonce, new Uint8Array(0), new Uint8Array(0));
    assert.deepEqual(crypto.open(suite, key, nonce, empty, new Uint8Array(0)), new Uint8Array(0));
  });
}

test('equal compares contents and length', () => {
  assert.ok(crypto.equal(Uint8Array.of(1, 2), Uint8Array.of(1, 2)));
  assert.ok(!crypto.equal(Uint8Array.of(1, 2), Uint8Array.of(1, 3)));
  assert.ok(!crypto.equal(Uint8Array.of(1, 2), Uint8Array.of(1)));
});

test('results are plain byte arrays, never Buffers', () => {
  const key = new Uint8Array(32).fill(3);
  const results = [
    crypto.random(8),
    crypto.x25519PublicKey(key),
    crypto.x25519(key, crypto.x25519PublicKey(key)),
    crypto.ed25519Sign(key, key),
    crypto.blake2s(key),
    crypto.blake2sMac(key, 16, key),
    crypto.hmacBlake2s(key, key),
    crypto.sha256(key),
    crypto.hkdfSha256(key, key, key, 9),
    crypto.seal('aes256gcm', key, key.subarray(0, 12), key, key),
    crypto.xSeal(key, key.subarray(0, 24), key, key),
  ];
  for (const result of results) assert.equal(Object.getPrototypeOf(result), Uint8Array.prototype);
});
