/**
 * UPnP-IGD with one gateway for one port:
 *
 * ```
 *   search ─► describe ─► address (of each service, until one has an address) ─► found ─► add ─► mapped
 *     ▲          │ next place        │ next service                                     │      │ half the lease:
 *     └──────────┴───────────────────┴── an HTTP request failed: the gateway may have   ◄──────┘ address, add
 *                                        restarted, with another port
 * ```
 */
import type { Endpoint } from '#wire/endpoint.ts';
import {
  decodeAnswer,
  decodeDescription,
  encodeAction,
  type IgdAction,
  type IgdAnswer,
  type IgdService,
  igdFaults,
} from '#wire/igd.ts';
import type { HttpTarget } from '#wire/ssdp.ts';
import type { Lease, ProtocolClient, ProtocolState } from './io.ts';
import { earliest, isExternal, minRecheckMs, minRetryMs } from './timing.ts';
import { UpnpSearch } from './upnp-search.ts';

const leaseSeconds = 3600;
/** Gateways forget at a restart and do not say so. */
const renewEveryMs = 600_000;
/** What has no end is believed this long after the gateway last confirmed it. */
const permanentBelievedMs = 1_800_000;
const httpTimeoutMs = 5000;
const maxPortTries = 4;

export interface HttpRequest {
  readonly target: HttpTarget;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | undefined;
}

export interface UpnpOptions {
  readonly gateway: string;
  readonly local: string;
  readonly port: number;
  readonly search: (remote: Endpoint, bytes: Uint8Array) => void;
  /** Sends a request; the number that its answer will carry. */
  readonly http: (request: HttpRequest) => number;
  readonly fault: (name: string) => void;
  /** 0 to 65535. */
  readonly random: () => number;
}

type Step =
  | { readonly kind: 'rest' }
  | { readonly kind: 'search' }
  | { readonly kind: 'describe'; readonly location: HttpTarget }
  | { readonly kind: 'call'; readonly service: IgdService; readonly action: IgdAction };

interface Adding {
  readonly externalPort: number;
  readonly leaseSeconds: number;
  readonly any: boolean;
  readonly tries: number;
}

export class UpnpClient implements ProtocolClient {
  readonly protocol = 'upnp';
  readonly #options: UpnpOptions;
  #state: ProtocolState = { kind: 'idle' };
  #search: UpnpSearch | undefined;
  #step: Step = { kind: 'rest' };
  #request: { readonly id: number; readonly until: number } | undefined;
  /** Services that have not been asked yet; then the one that is used. */
  #services: readonly IgdService[] = [];
  #service: IgdService | undefined;
  #address: string | undefined;
  #adding: Adding | undefined;
  #product: string | undefined;
  #checkedAt = -Infinity;
  #isReleasing = false;
  #isReleased = false;

  constructor(options: UpnpOptions) {
    this.#options = options;
  }

  get state(): ProtocolState {
    return this.#state;
  }

  get product(): string | undefined {
    return this.#product;
  }

  get isReleased(): boolean {
    return this.#isReleased;
  }

  probe(at: number): void {
    if (this.#state.kind === 'mapped') {
      this.recheck(at);
      return;
    }
    this.#state = { kind: 'asking' };
    this.#beginSearch(at);
  }

  map(at: number): void {
    const service = this.#service;
    if (this.#state.kind !== 'found' || service === undefined) return;
    this.#state = { kind: 'found', mapping: true };
    const { port } = this.#options;
    this.#add({ externalPort: port, leaseSeconds, any: service.choosesPort, tries: 0 }, at);
  }

  recheck(at: number): void {
    if (this.#state.kind !== 'mapped' || this.#step.kind !== 'rest') return;
    if (at < this.#checkedAt + minRecheckMs) return;
    this.#renew(at);
  }

  release(at: number): void {
    this.#isReleasing = true;
    this.#search = undefined;
    const service = this.#service;
    if (this.#state.kind !== 'mapped' || service === undefined) {
      this.#isReleased = true;
      return;
    }
    const { port } = this.#state.lease.external;
    this.#call(service, { name: 'DeletePortMapping', externalPort: port }, at);
  }

  found(remote: Endpoint, bytes: Uint8Array, at: number): void {
    this.#search?.receive(remote, bytes);
    this.#look(at);
  }

  /** Whether the answer was to the request in flight. */
  httpAnswer(id: number, status: number, body: string, at: number): void {
    if (this.#request?.id !== id) return;
    this.#request = undefined;
    const step = this.#step;
    this.#step = { kind: 'rest' };
    if (step.kind === 'describe') this.#described(step.location, status, body, at);
    else if (step.kind === 'call') this.#called(step, status, body, at);
  }

  httpFailed(id: number, reason: string, at: number): void {
    if (this.#request?.id === id) this.#httpFailed(reason, at);
  }

  wake(at: number): void {
    if (this.#isReleased) return;
    if (this.#request !== undefined && this.#request.until <= at) {
      this.#httpFailed('no answer', at);
    }
    this.#search?.wake(at);
    this.#look(at);
    if (this.#state.kind !== 'mapped') return;
    const { lease } = this.#state;
    if (lease.expiresAt <= at)
      this.#end({ kind: 'absent', reason: 'the gateway stopped answering' });
    else if (lease.renewAt <= at && this.#step.kind === 'rest') this.#renew(at);
  }

  deadline(): number | undefined {
    if (this.#isReleased) return undefined;
    const lease = this.#state.kind === 'mapped' ? this.#state.lease : undefined;
    const renewAt = this.#step.kind === 'rest' ? lease?.renewAt : undefined;
    return earliest([this.#request?.until, this.#search?.deadline, lease?.expiresAt, renewAt]);
  }

  #beginSearch(at: number): void {
    const { gateway, search: send, fault } = this.#options;
    this.#services = [];
    this.#request = undefined;
    this.#step = { kind: 'search' };
    this.#search = new UpnpSearch({ gateway, send, fault }, at);
  }

  /** The next place to look at, when there is nothing else to do. */
  #look(at: number): void {
    if (this.#step.kind !== 'search' || this.#search === undefined) return;
    const location = this.#search.next();
    if (location !== undefined) {
      this.#step = { kind: 'describe', location };
      this.#send({ target: location, headers: {}, body: undefined }, at);
      return;
    }
    const { failure } = this.#search;
    if (failure !== undefined) this.#end({ kind: 'absent', reason: failure });
  }

  #described(location: HttpTarget, status: number, body: string, at: number): void {
    const description = status === 200 ? decodeDescription(body, location) : undefined;
    if (description === undefined || description.services.length === 0) {
      this.#nextPlace(
        status === 200 ? 'the device maps no ports' : `its description: HTTP ${status}`,
        at,
      );
      return;
    }
    this.#product = description.product || undefined;
    this.#services = description.services;
    this.#askService(at);
  }

  #nextPlace(reason: string, at: number): void {
    this.#search?.failed(reason);
    this.#step = { kind: 'search' };
    this.#look(at);
  }

  #askService(at: number): void {
    const [service, ...rest] = this.#services;
    if (service === undefined) {
      this.#nextPlace('no external address', at);
      return;
    }
    this.#services = rest;
    this.#call(service, { name: 'GetExternalIPAddress' }, at);
  }

  #call(service: IgdService, action: IgdAction, at: number): void {
    this.#step = { kind: 'call', service, action };
    const request = encodeAction(service, action);
    this.#send({ target: service.control, ...request }, at);
  }

  #send(request: HttpRequest, at: number): void {
    this.#request = { id: this.#options.http(request), until: at + httpTimeoutMs };
  }

  #called(
    { service, action }: Step & { readonly kind: 'call' },
    status: number,
    body: string,
    at: number,
  ): void {
    if (action.name === 'DeletePortMapping') {
      this.#isReleased = true;
      return;
    }
    const isSoap = status === 200 || status === 500;
    const answer = isSoap ? decodeAnswer(body, action.name) : undefined;
    if (action.name === 'GetExternalIPAddress') this.#addressIs(service, answer, at);
    else this.#added(answer, status, at);
  }

  #addressIs(service: IgdService, answer: IgdAnswer | undefined, at: number): void {
    const address = answer?.type === 'done' ? answer.address : undefined;
    if (address === undefined || !isExternal({ address, port: 1 })) {
      this.#askService(at);
      return;
    }
    this.#service = service;
    this.#address = address;
    this.#search = undefined;
    if (this.#state.kind !== 'mapped') {
      this.#state = { kind: 'found', mapping: false };
      return;
    }
    const { external, lifetimeSeconds } = this.#state.lease;
    this.#add(
      {
        externalPort: external.port,
        leaseSeconds: lifetimeSeconds === undefined ? 0 : leaseSeconds,
        ...{ any: service.choosesPort, tries: 0 },
      },
      at,
    );
  }

  #add(adding: Adding, at: number): void {
    const service = this.#service;
    if (service === undefined) return;
    this.#adding = adding;
    const { port, local } = this.#options;
    this.#call(
      service,
      {
        name: adding.any ? 'AddAnyPortMapping' : 'AddPortMapping',
        ...{ externalPort: adding.externalPort, internalPort: port, internalAddress: local },
        leaseSeconds: adding.leaseSeconds,
      },
      at,
    );
  }

  #added(answer: IgdAnswer | undefined, status: number, at: number): void {
    const adding = this.#adding;
    const address = this.#address;
    if (adding === undefined || address === undefined) return;
    if (answer?.type === 'done') {
      const external = { address, port: answer.port ?? adding.externalPort };
      this.#state = { kind: 'mapped', lease: leaseFor(external, adding.leaseSeconds, at) };
      return;
    }
    const code = answer?.code;
    const again = code === undefined ? undefined : this.#otherwise(adding, code);
    if (again !== undefined) {
      this.#add(again, at);
      return;
    }
    const reason = code === undefined ? `HTTP ${status}` : (igdFaults[code] ?? `error ${code}`);
    this.#end({ kind: 'refused', reason: reason.replaceAll('-', ' ') });
  }

  /** What to ask for after a refusal, if anything. */
  #otherwise(adding: Adding, code: number): Adding | undefined {
    const tries = adding.tries + 1;
    if (tries >= maxPortTries) return undefined;
    if (adding.any && (code === 401 || code === 402 || code === 501)) {
      return { ...adding, any: false, tries };
    }
    if (code === 718) {
      return { ...adding, externalPort: 49_152 + (this.#options.random() & 0x3fff), tries };
    }
    // Some that want leases without end say so by other codes.
    if ((code === 725 || code === 402 || code === 501) && adding.leaseSeconds !== 0) {
      return { ...adding, leaseSeconds: 0, tries };
    }
    return undefined;
  }

  #renew(at: number): void {
    this.#checkedAt = at;
    const service = this.#service;
    if (service === undefined) {
      this.#beginSearch(at);
      return;
    }
    this.#services = [];
    this.#call(service, { name: 'GetExternalIPAddress' }, at);
  }

  #httpFailed(reason: string, at: number): void {
    const step = this.#step;
    this.#request = undefined;
    this.#step = { kind: 'rest' };
    if (this.#isReleasing) this.#isReleased = true;
    else if (step.kind === 'describe') this.#nextPlace(reason, at);
    else if (this.#search !== undefined) this.#askService(at);
    else this.#beginSearch(at);
  }

  /** Nothing more to be had; a mapping is believed until it ends. */
  #end(state: ProtocolState & { readonly kind: 'absent' | 'refused' }): void {
    this.#search = undefined;
    this.#step = { kind: 'rest' };
    this.#request = undefined;
    if (this.#state.kind === 'mapped' && state.kind === 'absent') {
      const { lease } = this.#state;
      const at = lease.renewAt;
      const renewAt = Math.max(at, this.#checkedAt) + Math.max(minRetryMs, renewEveryMs / 10);
      if (renewAt < lease.expiresAt) {
        this.#state = { kind: 'mapped', lease: { ...lease, renewAt } };
        return;
      }
    }
    this.#state = state;
  }
}

function leaseFor(external: Endpoint, seconds: number, at: number): Lease {
  const lifetimeMs = seconds === 0 ? permanentBelievedMs : seconds * 1000;
  return {
    external,
    lifetimeSeconds: seconds === 0 ? undefined : seconds,
    renewAt: at + Math.min(lifetimeMs / 2, renewEveryMs),
    expiresAt: at + lifetimeMs,
  };
}
