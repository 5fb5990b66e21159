import { COUNTER } from './counters.ts';
import type { EngineEvent, Report } from './messages.ts';

/** Queues of events to the main thread, each with its own bound, so that a flood of one kind leaves the others alone. */
export const QUEUES = ['handshake', 'stun', 'buri', 'message', 'state'] as const;
export type QueueName = (typeof QUEUES)[number];

/** Events under way of each queue, from all threads. Each of them may be one ahead, when they look at the same time. */
export const QUEUE_LIMIT = 512;

const DROP_COUNTER: Readonly<Record<QueueName, number | undefined>> = {
  handshake: COUNTER['up-dropped-handshake'],
  stun: COUNTER['up-dropped-stun'],
  buri: COUNTER['up-dropped-buri'],
  message: COUNTER['up-dropped-message'],
  state: undefined,
};

export function queueOf(event: EngineEvent): QueueName {
  if (event.type === 'message') return 'message';
  if (event.type !== 'datagram') return 'state';
  if (event.kind === 'stun' || event.kind === 'buri') return event.kind;
  return 'handshake';
}

/**
 * The worker's end of the queues. The main thread counts in shared memory what it has consumed, so that a busy main
 * thread bounds memory instead of growing it. Events of one turn of the loop travel in one message.
 */
export class Uplink {
  readonly #post: (report: Report) => void;
  readonly #consumed: Int32Array;
  readonly #posted: Int32Array;
  readonly #counters: Float64Array;
  #pending: EngineEvent[] = [];

  constructor(
    post: (report: Report) => void,
    posted: Int32Array,
    consumed: Int32Array,
    counters: Float64Array,
  ) {
    this.#post = post;
    this.#posted = posted;
    this.#consumed = consumed;
    this.#counters = counters;
  }

  /** Whether the queue takes another event. Asked before a copy is made. */
  hasRoom(queue: QueueName): boolean {
    const index = QUEUES.indexOf(queue);
    const underWay = (Atomics.load(this.#posted, index) - Atomics.load(this.#consumed, index)) | 0;
    return underWay < QUEUE_LIMIT;
  }

  /** Queues an event; false, and counted, when its queue is full. */
  push(event: EngineEvent): boolean {
    const queue = queueOf(event);
    if (!this.hasRoom(queue)) {
      this.countDrop(queue);
      return false;
    }
    Atomics.add(this.#posted, QUEUES.indexOf(queue), 1);
    this.#pending.push(event);
    return true;
  }

  countDrop(queue: QueueName): void {
    const counter = DROP_COUNTER[queue];
    if (counter !== undefined) this.#counters[counter]!++;
  }

  /** Sends what is pending. */
  flush(): void {
    if (this.#pending.length === 0) return;
    const events = this.#pending;
    this.#pending = [];
    this.#post({ type: 'events', events });
  }
}
