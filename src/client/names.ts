import { BuriError } from '#core/errors.ts';
import type { NetworkView } from '#core/mesh/network-view.ts';
import { displayName, nineDigits } from '#wire/fields.ts';

/** The network that a person means by its identifier or its name. BuriError: network-unknown, name-ambiguous. */
export function networkNamed(networks: Iterable<NetworkView>, text: string): NetworkView {
  const all = [...networks];
  const byId = all.find((network) => network.id === text);
  if (byId !== undefined) return byId;
  const exact = all.filter((network) => network.facts.name === text);
  const folded = all.filter((network) => fold(network.facts.name) === fold(text));
  const [match, other] = exact.length > 0 ? exact : folded;
  if (match === undefined) {
    throw new BuriError(
      'network-unknown',
      `you are in no network ${quoted(text)}; 'buri list' shows those that you are in`,
    );
  }
  if (other !== undefined) throw ambiguous(text, [match.id, other.id]);
  return match;
}

/** Somebody who can be named: by client id always, by nick where that is unambiguous. */
export interface Named {
  readonly clientId: string;
  readonly nick: string;
}

/** BuriError: client-unknown, name-ambiguous. A client id that is well formed but not listed is passed on as it is. */
export function clientNamed(candidates: Iterable<Named>, text: string): string {
  if (nineDigits.safeParse(text).success) return text;
  const found = new Map<string, Named>();
  for (const candidate of candidates) {
    if (fold(candidate.nick) === fold(text)) found.set(candidate.clientId, candidate);
  }
  const [match, other] = found.values();
  if (match === undefined) {
    throw new BuriError(
      'client-unknown',
      `there is nobody called ${quoted(text)}; 'buri list' shows client ids and nicknames`,
    );
  }
  if (other !== undefined) throw ambiguous(text, [...found.keys()].slice(0, 5));
  return match.clientId;
}

/** A new name of a network or a nickname. BuriError: invalid-name, saying what is wrong with it. */
export function checkedName(text: string, what: string): string {
  const parsed = displayName.safeParse(text.normalize('NFC'));
  if (parsed.success) return parsed.data;
  throw new BuriError(
    'invalid-name',
    `${what} ${quoted(text)} cannot be used: 1 to 64 printable characters, no space at either end`,
  );
}

const fold = (text: string): string => text.normalize('NFC').toLowerCase();

/** Never lets control characters of a bad name reach a terminal, nor 10 kB of it. */
function quoted(text: string): string {
  const shown = text.length > 40 ? `${text.slice(0, 40)}…` : text;
  return JSON.stringify(shown).replace(/[\u007f-\uffff]/g, (character) =>
    /\p{C}/u.test(character) ? '\ufffd' : character,
  );
}

const ambiguous = (text: string, ids: readonly string[]): BuriError =>
  new BuriError('name-ambiguous', `${quoted(text)} may mean ${ids.join(' or ')}; use the id`);
