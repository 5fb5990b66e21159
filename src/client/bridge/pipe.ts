import { BuriError } from '#core/errors.ts';
import type { Addon } from '#engine/addon.ts';
import {
  MAX_SEGMENTS,
  MAX_SEND_BYTES,
  MESSAGE_ADDRESS,
  MESSAGE_FAMILY,
  MESSAGE_LENGTH,
  MESSAGE_OFFSET,
  MESSAGE_PORT,
  MESSAGE_SEGMENT,
  MESSAGE_WORDS,
} from '#engine/layout.ts';
import type { Tables } from '#engine/tables.ts';
import { FrameReader, opClose, opPing, opPong } from '#wire/web-socket.ts';
import {
  bridgeRetryFirstMs,
  bridgeRetryMostMs,
  bridgeSettledMs,
  bridgeUnsentBytes,
  maxBridgedBytes,
  networkProbeMs,
  silenceMs,
} from '../limits.ts';
import type { HttpProxy } from '../proxy.ts';
import {
  type BridgeCounter,
  type BridgeTarget,
  bridgeCounter,
  type PlainProxy,
} from './messages.ts';
import { Outbox } from './outbox.ts';
import { type Upgraded, upgrade } from './upgrade.ts';

export interface PipeOptions {
  readonly addon: Addon;
  readonly tables: Tables;
  readonly counters: Float64Array;
  /** Index of the UDP socket on 127.0.0.1 in the addon; the path to the engine has the same. */
  readonly socket: number;
  readonly enginePort: number;
  readonly targets: readonly BridgeTarget[];
  readonly onUp: () => void;
  readonly onDown: (error: BuriError) => void;
}

const loopback = 0x7f00_0001;
const batchesPerTurn = 4;

/**
 *   connecting ──open──► open ──broken──► waiting ──► connecting …        `end` from anywhere
 *       └──────── no target answers ────────▲
 */
type State =
  | { readonly kind: 'connecting'; readonly attempt: AbortController }
  | { readonly kind: 'open'; readonly line: Line }
  | { readonly kind: 'waiting'; readonly timer: NodeJS.Timeout }
  | { readonly kind: 'ended' };

interface Line {
  readonly upgraded: Upgraded;
  readonly outbox: Outbox;
  readonly since: number;
  readonly watch: NodeJS.Timeout;
  heardAt: number;
}

/** Carries datagrams between the engine's socket and one relay's WebSocket, and keeps that connected. */
export class BridgePipe {
  readonly #options: PipeOptions;
  readonly #incoming: DataView;
  #state: State = { kind: 'ended' };
  #failures = 0;
  // The run that goes to the engine: datagrams of one size, the last may be shorter.
  #used = 0;
  #segment = 0;
  #count = 0;

  constructor(options: PipeOptions) {
    this.#options = options;
    const { buffer, byteOffset, byteLength } = options.tables.incoming;
    this.#incoming = new DataView(buffer, byteOffset, byteLength);
    this.#connect();
  }

  end(): void {
    const state = this.#state;
    this.#state = { kind: 'ended' };
    if (state.kind === 'connecting') state.attempt.abort();
    else if (state.kind === 'waiting') clearTimeout(state.timer);
    else if (state.kind === 'open') closeLine(state.line);
  }

  /** The line answers soon, or is given up; a pause is cut short. */
  check(): void {
    const state = this.#state;
    if (state.kind === 'waiting') {
      clearTimeout(state.timer);
      this.#connect();
    } else if (state.kind === 'open') {
      const { line } = state;
      const before = line.heardAt;
      this.#control(line, opPing, nothing);
      setTimeout(() => {
        if (line.heardAt === before) this.#broken(line, 'the network has changed');
      }, networkProbeMs).unref();
    }
  }

  /** Datagrams of the engine wait. */
  receive(): void {
    const { addon, socket } = this.#options;
    for (let batch = 0; batch < batchesPerTurn; batch++) {
      const messages = addon.receive(socket);
      if (messages <= 0) break;
      const line = this.#state.kind === 'open' ? this.#state.line : undefined;
      line?.outbox.begin(performance.now());
      for (let i = 0; i < messages; i++) this.#take(i * MESSAGE_WORDS, line);
    }
    if (this.#state.kind === 'open') this.#state.line.outbox.flush();
  }

  #take(row: number, line: Line | undefined): void {
    const { tables, enginePort } = this.#options;
    const { messages } = tables;
    const length = messages[row + MESSAGE_LENGTH]!;
    const segment = messages[row + MESSAGE_SEGMENT]!;
    const isEngine =
      messages[row + MESSAGE_PORT] === enginePort &&
      messages[row + MESSAGE_FAMILY] === 4 &&
      messages[row + MESSAGE_ADDRESS] === loopback;
    if (length === 0 || segment === 0) return;
    if (!isEngine) this.#add('bridge-foreign', Math.ceil(length / segment));
    else if (line === undefined) this.#add('bridge-out-closed', Math.ceil(length / segment));
    else if (segment > maxBridgedBytes) this.#add('bridge-too-long', Math.ceil(length / segment));
    else {
      const start = messages[row + MESSAGE_OFFSET]!;
      for (let at = 0; at < length; at += segment) {
        line.outbox.add(this.#incoming, start + at, Math.min(segment, length - at));
      }
    }
  }

  #connect(): void {
    const attempt = new AbortController();
    this.#state = { kind: 'connecting', attempt };
    firstOf(this.#options.targets, attempt.signal).then(
      (upgraded) => {
        if (attempt.signal.aborted) upgraded.stream.destroy();
        else this.#opened(upgraded);
      },
      (error: Error) => {
        if (!attempt.signal.aborted) this.#wait(error);
      },
    );
  }

  #opened(upgraded: Upgraded): void {
    const { addon, counters, socket, enginePort, onUp } = this.#options;
    const { stream, tcp, rest } = upgraded;
    addon.setPath(socket, socket, loopbackBytes, enginePort, nothing, 0);
    limitUnsent(addon, tcp);
    const nowMs = performance.now();
    const line: Line = {
      ...{ upgraded, outbox: new Outbox(stream, counters), since: nowMs, heardAt: nowMs },
      watch: setInterval(() => this.#watch(line), silenceMs / 2),
    };
    this.#state = { kind: 'open', line };
    this.#add('bridge-connections', 1);
    const reader = new FrameReader(maxBridgedBytes, {
      onMessage: (bytes, at, length) => this.#deliver(bytes, at, length),
      onControl: (opcode, payload) => {
        if (opcode === opPing) this.#control(line, opPong, payload);
        else if (opcode === opClose) this.#broken(line, 'the relay closed it');
      },
    });
    const read = (chunk: Uint8Array): void => {
      line.heardAt = performance.now();
      const fault = reader.push(chunk);
      this.#sendRun();
      if (fault !== undefined) this.#broken(line, `the relay sends nonsense: ${fault}`);
    };
    if (rest.length > 0) read(rest);
    stream.on('data', read);
    stream.on('error', (error) => this.#broken(line, error.message));
    stream.on('close', () => this.#broken(line, 'the connection was closed'));
    onUp();
  }

  /** Puts a datagram for the engine into the run. */
  #deliver(bytes: Uint8Array, at: number, length: number): void {
    if (length === 0) return;
    const fits =
      this.#count > 0 &&
      length <= this.#segment &&
      this.#count < MAX_SEGMENTS &&
      this.#used + length <= MAX_SEND_BYTES;
    if (this.#count > 0 && !fits) this.#sendRun();
    if (this.#count === 0) this.#segment = length;
    copy(bytes, at, length, this.#options.tables.run, this.#used);
    this.#used += length;
    this.#count++;
    if (length < this.#segment) this.#sendRun();
  }

  #sendRun(): void {
    if (this.#count === 0) return;
    const { addon, socket } = this.#options;
    this.#add('bridge-in', this.#count);
    addon.sendRun(socket, this.#used, this.#segment, this.#count);
    this.#used = 0;
    this.#count = 0;
  }

  #watch(line: Line): void {
    if (performance.now() - line.heardAt > silenceMs) this.#broken(line, 'it has fallen silent');
    else this.#control(line, opPing, nothing);
  }

  #control(line: Line, opcode: number, payload: Uint8Array): void {
    // A copy: the payload of a ping lies in a buffer that is used again.
    const bytes = new Uint8Array(payload);
    line.outbox.begin(performance.now());
    line.outbox.frame(opcode, new DataView(bytes.buffer), 0, bytes.length);
    line.outbox.flush();
  }

  #broken(line: Line, why: string): void {
    if (this.#state.kind !== 'open' || this.#state.line !== line) return;
    closeLine(line);
    if (performance.now() - line.since > bridgeSettledMs) this.#failures = 0;
    this.#wait(new BuriError('relay-lost', why));
  }

  #wait(error: Error): void {
    this.#failures++;
    this.#add('bridge-failures', 1);
    const mostMs = Math.min(
      bridgeRetryMostMs,
      bridgeRetryFirstMs * 2 ** Math.min(this.#failures - 1, 10),
    );
    const timer = setTimeout(() => this.#connect(), mostMs * (1 - Math.random() / 2));
    this.#state = { kind: 'waiting', timer };
    const { onDown } = this.#options;
    onDown(error instanceof BuriError ? error : new BuriError('relay-lost', error.message));
  }

  #add(name: BridgeCounter, n: number): void {
    const { counters } = this.#options;
    const index = bridgeCounter[name];
    counters[index] = counters[index]! + n;
  }
}

const nothing = new Uint8Array(0);
const loopbackBytes = Uint8Array.of(127, 0, 0, 1);

function closeLine({ upgraded, watch }: Line): void {
  clearInterval(watch);
  upgraded.stream.destroy();
  upgraded.tcp.destroy();
}

/** In their order: the relay names its best first. */
async function firstOf(targets: readonly BridgeTarget[], signal: AbortSignal): Promise<Upgraded> {
  let last: unknown = new BuriError('relay-unreachable', 'the relay names no WebSocket');
  for (const { url, proxy } of targets) {
    try {
      return await upgrade(url, proxy && withLogin(proxy), signal);
    } catch (error) {
      last = error;
      if (signal.aborted) break;
    }
  }
  throw last;
}

const withLogin = ({ login, ...proxy }: PlainProxy): HttpProxy => ({
  ...proxy,
  authorization: () => login,
});

function copy(from: Uint8Array, at: number, length: number, to: Uint8Array, target: number): void {
  if (from instanceof Buffer) from.copy(to, target, at, at + length);
  else to.set(from.subarray(at, at + length), target);
}

/** So that the queue of a slow line is the one here, which drops, and not megabytes in the kernel. */
function limitUnsent(addon: Addon, tcp: object): void {
  const { fd } = (tcp as { _handle?: { fd?: number } })._handle ?? {};
  if (fd !== undefined && fd >= 0) addon.limitUnsent(fd, bridgeUnsentBytes);
}
