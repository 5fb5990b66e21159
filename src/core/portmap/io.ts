/** What goes into the port mapper, what comes out, and what it shows. */
import type { AddressFamily, Endpoint } from '#wire/endpoint.ts';
import type { HttpTarget } from '#wire/ssdp.ts';

/** A way out of this machine: a default router, and the own address that it is spoken to from. */
export interface Uplink {
  readonly family: AddressFamily;
  /** Name of the network interface. */
  readonly interface: string;
  /** Of IPv6 a link-local one, without zone. */
  readonly gateway: string;
  readonly local: string;
}

/** `control`: PCP and NAT-PMP. `announcement`: what gateways tell everybody. `search`: SSDP. */
export type Channel = 'control' | 'announcement' | 'search';

export type PortMapInput =
  /** All there are; `changed` when routes or addresses did, though these may look the same. */
  | { readonly type: 'uplinks'; readonly uplinks: readonly Uplink[]; readonly changed: boolean }
  | {
      readonly type: 'datagram';
      readonly uplink: string;
      readonly channel: Channel;
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
    }
  /** The gateway says that nobody listens on the control port. */
  | { readonly type: 'port-closed'; readonly uplink: string }
  | {
      readonly type: 'http-answer';
      readonly id: number;
      readonly status: number;
      readonly body: string;
    }
  | { readonly type: 'http-failed'; readonly id: number; readonly reason: string }
  /** Something hints that the gateway forgot us: servers see us elsewhere, say. */
  | { readonly type: 'recheck' }
  /** Give everything back; then comes `stopped`. */
  | { readonly type: 'stop' }
  | { readonly type: 'tick' };

export type PortMapOutput =
  | {
      readonly type: 'send';
      readonly uplink: string;
      readonly channel: 'control' | 'search';
      readonly remote: Endpoint;
      readonly bytes: Uint8Array;
    }
  /** To the gateway alone; answered by `http-answer` or `http-failed`. */
  | {
      readonly type: 'http';
      readonly id: number;
      readonly uplink: string;
      readonly target: HttpTarget;
      readonly headers: Readonly<Record<string, string>>;
      /** A POST when there is one. */
      readonly body: string | undefined;
    }
  /** `mapped` or `summary` are others now. */
  | { readonly type: 'changed' }
  | { readonly type: 'stopped' };

export type Protocol = 'pcp' | 'nat-pmp' | 'upnp';

/**
 * ```
 *   idle ─► asking ─► found ─► mapped ◄─ renewed
 *             │         │        │ expired, or refused at renewal
 *             ▼         ▼        ▼
 *           absent    refused  absent, refused
 * ```
 * PCP asks by mapping, so that it goes from asking to mapped.
 */
export type ProtocolState =
  | { readonly kind: 'idle' }
  | { readonly kind: 'asking' }
  | { readonly kind: 'absent'; readonly reason: string }
  | { readonly kind: 'found'; readonly mapping: boolean }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'mapped'; readonly lease: Lease };

/** A port that the gateway gave. */
export interface Lease {
  readonly external: Endpoint;
  /** Undefined: for ever, as some gateways insist. */
  readonly lifetimeSeconds: number | undefined;
  readonly renewAt: number;
  readonly expiresAt: number;
}

/** What one protocol does at one gateway. */
export interface ProtocolClient {
  readonly protocol: Protocol;
  readonly state: ProtocolState;
  /** Finds out whether the gateway speaks it. */
  probe(at: number): void;
  /** Asks for the port; of `found`. */
  map(at: number): void;
  /** Asks whether the gateway still knows the mapping. */
  recheck(at: number): void;
  release(at: number): void;
  readonly isReleased: boolean;
  wake(at: number): void;
  deadline(): number | undefined;
}

export interface ProtocolReport {
  readonly state: ProtocolState['kind'];
  readonly reason?: string;
  /** What the device calls itself. */
  readonly product?: string;
}

export interface MappingReport {
  readonly protocol: Protocol;
  readonly internal: Endpoint;
  readonly external: Endpoint;
  readonly lifetimeSeconds: number | undefined;
  readonly renewInSeconds: number;
  /** Whether a peer elsewhere could reach it; the `external` address may be one behind a further NAT. */
  readonly usable: boolean;
}

export interface UplinkReport extends Uplink {
  readonly protocols: Readonly<Partial<Record<Protocol, ProtocolReport>>>;
  readonly mappings: readonly MappingReport[];
}

export interface PortMapSummary {
  readonly uplinks: readonly UplinkReport[];
  readonly faults: ReadonlyMap<string, number>;
}
