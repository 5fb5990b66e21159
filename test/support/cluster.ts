/** A cluster's signing hand and devices with keys, for tests of what clients believe. */

import { hex } from '#core/bytes.ts';
import type { OwnSide } from '#core/mesh/pairs.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { encodeMessage, type MemberView, type ServerMessageOf } from '#wire/control.ts';
import type { Presence } from '#wire/fields.ts';
import {
  type Deletion,
  type DeviceCertificate,
  type Membership,
  type Revocation,
  signDocument,
} from '#wire/signed.ts';

const day = 86_400_000;

export interface TestDevice {
  readonly name: string;
  readonly clientId: string;
  readonly ipv4: string;
  readonly ipv6: string;
  readonly seed: Uint8Array;
  readonly identity: Uint8Array;
  readonly controlPrivateKey: Uint8Array;
  readonly tunnelPrivateKey: Uint8Array;
  readonly tunnelKey: Uint8Array;
}

/** 32 bytes that depend on the text alone. */
export const keyOf = (text: string): Uint8Array => crypto.sha256(new TextEncoder().encode(text));

/** Device number `n` (1 to 254) has the address 100.64.0.n and the client id 000-000-n. */
export function testDevice(n: number, name = `device ${n}`): TestDevice {
  const seed = keyOf(`identity ${name}`);
  const tunnelPrivateKey = keyOf(`tunnel ${name}`);
  return {
    name,
    clientId: `000-000-${String(n).padStart(3, '0')}`,
    ipv4: `100.64.0.${n}`,
    ipv6: `fd62:7572:6900::6440:${n.toString(16)}`,
    seed,
    identity: crypto.ed25519PublicKey(seed),
    controlPrivateKey: keyOf(`control ${name}`),
    tunnelPrivateKey,
    tunnelKey: crypto.x25519PublicKey(tunnelPrivateKey),
  };
}

export const ownSide = (device: TestDevice): OwnSide => ({
  identity: hex(device.identity),
  tunnelKey: device.tunnelKey,
  suites: ['chacha20poly1305'],
  extensionVersion: 1,
});

export class TestCluster {
  readonly seed = keyOf('cluster');
  readonly key = crypto.ed25519PublicKey(this.seed);
  readonly now: number;
  #serial = 1;

  constructor(now: number) {
    this.now = now;
  }

  certificate(device: TestDevice, change: Partial<DeviceCertificate> = {}, seed = device.seed) {
    const document: DeviceCertificate = {
      identity: device.identity,
      controlKey: crypto.x25519PublicKey(device.controlPrivateKey),
      tunnelKey: device.tunnelKey,
      serial: 1,
      notAfter: this.now + 365 * day,
      suites: ['chacha20poly1305'],
      extensionVersion: 1,
      ...change,
    };
    return signDocument('device-certificate', document, (m) => crypto.ed25519Sign(seed, m));
  }

  statement(
    network: string,
    device: TestDevice,
    change: Partial<Membership> = {},
    seed = this.seed,
  ) {
    const document: Membership = {
      network,
      networkType: 'mesh',
      identity: device.identity,
      clientId: device.clientId,
      ipv4: device.ipv4,
      ipv6: device.ipv6,
      role: 'member',
      serial: this.#serial++,
      notBefore: this.now,
      notAfter: this.now + 7 * day,
      signer: 'cluster',
      ...change,
    };
    return signDocument('membership', document, (m) => crypto.ed25519Sign(seed, m));
  }

  revocation(
    network: string,
    device: TestDevice,
    change: Partial<Revocation> = {},
    seed = this.seed,
  ) {
    const document: Revocation = {
      network,
      identity: device.identity,
      clientId: device.clientId,
      serial: this.#serial++,
      issuedAt: this.now,
      signer: 'cluster',
      ...change,
    };
    return signDocument('revocation', document, (m) => crypto.ed25519Sign(seed, m));
  }

  deletion(network: string, change: Partial<Deletion> = {}, seed = this.seed) {
    const document: Deletion = {
      network,
      serial: this.#serial++,
      issuedAt: this.now,
      signer: 'cluster',
      ...change,
    };
    return signDocument('deletion', document, (m) => crypto.ed25519Sign(seed, m));
  }

  member(
    network: string,
    device: TestDevice,
    change: Partial<MemberView> = {},
    presence: Presence = 'online',
  ): MemberView {
    return {
      clientId: device.clientId,
      nick: device.name,
      presence,
      certificate: this.certificate(device),
      statement: this.statement(network, device),
      ...change,
    };
  }

  view(
    network: string,
    members: readonly MemberView[],
    change: Partial<ServerMessageOf<'view'>> = {},
  ): ServerMessageOf<'view'> {
    const view: ServerMessageOf<'view'> = {
      t: 'view',
      network,
      revision: 1,
      state: 'member',
      active: true,
      facts: {
        name: 'lan',
        type: 'mesh',
        owner: '000-000-001',
        locked: false,
        approval: 'auto',
        hasPassword: true,
        epoch: 1,
      },
      members: [...members],
      pending: [],
      ...change,
    };
    encodeMessage(view);
    return view;
  }
}
