/** One HTTP request at a time, to a gateway that may never answer. */
import type { HttpTarget } from '#wire/ssdp.ts';

const timeoutMs = 5000;

export interface HttpRequest {
  readonly target: HttpTarget;
  readonly headers: Readonly<Record<string, string>>;
  /** A POST when there is one. */
  readonly body: string | undefined;
}

/** Sends a request; the number that its answer will carry. */
export type SendHttp = (request: HttpRequest) => number;

export class HttpExchange {
  readonly #send: SendHttp;
  #id: number | undefined;
  #until = 0;

  constructor(send: SendHttp) {
    this.#send = send;
  }

  get deadline(): number | undefined {
    return this.#id === undefined ? undefined : this.#until;
  }

  /** What was sent before is no longer waited for. */
  begin(request: HttpRequest, at: number): void {
    this.#id = this.#send(request);
    this.#until = at + timeoutMs;
  }

  /** Whether this is the end of the request in flight, which is over then. */
  ends(id: number): boolean {
    if (this.#id !== id) return false;
    this.#id = undefined;
    return true;
  }

  /** Whether it has been waited for long enough; it is over then. */
  isOverdue(at: number): boolean {
    if (this.#id === undefined || at < this.#until) return false;
    this.#id = undefined;
    return true;
  }

  cancel(): void {
    this.#id = undefined;
  }
}
