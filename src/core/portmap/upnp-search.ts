/** Finding the gateway's description by SSDP: where it may be, each place once. */
import type { Endpoint } from '#wire/endpoint.ts';
import {
  decodeSearchAnswer,
  encodeSearch,
  type HttpTarget,
  searchTargets,
  ssdpGroup,
} from '#wire/ssdp.ts';
import { Attempt } from './timing.ts';

/** A router may announce several devices; more than these are not looked at. */
const maxLocations = 4;
/** Answers come within MX, a second; the last round waits longer. */
const searchDelaysMs: readonly number[] = [1000, 2000, 3000];

export interface SearchOptions {
  readonly gateway: string;
  readonly send: (remote: Endpoint, bytes: Uint8Array) => void;
  readonly fault: (name: string) => void;
}

export class UpnpSearch {
  readonly #options: SearchOptions;
  readonly #attempt: Attempt;
  readonly #seen = new Set<string>();
  readonly #waiting: HttpTarget[] = [];
  /** Why nothing came of an answer. */
  #reason = 'no answer';
  #isOver = false;

  constructor(options: SearchOptions, at: number) {
    this.#options = options;
    this.#attempt = new Attempt(at, searchDelaysMs);
  }

  /** Undefined while something may still come. */
  get failure(): string | undefined {
    return this.#isOver && this.#waiting.length === 0 ? this.#reason : undefined;
  }

  get deadline(): number | undefined {
    return this.#isOver ? undefined : this.#attempt.deadline;
  }

  /** The next place to look at. */
  next(): HttpTarget | undefined {
    return this.#waiting.shift();
  }

  failed(reason: string): void {
    this.#reason = reason;
  }

  /** Only of the gateway itself, about itself: no device of the LAN shall make us talk to anybody else. */
  receive(remote: Endpoint, bytes: Uint8Array): void {
    const { gateway, fault } = this.#options;
    if (remote.address !== gateway) {
      fault('upnp-not-the-gateway');
      return;
    }
    const answer = decodeSearchAnswer(bytes);
    if (answer === undefined) {
      fault('upnp-malformed');
      return;
    }
    const { location } = answer;
    if (location.address !== gateway) {
      this.#reason = 'the answer names another machine';
      fault('upnp-other-machine');
      return;
    }
    const text = `${location.port}${location.path}`;
    if (this.#seen.has(text) || this.#seen.size >= maxLocations) return;
    this.#seen.add(text);
    this.#waiting.push(location);
  }

  wake(at: number): void {
    const due = this.#attempt.wake(at);
    if (due === 'silent') this.#isOver = true;
    if (due !== 'send' || this.#isOver) return;
    const { gateway, send } = this.#options;
    // To the group, as the standard has it, and to the gateway alone: a firewall of this machine lets that answer in.
    for (const remote of [ssdpGroup, { address: gateway, port: ssdpGroup.port }]) {
      for (const target of Object.values(searchTargets)) send(remote, encodeSearch(target, remote));
    }
  }
}
