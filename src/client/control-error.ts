import { BuriError } from '#core/errors.ts';

/** Why a control connection could not be made or ended; `retryAfterMs` when the server asks for patience. */
export class ControlError extends BuriError {
  readonly retryAfterMs: number | undefined;

  constructor(code: string, message: string, retryAfterMs?: number, options?: ErrorOptions) {
    super(code, message, options);
    this.retryAfterMs = retryAfterMs;
  }
}
