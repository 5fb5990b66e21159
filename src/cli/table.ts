/** Aligned columns of text from anywhere, coloured or not. */
import { columns, elide, printable } from './text.ts';

/** Widest cell that others stand after: a longer one would push their column off the screen. */
const maxCellColumns = 64;

export type Colour = 'green' | 'blue' | 'yellow' | 'red' | 'grey' | 'bold';

/** Wraps text in a colour; `plain` leaves it as it is. */
export type Paint = (colour: Colour, text: string) => string;

const escapes: Readonly<Record<Colour, readonly [on: number, off: number]>> = {
  green: [32, 39],
  blue: [34, 39],
  yellow: [33, 39],
  red: [31, 39],
  grey: [90, 39],
  bold: [1, 22],
};

export const plain: Paint = (_colour, text) => text;

export const coloured: Paint = (colour, text) => {
  const [on, off] = escapes[colour];
  return text === '' ? text : `\u001b[${on}m${text}\u001b[${off}m`;
};

/** A cell, or a cell with its colour. */
export type Cell = string | readonly [text: string, colour: Colour];

interface Clean {
  readonly text: string;
  readonly width: number;
  readonly colour: Colour | undefined;
}

/**
 * Lines of cells, two spaces between columns, no space at the end of a line. Cells are made printable here, so that
 * no caller can forget it.
 */
export function table(rows: readonly (readonly Cell[])[], paint: Paint, indent = ''): string {
  const cleaned = rows.map((row) => row.map(clean));
  const widths: number[] = [];
  for (const row of cleaned) {
    for (const [column, { width }] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, width);
    }
  }
  let text = '';
  for (const row of cleaned) {
    const last = row.findLastIndex((cell) => cell.width > 0);
    let line = indent;
    for (const [column, cell] of row.entries()) {
      if (column > last) break;
      line += cell.colour === undefined ? cell.text : paint(cell.colour, cell.text);
      if (column < last) line += ' '.repeat(widths[column]! - cell.width + 2);
    }
    text += `${line.trimEnd()}\n`;
  }
  return text;
}

/** Name and value lines; each further value takes a line of its own, and a name without values is left out. */
export function facts(
  entries: readonly (readonly [name: string, ...values: (Cell | undefined)[]])[],
  paint: Paint,
): string {
  const rows: Cell[][] = [];
  for (const [name, ...values] of entries) {
    const present = values.filter((value) => value !== undefined);
    for (const [i, value] of present.entries()) rows.push([i === 0 ? name : '', value]);
  }
  return table(rows, paint, '  ');
}

function clean(cell: Cell, column: number, row: readonly Cell[]): Clean {
  const [whole, colour] = typeof cell === 'string' ? [cell] : cell;
  const safe = printable(whole);
  const text = column < row.length - 1 ? elide(safe, maxCellColumns) : safe;
  return { text, width: columns(text), colour };
}
