import type { DeviceCertificate } from '#wire/signed.ts';
import { hex, sameBytes } from '../bytes.ts';
import type { Crypto } from '../crypto.ts';
import { type Opened, openDeviceCertificate } from './documents.ts';

/** A device as its newest certificate describes it. */
export interface Device {
  /** Its Ed25519 identity in hexadecimal. */
  readonly identity: string;
  readonly certificate: DeviceCertificate;
  /** The certificate's tunnel key in hexadecimal. */
  readonly tunnelKey: string;
  /** The signed document as it was received. */
  readonly bytes: Uint8Array;
}

/**
 * The newest certificate of every device that is a member anywhere. One book serves all networks, so that a certificate
 * replaced in one of them is not used in another any more.
 */
export class DeviceBook {
  readonly #crypto: Crypto;
  readonly #devices = new Map<string, Device>();

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
  }

  get(identity: string): Device | undefined {
    return this.#devices.get(identity);
  }

  /** Verifies; an older serial than the one held is not believed (protocol §3). */
  accept(bytes: Uint8Array): Opened<Device> {
    const opened = openDeviceCertificate(this.#crypto, bytes);
    if (!opened.ok) return opened;
    const identity = hex(opened.document.identity);
    const held = this.#devices.get(identity);
    if (held !== undefined) {
      if (sameBytes(held.bytes, bytes)) return { ok: true, document: held };
      if (opened.document.serial <= held.certificate.serial) {
        return { ok: false, fault: 'certificate-stale' };
      }
    }
    const { document: certificate } = opened;
    const device: Device = { identity, certificate, tunnelKey: hex(certificate.tunnelKey), bytes };
    this.#devices.set(identity, device);
    return { ok: true, document: device };
  }

  /** The device of a certificate that is held byte for byte: saves verifying it again for every network. */
  held(bytes: Uint8Array, identity: string | undefined): Device | undefined {
    const device = identity === undefined ? undefined : this.#devices.get(identity);
    return device !== undefined && sameBytes(device.bytes, bytes) ? device : undefined;
  }

  /** Forgets the devices that are members nowhere any more. */
  retain(identities: ReadonlySet<string>): void {
    for (const identity of this.#devices.keys()) {
      if (!identities.has(identity)) this.#devices.delete(identity);
    }
  }
}
