import type { Crypto } from '#core/crypto.ts';
import type { KeyPair } from '#core/noise/handshake-state.ts';
import type { Path } from '#core/path/path.ts';
import type {
  PskCandidate,
  SessionActivity,
  SessionDrop,
  SessionInput,
  SessionOutput,
} from '#core/session/events.ts';
import { Keypair, type OpenFailure } from '#core/session/keypair.ts';
import type { SessionTimes } from '#core/session/times.ts';
import { Tunnels } from '#core/session/tunnels.ts';
import { sameEndpoint } from '#wire/endpoint.ts';
import { decodeTransport, messageKind } from '#wire/wireguard.ts';
import type { Scheduled, VirtualClock } from './clock.ts';

export interface TunnelEndOptions {
  readonly clock: VirtualClock;
  readonly crypto: Crypto;
  readonly keyPair: KeyPair;
  /** Puts a datagram on the network. */
  readonly transmit: (bytes: Uint8Array, to: Path) => void;
  readonly times?: SessionTimes;
  readonly lastTimestamp?: Uint8Array;
  readonly handshakesPerSecond?: number;
}

/** Packets that wait for keys or a path. */
const maximumStaged = 16;

interface PeerPlane {
  path: Path | undefined;
  active: Keypair | undefined;
  readonly staged: Uint8Array[];
}

/**
 * One client's tunnels with a data plane in TypeScript: what a driver makes of `Tunnels` and the packet engine, under a
 * virtual clock. It checks on the way that no counter is accepted twice.
 */
export class TunnelEnd {
  readonly tunnels: Tunnels;
  /** Everything the machine wanted done, keys left out. */
  readonly outputs: SessionOutput[] = [];
  readonly received: { readonly peer: number; readonly packet: Uint8Array }[] = [];
  readonly drops: (SessionDrop | OpenFailure | 'unknown-index' | 'unknown-kind')[] = [];
  /** Keys in the data plane, by local index. */
  readonly keypairs = new Map<number, { readonly peer: number; readonly keypair: Keypair }>();
  keepalivesReceived = 0;
  lastTimestamp: Uint8Array | undefined;
  readonly #options: TunnelEndOptions;
  readonly #planes = new Map<number, PeerPlane>();
  readonly #accepted = new Set<string>();
  #timer: Scheduled | undefined;
  #isStopped = false;

  constructor(options: TunnelEndOptions) {
    this.#options = options;
    this.tunnels = new Tunnels(options);
  }

  addPeer(
    peer: number,
    publicKey: Uint8Array,
    pskCandidates: readonly PskCandidate[],
    path?: Path,
    persistentKeepaliveMs = 0,
  ): void {
    this.#planes.set(peer, { path, active: undefined, staged: [] });
    this.handle({
      kind: 'add-peer',
      peer,
      publicKey,
      pskCandidates,
      pathAvailable: path !== undefined,
      persistentKeepaliveMs,
    });
  }

  setPath(peer: number, path: Path | undefined): void {
    const plane = this.#planes.get(peer)!;
    plane.path = path;
    this.handle({ kind: 'update-peer', peer, pathAvailable: path !== undefined });
    this.#flush(peer);
  }

  /** A packet of the device for this peer. */
  send(peer: number, packet: Uint8Array): void {
    const plane = this.#planes.get(peer)!;
    plane.staged.push(packet);
    if (plane.staged.length > maximumStaged) plane.staged.shift();
    this.#flush(peer);
    if (plane.active === undefined) this.handle({ kind: 'want-session', peer });
  }

  /** A datagram of the network. */
  receive(bytes: Uint8Array, from: Path): void {
    if (this.#isStopped) return;
    const kind = messageKind(bytes);
    if (kind === undefined) this.drops.push('unknown-kind');
    else if (kind === 'transport') this.#receiveTransport(bytes, from);
    else this.handle({ kind: 'datagram', datagram: kind, bytes, from });
  }

  handle(input: SessionInput): void {
    if (this.#isStopped) return;
    const drop = this.tunnels.handle(input, this.#options.clock.now);
    if (drop !== undefined) this.drops.push(drop);
    for (let output = this.tunnels.poll(); output !== undefined; output = this.tunnels.poll()) {
      this.#do(output);
    }
    this.#arm();
  }

  /** The process dies. */
  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
  }

  outputsOf<K extends SessionOutput['kind']>(kind: K): (SessionOutput & { readonly kind: K })[] {
    return this.outputs.filter(
      (output): output is SessionOutput & { readonly kind: K } => output.kind === kind,
    );
  }

  activeIndex(peer: number): number | undefined {
    return this.#planes.get(peer)?.active?.localIndex;
  }

  path(peer: number): Path | undefined {
    return this.#planes.get(peer)?.path;
  }

  #do(output: SessionOutput): void {
    this.outputs.push(output);
    switch (output.kind) {
      case 'send-datagram': {
        const to = output.to === 'current-path' ? this.path(output.peer!) : output.to;
        if (to !== undefined) this.#options.transmit(output.bytes, to);
        break;
      }
      case 'heard':
        this.#roam(output.peer, output.from);
        break;
      case 'install-keys': {
        const { keys } = output;
        const keypair = new Keypair(this.#options.crypto, keys);
        this.keypairs.set(keys.localIndex, { peer: keys.peer, keypair });
        keys.sendKey.fill(0);
        keys.receiveKey.fill(0);
        break;
      }
      case 'activate-keys':
        this.#planes.get(output.peer)!.active = this.keypairs.get(output.localIndex)!.keypair;
        this.#flush(output.peer);
        break;
      case 'remove-keys': {
        const plane = this.#planes.get(output.peer)!;
        if (plane.active?.localIndex === output.localIndex) plane.active = undefined;
        this.keypairs.get(output.localIndex)!.keypair.erase();
        this.keypairs.delete(output.localIndex);
        break;
      }
      case 'send-keepalive':
        this.#sendSealed(output.peer, new Uint8Array(0));
        break;
      case 'persist-timestamp':
        this.lastTimestamp = output.timestamp;
        break;
      case 'session-up':
      case 'session-down':
      case 'handshake-failed':
        break;
      default:
        output satisfies never;
    }
  }

  #flush(peer: number): void {
    const plane = this.#planes.get(peer)!;
    if (plane.active === undefined || plane.path === undefined) return;
    for (const packet of plane.staged.splice(0)) this.#sendSealed(peer, packet);
  }

  #sendSealed(peer: number, packet: Uint8Array): void {
    const { active, path } = this.#planes.get(peer)!;
    if (active === undefined || path === undefined) return;
    const message = active.seal(packet);
    if (message === undefined) return;
    const { localIndex } = active;
    this.#options.transmit(message, path);
    const change = packet.length > 0 ? { sentData: true } : { sentKeepalive: true };
    this.#report(peer, localIndex, change);
  }

  #receiveTransport(bytes: Uint8Array, from: Path): void {
    const header = decodeTransport(bytes);
    const entry = header && this.keypairs.get(header.receiverIndex);
    if (entry === undefined) {
      this.drops.push('unknown-index');
      return;
    }
    const opened = entry.keypair.open(bytes);
    if ('failure' in opened) {
      this.drops.push(opened.failure);
      return;
    }
    const { peer } = entry;
    const { localIndex } = entry.keypair;
    const id = `${localIndex}/${header!.counter}`;
    if (this.#accepted.has(id)) throw new Error(`counter ${id} was accepted twice`);
    this.#accepted.add(id);
    this.#roam(peer, from);
    this.handle({ kind: 'confirmed', peer, localIndex });
    const isData = opened.packet.length > 0;
    if (isData) this.received.push({ peer, packet: opened.packet });
    else this.keepalivesReceived++;
    this.#report(peer, localIndex, isData ? { receivedData: true } : { receivedKeepalive: true });
  }

  #roam(peer: number, from: Path): void {
    const plane = this.#planes.get(peer)!;
    if (plane.path !== undefined && sameEndpoint(plane.path.remote, from.remote)) return;
    plane.path = from;
    this.#options.clock.in(0, () =>
      this.handle({ kind: 'update-peer', peer, pathAvailable: true }),
    );
  }

  #report(peer: number, localIndex: number, change: Partial<SessionActivity>): void {
    const nothing = {
      sentData: false,
      sentKeepalive: false,
      receivedData: false,
      receivedKeepalive: false,
    };
    const activity = { ...nothing, peer, localIndex, ...change };
    // Reports come from another thread: never from inside the machine.
    this.#options.clock.in(0, () => this.handle({ kind: 'activity', activity }));
  }

  #arm(): void {
    const deadline = this.tunnels.deadline();
    if (deadline === this.#timer?.at) return;
    this.#timer?.cancel();
    this.#timer =
      deadline === undefined
        ? undefined
        : this.#options.clock.at(deadline, () => {
            this.#timer = undefined;
            this.handle({ kind: 'tick' });
          });
  }
}
