/**
 * The one error that people see: an operational failure with a stable code and a text that says what to do.
 * A bug is an assertion instead; bad input from the network is a returned drop reason instead.
 */
export class BuriError extends Error {
  readonly code: string;

  /** @param code stable, kebab-case; scripts match on it. @param message what happened and what to do. */
  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = 'BuriError';
    this.code = code;
  }
}

/** Throws when a belief of the program about itself is wrong. Never for input from outside. */
export function assert(condition: unknown, belief: string): asserts condition {
  if (!condition) throw new Error(`assertion failed: ${belief}`);
}
