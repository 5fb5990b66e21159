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
} from '#wire/igd.ts';
import type { HttpTarget } from '#wire/ssdp.ts';
import { HttpExchange, type SendHttp } from './http-exchange.ts';
import type { ProtocolClient, ProtocolState } from './io.ts';
import { earliest, isExternal, minRecheckMs } from './timing.ts';
import {
  type Adding,
  addedLease,
  addingAction,
  addingAfter,
  firstAdding,
  refusalText,
  renewalOf,
  retryMs,
} from './upnp-adding.ts';
import { UpnpSearch } from './upnp-search.ts';

export interface UpnpOptions {
  readonly gateway: string;
  readonly local: string;
  readonly port: number;
  readonly search: (remote: Endpoint, bytes: Uint8Array) => void;
  readonly http: SendHttp;
  readonly fault: (name: string) => void;
  /** 0 to 65535. */
  readonly random: () => number;
}

type Step =
  | { readonly kind: 'rest' }
  | { readonly kind: 'search' }
  | { readonly kind: 'describe'; readonly location: HttpTarget }
  | { readonly kind: 'call'; readonly service: IgdService; readonly action: IgdAction };

export class UpnpClient implements ProtocolClient {
  readonly protocol = 'upnp';
  readonly #options: UpnpOptions;
  readonly #http: HttpExchange;
  #state: ProtocolState = { kind: 'idle' };
  #search: UpnpSearch | undefined;
  #step: Step = { kind: 'rest' };
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
    this.#http = new HttpExchange(options.http);
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
    this.#add(firstAdding(this.#options.port, service), at);
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

  httpAnswer(id: number, status: number, body: string, at: number): void {
    if (!this.#http.ends(id)) return;
    const step = this.#step;
    this.#step = { kind: 'rest' };
    if (step.kind === 'describe') this.#described(step.location, status, body, at);
    else if (step.kind === 'call') this.#called(step, status, body, at);
  }

  httpFailed(id: number, reason: string, at: number): void {
    if (this.#http.ends(id)) this.#httpFailed(reason, at);
  }

  wake(at: number): void {
    if (this.#isReleased) return;
    if (this.#http.isOverdue(at)) this.#httpFailed('no answer', at);
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
    return earliest([this.#http.deadline, this.#search?.deadline, lease?.expiresAt, renewAt]);
  }

  #beginSearch(at: number): void {
    const { gateway, search: send, fault } = this.#options;
    this.#services = [];
    this.#http.cancel();
    this.#step = { kind: 'search' };
    this.#search = new UpnpSearch({ gateway, send, fault }, at);
  }

  /** The next place to look at, when there is nothing else to do. */
  #look(at: number): void {
    if (this.#step.kind !== 'search' || this.#search === undefined) return;
    const location = this.#search.next();
    if (location !== undefined) {
      this.#step = { kind: 'describe', location };
      this.#http.begin({ target: location, headers: {}, body: undefined }, at);
      return;
    }
    const { failure } = this.#search;
    if (failure !== undefined) this.#end({ kind: 'absent', reason: failure });
  }

  #described(location: HttpTarget, status: number, body: string, at: number): void {
    const description = status === 200 ? decodeDescription(body, location) : undefined;
    if (description === undefined || description.services.length === 0) {
      const isFound = status === 200;
      this.#nextPlace(isFound ? 'the device maps no ports' : `description: HTTP ${status}`, at);
      return;
    }
    this.#product = description.product || undefined;
    this.#services = description.services;
    this.#askService(at);
  }

  #nextPlace(reason: string, at: number): void {
    if (this.#search === undefined) {
      this.#end({ kind: 'absent', reason });
      return;
    }
    this.#search.failed(reason);
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
    this.#http.begin({ target: service.control, ...encodeAction(service, action) }, at);
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
    const answer = [200, 500].includes(status) ? decodeAnswer(body, action.name) : undefined;
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
    this.#add(renewalOf(this.#state.lease, service), at);
  }

  #add(adding: Adding, at: number): void {
    const service = this.#service;
    if (service === undefined) return;
    this.#adding = adding;
    const { port, local: address } = this.#options;
    this.#call(service, addingAction(adding, { address, port }), at);
  }

  #added(answer: IgdAnswer | undefined, status: number, at: number): void {
    const adding = this.#adding;
    const address = this.#address;
    if (adding === undefined || address === undefined) return;
    if (answer?.type === 'done') {
      const external = { address, port: answer.port ?? adding.externalPort };
      this.#state = { kind: 'mapped', lease: addedLease(external, adding.leaseSeconds, at) };
      return;
    }
    const again = addingAfter(adding, answer?.code, this.#options.random);
    if (again !== undefined) this.#add(again, at);
    else this.#end({ kind: 'refused', reason: refusalText(answer?.code, status) });
  }

  #renew(at: number): void {
    this.#checkedAt = at;
    this.#services = [];
    if (this.#service === undefined) this.#beginSearch(at);
    else this.#call(this.#service, { name: 'GetExternalIPAddress' }, at);
  }

  #httpFailed(reason: string, at: number): void {
    const step = this.#step;
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
    this.#http.cancel();
    if (this.#state.kind === 'mapped' && state.kind === 'absent') {
      const { lease } = this.#state;
      const renewAt = Math.max(lease.renewAt, this.#checkedAt) + retryMs;
      if (renewAt < lease.expiresAt) {
        this.#state = { kind: 'mapped', lease: { ...lease, renewAt } };
        return;
      }
    }
    this.#state = state;
  }
}
