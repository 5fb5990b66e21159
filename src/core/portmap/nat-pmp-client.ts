/** NAT-PMP with one gateway for one port. */
import type { Endpoint } from '#wire/endpoint.ts';
import { encodeNatPmpAddress, encodeNatPmpMap, type NatPmpResponse } from '#wire/nat-pmp.ts';
import { LeaseClient, type Purpose } from './lease-client.ts';
import { checkAgainMs, isExternal, wantedLifetimeSeconds } from './timing.ts';

export interface NatPmpOptions {
  readonly port: number;
  readonly send: (bytes: Uint8Array) => void;
  readonly fault: (name: string) => void;
}

/** Its probe and its check ask for the outer address. */
export class NatPmpClient extends LeaseClient {
  readonly protocol = 'nat-pmp';
  readonly #options: NatPmpOptions;
  #address: string | undefined;

  constructor(options: NatPmpOptions) {
    super(options.send);
    this.#options = options;
  }

  probe(at: number): void {
    if (this.held !== undefined) {
      this.recheck(at);
      return;
    }
    this.become({ kind: 'asking' });
    this.ask('probe', at);
  }

  map(at: number): void {
    if (this.state.kind === 'found') this.become({ kind: 'found', mapping: true });
    this.ask('map', at);
  }

  /** Also of what the gateway tells everybody. */
  receive(response: NatPmpResponse, at: number): void {
    const hasRestarted = this.hasRestarted(response.epochSeconds, at);
    if (response.type === 'address') this.#addressIs(response.address, at);
    else if (response.type === 'map') this.#mapped(response, at);
    else this.#failed(response, at);
    if (hasRestarted && response.type !== 'map') this.renew(at);
  }

  protected encode(purpose: Purpose, held: Endpoint | undefined): Uint8Array {
    const internalPort = this.#options.port;
    if (purpose === 'probe' || purpose === 'check') return encodeNatPmpAddress();
    if (purpose === 'release') {
      return encodeNatPmpMap({ internalPort, suggestedPort: 0, lifetimeSeconds: 0 });
    }
    const suggestedPort = held?.port ?? internalPort;
    return encodeNatPmpMap({ internalPort, suggestedPort, lifetimeSeconds: wantedLifetimeSeconds });
  }

  get #asksForAddress(): boolean {
    return this.purpose === 'probe' || this.purpose === 'check';
  }

  #addressIs(address: string, at: number): void {
    if (this.#asksForAddress) this.answered();
    if (!isExternal({ address, port: 1 })) {
      if (this.state.kind === 'asking') this.refused('no external address');
      return;
    }
    this.#address = address;
    if (this.state.kind === 'asking') this.become({ kind: 'found', mapping: false });
    const lease = this.held;
    if (lease !== undefined) {
      this.hold({ ...lease, external: { ...lease.external, address } }, at);
    }
  }

  #mapped(response: NatPmpResponse & { readonly type: 'map' }, at: number): void {
    if (response.internalPort !== this.#options.port) {
      this.#options.fault('nat-pmp-not-ours');
      return;
    }
    const address = this.#address;
    if (this.purpose !== 'release' && (this.purpose !== 'map' || address === undefined)) return;
    if (this.answered() === 'release' || address === undefined) return;
    this.granted({ address, port: response.externalPort }, response.lifetimeSeconds, at);
    // The address may have changed with whatever made the mapping necessary.
    if (this.held !== undefined) this.checkAfter(checkAgainMs, at);
  }

  #failed(response: NatPmpResponse & { readonly type: 'error' }, at: number): void {
    if (this.purpose === undefined) return;
    if (response.of !== (this.#asksForAddress ? 'address' : 'map')) return;
    const purpose = this.answered();
    if (purpose === 'release') return;
    if (purpose === 'check') this.checkAfter(checkAgainMs, at);
    else this.refused(response.result);
  }
}
