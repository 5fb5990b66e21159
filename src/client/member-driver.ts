import type { MemberInput, MemberOutput } from '#core/member/io.ts';
import type { Member } from '#core/member/member.ts';
import type { Engine } from '#engine/engine.ts';
import type { ClientMessage } from '#wire/control.ts';
import type { SystemClock } from './clock.ts';
import type { Notices } from './notices.ts';
import { PunchSockets } from './punch-sockets.ts';
import type { StateStore } from './state.ts';

/** A timer is never set further ahead: a machine that slept comes back to it soon. */
const maxTimerMs = 30_000;

export type BridgeWish = Extract<
  MemberOutput,
  { readonly type: 'bridge-wanted' | 'bridge-unwanted' }
>;

export interface DriverOptions {
  readonly engine: Engine;
  readonly clock: SystemClock;
  readonly store: StateStore;
  readonly notices: Notices;
  readonly send: (message: ClientMessage) => void;
  /** @param slept the machine has slept: the connection is dead, most likely */
  readonly checkServer: (slept: boolean) => void;
  /** A relay's WebSocket is to be bridged, or not any more. */
  readonly bridge?: (wish: BridgeWish) => void;
  /** The server took this client out of a network. */
  readonly onRemoved: (network: string, reason: string) => void;
}

/** Drives one `Member` with real time, the packet engine, the control link and the disk. */
export class MemberDriver {
  readonly member: Member;
  readonly #options: DriverOptions;
  readonly #punchSockets: PunchSockets;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(member: Member, options: DriverOptions) {
    this.member = member;
    this.#options = options;
    const report = (input: MemberInput) => this.feed(input);
    this.#punchSockets = new PunchSockets({ engine: options.engine, report });
  }

  feed(input: MemberInput): void {
    if (this.#closed) return;
    this.member.handle(input, this.#options.clock.now());
    for (let output = this.member.poll(); output !== undefined; output = this.member.poll()) {
      this.#carryOut(output);
    }
    this.#schedule(input.type === 'tick');
  }

  /** Where everybody is reached now: for the next start. */
  saveWays(): void {
    const { store, clock } = this.#options;
    store.saveWays(this.member.ways(clock.now()));
  }

  /** Ends all tunnels: the engine forgets the peers with their keys. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#punchSockets.close();
    for (const peer of this.member.manager.peers.values()) {
      this.#options.engine.removePeer(peer.index);
    }
  }

  /** What is due is done now: while inputs come faster than they are dealt with no timer has its turn. */
  #schedule(hasTicked: boolean): void {
    clearTimeout(this.#timer);
    const deadline = this.member.deadline();
    if (deadline === undefined) return;
    const delayMs = deadline - this.#options.clock.now().monotonic;
    if (delayMs <= 0 && !hasTicked) {
      this.feed({ type: 'tick' });
      return;
    }
    this.#timer = setTimeout(
      () => this.feed({ type: 'tick' }),
      Math.ceil(Math.min(maxTimerMs, Math.max(0, delayMs))),
    );
  }

  #carryOut(output: MemberOutput): void {
    const { engine, store, notices } = this.#options;
    switch (output.type) {
      case 'send':
        this.#options.send(output.message);
        break;
      case 'check-server':
        this.#options.checkServer(output.slept === true);
        break;
      case 'datagram': {
        const { socket, remote, bytes, type: _, ...options } = output;
        engine.sendDatagram(socket, remote, bytes, options);
        break;
      }
      case 'punch-open':
      case 'punch-send':
      case 'punch-adopt':
      case 'punch-close':
      case 'drop-socket':
        this.#punchSockets.handle(output);
        break;
      case 'set-peer':
        engine.setPeer(output.peer, { innerPrefixes: output.innerPrefixes });
        break;
      case 'remove-peer':
        engine.removePeer(output.peer);
        break;
      case 'set-path':
        engine.setPath(output.peer, output.path);
        break;
      case 'install-keys':
        engine.installKeys(output.keys);
        // The engine has its own copy.
        output.keys.sendKey.fill(0);
        output.keys.receiveKey.fill(0);
        break;
      case 'activate-keys':
        engine.activateKeys(output.localIndex);
        break;
      case 'remove-keys':
        engine.removeKeys(output.localIndex);
        break;
      case 'keepalive':
        engine.sendKeepalive(output.peer);
        break;
      case 'set-lan': {
        const { peer, ethernet, groups } = output;
        engine.setLan(peer, { ethernet, groups });
        break;
      }
      case 'message':
        engine.sendMessage(output.peer, output.bytes);
        break;
      case 'save-network': {
        const network = this.member.saved(output.network);
        if (network !== undefined) store.saveNetwork(network);
        break;
      }
      case 'save-ways':
        this.saveWays();
        break;
      case 'forget-network':
        this.#forget(output.network);
        this.#options.onRemoved(output.network, output.reason);
        break;
      case 'save-timestamp':
        store.update({ timestamp: output.timestamp });
        break;
      case 'save-server-time':
        store.update({ serverTimeMs: output.serverTimeMs });
        break;
      case 'bridge-wanted':
      case 'bridge-unwanted':
        this.#options.bridge?.(output);
        break;
      case 'notice':
        notices.add({ code: output.code, message: output.message });
        break;
      case 'clear-notice':
        notices.clear(output.code);
        break;
      default:
        output satisfies never;
    }
  }

  #forget(network: string): void {
    const { store } = this.#options;
    const { [network]: _, ...secrets } = store.settings.secrets;
    store.update({ secrets });
    store.removeNetwork(network);
  }
}
