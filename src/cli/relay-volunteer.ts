/**
 * A member's relay, beside its daemon: the daemon offers it to the server and passes on whom it must not serve any more. It follows
 * the daemon: through restarts, to another server, and while that has no connection it goes on with what it has.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { BuriError } from '#core/errors.ts';
import { generateKeyPair, type KeyPair } from '#core/noise/handshake-state.ts';
import { nodeCrypto as crypto } from '#crypto/node-crypto.ts';
import { Relay } from '#relay/relay.ts';
import { DataDirectory } from '#server/data-directory.ts';
import { createLog, type Log } from '#server/log.ts';
import { parseEndpoint } from '#wire/endpoint.ts';
import type { RelayOffer } from '#wire/relay-control.ts';
import type { VolunteerLine } from '#wire/volunteer.ts';
import { onHangUp } from './hang-up.ts';
import type { VolunteerFlags } from './relay.ts';
import { listenRelay, offeredUdp, offerOf } from './relay-listen.ts';
import { listenTcp, type TcpListener } from './relay-tcp.ts';
import { followDaemon } from './volunteer-link.ts';

/** Until the daemon is looked for again. */
const retryMs = 2000;

type StateLine = Extract<VolunteerLine, { readonly t: 'state' }>;

/** Serves until the signal. BuriError: what is in the way. */
export async function runVolunteer(flags: VolunteerFlags, signal: AbortSignal): Promise<void> {
  const log = createLog(flags.logLevel, 'buri-relay');
  using directory = flags.data === undefined ? undefined : DataDirectory.open(flags.data);
  const privateKey = directory?.key('relay.key', crypto).bytes();
  const keys =
    privateKey === undefined
      ? generateKeyPair(crypto)
      : { privateKey, publicKey: crypto.x25519PublicKey(privateKey) };
  const volunteer = new VolunteerRelay(flags, keys, log);
  onHangUp(() => volunteer.reloadTls(), log);
  while (!signal.aborted) await volunteer.serve(signal);
}

class VolunteerRelay {
  readonly #flags: VolunteerFlags;
  readonly #keys: KeyPair;
  readonly #log: Log;
  #hasServed = false;
  #tcp: TcpListener | undefined;

  constructor(flags: VolunteerFlags, keys: KeyPair, log: Log) {
    this.#flags = flags;
    this.#keys = keys;
    this.#log = log;
  }

  reloadTls(): void {
    this.#tcp?.reloadTls();
  }

  /** Until the signal, or until the daemon has logged in to another server. */
  async serve(signal: AbortSignal): Promise<void> {
    const clusterKey = await this.#clusterKey(signal);
    if (clusterKey === undefined) return;
    const relay = new Relay({ crypto, clusterKey, keys: this.#keys });
    const stopListening = new AbortController();
    try {
      const bound = listenRelay(relay, this.#flags.relay);
      const { listen } = this.#flags;
      const tcp =
        listen === undefined
          ? undefined
          : await listenTcp(relay, listen, undefined, this.#flags, stopListening.signal);
      this.#tcp = tcp;
      const ws = tcp === undefined ? [] : [tcp.url];
      const offer = { ...offerOf(offeredUdp(bound, []), ws), relayKey: this.#keys.publicKey };
      await this.#follow(relay, clusterKey, offer, signal);
      // The offer is withdrawn: the server tells clients of other relays while this one goes on for a while.
      if (signal.aborted) this.#log.info('ending');
      await relay.close(signal.aborted ? undefined : 0);
      this.#log.info(relay.status(), 'ended');
    } finally {
      stopListening.abort();
      await relay.close(0);
    }
  }

  /** Of the server that the daemon is logged in to; waits until it is. */
  async #clusterKey(signal: AbortSignal): Promise<Uint8Array | undefined> {
    let clusterKey: Uint8Array | undefined;
    let hasSaid = false;
    while (clusterKey === undefined && !signal.aborted) {
      const known = new AbortController();
      await this.#attempt(undefined, AbortSignal.any([signal, known.signal]), (line) => {
        if (line.t !== 'server') return;
        ({ clusterKey } = line);
        if (clusterKey !== undefined) known.abort();
        else if (!hasSaid) this.#log.info('waiting until the daemon is logged in');
        hasSaid = true;
      });
    }
    return clusterKey;
  }

  async #follow(
    relay: Relay,
    clusterKey: Uint8Array,
    offer: RelayOffer,
    signal: AbortSignal,
  ): Promise<void> {
    const other = new AbortController();
    const ends = AbortSignal.any([signal, other.signal]);
    while (!ends.aborted) {
      let refusal: BuriError | undefined;
      await this.#attempt(offer, ends, (line) => {
        if (line.t === 'revoke') relay.revoke(line.revoked);
        else if (line.t === 'state') {
          refusal = this.#state(line, offer);
          if (refusal !== undefined) other.abort();
        } else {
          const { connected, serverTime } = line;
          relay.setServer(connected, serverTime && serverTime - Date.now());
          if (line.clusterKey === undefined || Buffer.compare(line.clusterKey, clusterKey) === 0)
            return;
          this.#log.warn('the daemon has logged in to another server');
          other.abort();
        }
      });
      if (refusal !== undefined) throw refusal;
      relay.setServer(false);
    }
  }

  /** The error by which it ends, when it is refused before it ever served. */
  #state({ id, state, unreachable, reason }: StateLine, offer: RelayOffer): BuriError | undefined {
    const message = `the server does not take this relay: ${reason ?? 'it does not say why'}`;
    if (state === 'refused') {
      if (!this.#hasServed) return new BuriError('relay-refused', message);
      this.#log.error({ relay: id }, message);
      return undefined;
    }
    const { udp, ws } = offer;
    if (!this.#hasServed) this.#log.info({ relay: id, udp, ws }, 'ready');
    this.#hasServed = true;
    // Offered for both families, it serves that in which the daemon's connection is.
    const silent = unreachable.filter((text) => !isUnspecified(text));
    if (state === 'unreachable')
      this.#log.warn(
        { relay: id, unreachable: silent },
        'the server gets no answer there, and lists it to nobody: is the UDP port open?',
      );
    else this.#log.info({ relay: id, state, unreachable: silent }, 'offered');
    return undefined;
  }

  /** Follows the daemon once; throws what is in the way before it ever served, and waits a little afterwards. */
  async #attempt(
    offer: RelayOffer | undefined,
    signal: AbortSignal,
    onLine: (line: VolunteerLine) => void,
  ): Promise<void> {
    try {
      await followDaemon(this.#flags.socket, offer, onLine, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (!(error instanceof BuriError) || !this.#hasServed) throw error;
      this.#log.warn({ code: error.code }, error.message);
      await sleep(retryMs, undefined, { signal }).catch(() => {});
    }
  }
}

const isUnspecified = (text: string): boolean => {
  const address = parseEndpoint(text)?.address;
  return address === '0.0.0.0' || address === '::';
};
