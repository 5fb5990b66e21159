import { forgetOldest } from '#core/forget-oldest.ts';

/** Something a person should know, shown by `status` until it is no longer so. */
export interface Notice {
  readonly code: string;
  readonly message: string;
}

/** Notices kept; the oldest go first. */
export const maxNotices = 32;

/** One notice for each code: the newest one tells. */
export class Notices {
  readonly #notices = new Map<string, Notice>();
  readonly #log: (notice: Notice) => void;

  constructor(log: (notice: Notice) => void) {
    this.#log = log;
  }

  add(notice: Notice): void {
    if (this.#notices.get(notice.code)?.message === notice.message) return;
    this.#notices.delete(notice.code);
    this.#notices.set(notice.code, notice);
    forgetOldest(this.#notices, maxNotices);
    this.#log(notice);
  }

  clear(...codes: readonly string[]): void {
    for (const code of codes) this.#notices.delete(code);
  }

  list(): Notice[] {
    return [...this.#notices.values()];
  }
}
