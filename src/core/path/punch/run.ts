/** The packets of one attempt, in order: which socket sends to which port, and when. */
import { after, type MonotonicMs } from '#core/time.ts';
import type { Endpoint } from '#wire/endpoint.ts';
import type { PunchPorts } from '#wire/signal.ts';
import {
  maxPunchProbes,
  maxPunchSockets,
  maxRunMs,
  maxSequenceWindow,
  packetsPerSecond,
  sequenceRoundsMs,
  settleMs,
} from './limits.ts';
import { guessSize, type PunchRole, type Technique } from './plan.ts';
import { PortPicker, portAt } from './ports.ts';

export interface RunOptions {
  readonly technique: Technique;
  readonly role: PunchRole;
  readonly ours: PunchPorts;
  readonly theirs: PunchPorts;
  readonly startAt: MonotonicMs;
  /** From 0 to below the number. */
  readonly random: (below: number) => number;
}

/** By the main socket, or by one of the attempt's own. */
export interface PunchPacket {
  readonly by: 'main' | number;
  readonly remote: Endpoint;
  /** The first packet of its socket: it opens the way, and need not arrive. */
  readonly opens: boolean;
}

const singleRound: readonly number[] = [0];
const sendingMs = (packets: number) => Math.ceil((packets * 1000) / packetsPerSecond);

export class Run {
  readonly role: PunchRole;
  readonly technique: Technique;
  /** How many sockets to open. */
  readonly sockets: number;
  /** Ports that are guessed, or told in advance. */
  readonly guesses: number;
  /** Nothing can come of it any more. */
  readonly endAt: MonotonicMs;
  readonly #startAt: MonotonicMs;
  readonly #roundsMs: readonly number[];
  readonly #remotes: readonly Endpoint[];
  #round = 0;
  #next = 0;
  sent = 0;

  constructor(options: RunOptions) {
    const { technique, role, theirs, startAt } = options;
    this.role = role;
    this.technique = technique;
    this.#startAt = startAt;
    const { sockets, ports } = remotePorts(options);
    this.sockets = sockets;
    this.#remotes = ports.map((port) => ({ address: theirs.address, port }));
    const { probes } = sizeOf(options);
    this.guesses = probes;
    const rounds = technique === 'sequence' ? sequenceRoundsMs : againRoundsMs(probes);
    this.#roundsMs = technique === 'sequence' || role === 'opens' ? rounds : singleRound;
    const again = technique === 'sequence' ? probes : sockets;
    const lastMs = (rounds.at(-1) ?? 0) + sendingMs(again);
    this.endAt = after(startAt, Math.min(maxRunMs, lastMs + settleMs));
  }

  /** When the next packet may leave; undefined when all have, or when its socket is not there yet. */
  dueAt(opened: number): MonotonicMs | undefined {
    const offsetMs = this.#roundsMs[this.#round];
    if (offsetMs === undefined || this.#length === 0) return undefined;
    if (this.role === 'opens' && this.#next >= opened) return undefined;
    return after(this.#startAt, offsetMs);
  }

  /** The packet that is due. */
  take(): PunchPacket | undefined {
    const index = this.#next;
    const isOpening = this.role === 'opens';
    const remote = this.#remotes[isOpening ? 0 : index];
    if (remote === undefined) return undefined;
    const opens = isOpening && this.#round === 0;
    this.sent += 1;
    this.#next += 1;
    if (this.#next >= this.#length) {
      this.#next = 0;
      this.#round += 1;
    }
    return { by: isOpening ? index : 'main', remote, opens };
  }

  /** Fewer sockets could be opened. */
  get #length(): number {
    return this.role === 'opens' ? this.#openable : this.#remotes.length;
  }

  #most: number | undefined;

  get #openable(): number {
    return Math.min(this.sockets, this.#most ?? this.sockets);
  }

  /** There will be no more sockets than these. */
  limitSockets(count: number): void {
    this.#most = count;
    if (this.role !== 'opens' || this.#next < this.#length) return;
    this.#next = 0;
    this.#round += 1;
  }
}

/**
 * Where ports are guessed the opening side sends again when all guesses are out: each packet is let in where a guess has opened the
 * filter, although that guess was lost on its way. It makes no new mapping.
 */
const againRoundsMs = (guesses: number): readonly number[] => [0, sendingMs(guesses)];

/** How many sockets the opening side opens, and how many ports the other one probes: the same on both sides. */
function sizeOf({ technique, role, ours, theirs }: RunOptions) {
  const opening = role === 'opens' ? ours : theirs;
  const probing = role === 'opens' ? theirs : ours;
  if (technique !== 'sequence') return guessSize(technique, opening.count);
  const wide = Math.max(opening.count, probing.count);
  const window = Math.min(wide, maxSequenceWindow);
  return { sockets: window, probes: window };
}

function remotePorts(options: RunOptions): { sockets: number; ports: number[] } {
  const { technique, role, theirs, random } = options;
  const { sockets, probes } = sizeOf(options);
  const bounded = Math.min(sockets, maxPunchSockets);
  if (role === 'opens') {
    // One that counts is met at the far end of the window, which it reaches whatever comes in between.
    const index = theirs.count === 1 ? 0 : sockets - 1;
    const port = portAt(theirs, index);
    return { sockets: bounded, ports: port === undefined ? [] : [port] };
  }
  const window = technique === 'sequence' ? { ...theirs, count: probes } : theirs;
  const picker = new PortPicker(window, technique === 'sequence' ? undefined : random);
  const ports: number[] = [];
  for (let i = 0; i < Math.min(probes, maxPunchProbes); i++) {
    const port = picker.next();
    if (port === undefined) break;
    ports.push(port);
  }
  return { sockets: bounded, ports };
}
