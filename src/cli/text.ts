/**
 * Text from elsewhere on a terminal. Nicknames, network names and error texts come from other people: none of
 * their characters may move the cursor, change colours, reverse the direction of a line or start a new one.
 */

/** Control, format (bidirectional overrides too), surrogate, private-use, unassigned; line and paragraph separators. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}]/gu;
/** What `JSON.stringify` leaves as it is and a terminal may obey: DEL, C1 controls, separators, format characters. */
const unsafeInJson = /[\u007f-\u009f\u2028\u2029\p{Cf}]/gu;
const zeroWidth = /^[\p{Mn}\p{Me}]$/u;
const emoji = /^\p{Emoji_Presentation}$/u;

/** Ranges of code points that take two columns (East Asian Width W and F, Unicode annex 11). */
const wideRanges: readonly (readonly [first: number, last: number])[] = [
  [0x1100, 0x115f],
  [0x2e80, 0x303e],
  [0x3041, 0x4dbf],
  [0x4e00, 0xa4cf],
  [0xa960, 0xa97f],
  [0xac00, 0xd7a3],
  [0xf900, 0xfaff],
  [0xfe30, 0xfe6f],
  [0xff01, 0xff60],
  [0xffe0, 0xffe6],
  [0x17000, 0x18dff],
  [0x1b000, 0x1b2ff],
  [0x20000, 0x3fffd],
];

/** The text on one line, each dangerous character replaced by U+FFFD. */
export const printable = (text: string): string => text.replace(unprintable, '\u{fffd}');

/** Like `printable`, for messages of several lines: their ends become spaces. */
export const oneLine = (text: string): string =>
  printable(text.trim().replace(/\s*[\r\n]+\s*/g, ' '));

/** One compact line of JSON that is harmless on a terminal; the same value when parsed. */
export const jsonLine = (value: unknown): string =>
  `${JSON.stringify(value).replace(unsafeInJson, escaped)}\n`;

/** Columns that printable text takes on a terminal. */
export function columns(text: string): number {
  let count = 0;
  for (const character of text) count += columnsOf(character);
  return count;
}

/** The text, cut to at most `max` columns with an ellipsis. */
export function elide(text: string, max: number): string {
  let count = 0;
  let cut = '';
  for (const character of text) {
    count += columnsOf(character);
    if (count > max) return `${cut}…`;
    // One column stays free for the ellipsis.
    if (count < max) cut += character;
  }
  return text;
}

function columnsOf(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code < 0x300) return 1;
  if (zeroWidth.test(character)) return 0;
  if (emoji.test(character)) return 2;
  for (const [first, last] of wideRanges) if (code >= first && code <= last) return 2;
  return 1;
}

function escaped(character: string): string {
  let text = '';
  for (let i = 0; i < character.length; i++) {
    text += `\\u${character.charCodeAt(i).toString(16).padStart(4, '0')}`;
  }
  return text;
}
