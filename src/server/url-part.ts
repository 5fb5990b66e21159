import type { BuriError } from '#core/errors.ts';

/** What a part of a URL stands for, without its %XX. Throws what `bad` makes of a % that begins none. */
export function decodedPart(text: string, bad: (why: string) => BuriError): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw bad('a % in it begins no character');
  }
}
