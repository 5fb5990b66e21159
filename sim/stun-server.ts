import type { Endpoint } from '#wire/endpoint.ts';
import { decodeStun, stunAttribute } from '#wire/stun.ts';
import { encodeBindingError, encodeBindingSuccess } from '#wire/stun-encode.ts';
import type { Host } from './network.ts';

export const stunPorts = [3478, 3479] as const;

/**
 * A STUN server on two ports of one host, or of two hosts, which are its two addresses; it does what RFC 5780 asks for with
 * what it has.
 */
export class StunServer {
  readonly #hosts: readonly Host[];
  /** False: it is down. */
  up = true;
  requests = 0;

  constructor(...hosts: Host[]) {
    this.#hosts = hosts;
    for (const host of hosts) {
      for (const port of stunPorts) {
        host.bind(port, (bytes, remote) => this.#receive(host, port, bytes, remote));
      }
    }
  }

  get endpoints(): Endpoint[] {
    return this.#hosts.flatMap(({ addresses }) =>
      addresses.flatMap((address) => stunPorts.map((port) => ({ address, port }))),
    );
  }

  #receive(to: Host, port: number, bytes: Uint8Array, remote: Endpoint): void {
    const request = decodeStun(bytes);
    if (!this.up || request === undefined || request.class !== 'request') return;
    this.requests += 1;
    const otherPort = stunPorts[0] === port ? stunPorts[1] : stunPorts[0];
    const otherHost = this.#hosts.find((host) => host !== to);
    const { transactionId, changeRequest: change, responsePort } = request;
    if (change?.ip === true && otherHost === undefined) {
      const unknownAttributes = [stunAttribute.changeRequest];
      const error = { transactionId, code: 420, reason: 'Unknown', unknownAttributes };
      to.send(port, remote, encodeBindingError(error));
      return;
    }
    const from = change?.ip === true ? otherHost! : to;
    const [address] = (otherHost ?? to).addresses;
    const answer = encodeBindingSuccess({
      ...{ transactionId, xorMapped: remote },
      otherAddress: { address: address!, port: otherPort },
    });
    const target = responsePort === undefined ? remote : { ...remote, port: responsePort };
    from.send(change?.port === true ? otherPort : port, target, answer);
  }
}
