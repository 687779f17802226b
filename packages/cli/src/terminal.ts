import { sep } from 'node:path';
import type { BrinkError } from '@brink/protocol';

/** Where a verb writes. The only thing of the process that verbs see besides the environment. */
export interface Terminal {
  /** A line for the reader of the answer: stdout. */
  line(text: string): void;
  /** A line beside the answer: stderr. */
  note(text: string): void;
  readonly colour: boolean;
}

export interface Streams {
  readonly stdout: { write(text: string): unknown; readonly isTTY?: boolean };
  readonly stderr: { write(text: string): unknown };
}

/** @param env NO_COLOR and TERM=dumb switch colours off (https://no-color.org) */
export function createTerminal(streams: Streams, env: Record<string, string | undefined>): Terminal {
  const plain = (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return {
    line: (text) => void streams.stdout.write(`${text}\n`),
    note: (text) => void streams.stderr.write(`${text}\n`),
    colour: streams.stdout.isTTY === true && !plain,
  };
}

const CODES = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const;
type Colour = keyof typeof CODES;
export type Paint = (colour: Colour, text: string) => string;

export function paintOn(terminal: Pick<Terminal, 'colour'>): Paint {
  return (colour, text) => (terminal.colour ? `\u001b[${CODES[colour]}m${text}\u001b[0m` : text);
}

/** Text from elsewhere (device names in logs, labels of models) must not steer the terminal. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\t\n]/gu, '�');
}

/** Columns as wide as their widest cell; the last one as it is. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, widthOf(cell));
  }
  return rows.map((row) =>
    row
      .map((cell, at) => (at === row.length - 1 ? cell : cell + ' '.repeat((widths[at] ?? 0) - widthOf(cell))))
      .join('  ')
      .trimEnd(),
  );
}

/** Columns that a text takes: Chinese characters take two. */
function widthOf(text: string): number {
  let width = 0;
  for (const character of text)
    width += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe4f\uff00-\uff60]/.test(character) ? 2 : 1;
  return width;
}

/** What a failed verb says: one line, or one per configuration problem. */
export function describe(error: BrinkError): string {
  return `${error.code}: ${printable(error.detail)}`;
}

/** A path, or a line that begins with one, as seen from the folder in which the user stands, where it lies in there. */
export function near(text: string, from = process.cwd()): string {
  const folder = from.endsWith(sep) ? from : `${from}${sep}`;
  return text.startsWith(folder) ? text.slice(folder.length) : text;
}

/** hh:mm:ss of this machine. */
export function clockTime(epochMs: number): string {
  const time = new Date(epochMs);
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map((part) => String(part).padStart(2, '0')).join(':');
}
