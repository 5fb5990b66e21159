import type { Endpoint } from '#wire/endpoint.ts';
import { decodeStun, encodeBindingSuccess } from '#wire/stun.ts';
import type { Host } from './network.ts';

export const stunPorts = [3478, 3479] as const;

/** A STUN server on two ports of every address of a host; the change-port test answers from the other one. */
export class StunServer {
  readonly #host: Host;
  /** False: it is down. */
  up = true;
  requests = 0;

  constructor(host: Host) {
    this.#host = host;
    for (const port of stunPorts) {
      host.bind(port, (bytes, remote) => this.#receive(port, bytes, remote));
    }
  }

  get endpoints(): Endpoint[] {
    return this.#host.addresses.flatMap((address) => stunPorts.map((port) => ({ address, port })));
  }

  #receive(port: number, bytes: Uint8Array, remote: Endpoint): void {
    const request = decodeStun(bytes);
    if (!this.up || request === undefined || request.class !== 'request') return;
    this.requests += 1;
    const other = stunPorts[0] === port ? stunPorts[1] : stunPorts[0];
    const from = request.changeRequest?.port === true ? other : port;
    const { transactionId } = request;
    this.#host.send(from, remote, encodeBindingSuccess({ transactionId, xorMapped: remote }));
  }
}
