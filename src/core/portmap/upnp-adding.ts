/** What to ask a UPnP-IGD for, what to ask for after a refusal, and how long its grant is believed. */
import type { Endpoint } from '#wire/endpoint.ts';
import { type IgdAction, type IgdService, igdFaults } from '#wire/igd.ts';
import type { Lease } from './io.ts';

const leaseSeconds = 3600;
/** Gateways forget at a restart and do not say so. */
const renewEveryMs = 600_000;
/** A renewal failed. */
export const retryMs = 60_000;
/** What has no end is believed this long after the gateway last confirmed it. */
const permanentBelievedMs = 1_800_000;
const maxPortTries = 4;
/** Ports for tries at random: those that IANA gives to nobody. */
const firstRandomPort = 49_152;
const randomPortMask = 0x3fff;

export interface Adding {
  readonly externalPort: number;
  /** 0: without end. */
  readonly leaseSeconds: number;
  /** The gateway chooses the port. */
  readonly any: boolean;
  readonly tries: number;
}

export const firstAdding = (port: number, { choosesPort }: IgdService): Adding => ({
  ...{ externalPort: port, leaseSeconds, any: choosesPort, tries: 0 },
});

/** What was given before, for as long as it was given. */
export const renewalOf = (lease: Lease, { choosesPort }: IgdService): Adding => ({
  externalPort: lease.external.port,
  leaseSeconds: lease.lifetimeSeconds === undefined ? 0 : leaseSeconds,
  ...{ any: choosesPort, tries: 0 },
});

/**
 * After a refusal; undefined when nothing else is worth a try.
 * @param random 0 to 65535
 */
export function addingAfter(
  adding: Adding,
  code: number | undefined,
  random: () => number,
): Adding | undefined {
  const tries = adding.tries + 1;
  if (code === undefined || tries >= maxPortTries) return undefined;
  if (adding.any && (code === 401 || code === 402 || code === 501)) {
    return { ...adding, any: false, tries };
  }
  if (code === 718) {
    return { ...adding, externalPort: firstRandomPort + (random() & randomPortMask), tries };
  }
  // Some that want leases without end say so by other codes.
  if ((code === 725 || code === 402 || code === 501) && adding.leaseSeconds !== 0) {
    return { ...adding, leaseSeconds: 0, tries };
  }
  return undefined;
}

export function addingAction(
  adding: Adding,
  { address: internalAddress, port: internalPort }: Endpoint,
): IgdAction {
  const { any, externalPort, leaseSeconds: seconds } = adding;
  return {
    name: any ? 'AddAnyPortMapping' : 'AddPortMapping',
    ...{ externalPort, internalPort, internalAddress, leaseSeconds: seconds },
  };
}

export function addedLease(external: Endpoint, seconds: number, at: number): Lease {
  const lifetimeMs = seconds === 0 ? permanentBelievedMs : seconds * 1000;
  return {
    external,
    lifetimeSeconds: seconds === 0 ? undefined : seconds,
    renewAt: at + Math.min(lifetimeMs / 2, renewEveryMs),
    expiresAt: at + lifetimeMs,
  };
}

export function refusalText(code: number | undefined, status: number): string {
  if (code === undefined) return `HTTP ${status}`;
  return (igdFaults[code] ?? `error ${code}`).replaceAll('-', ' ');
}
