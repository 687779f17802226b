import { BrinkError } from '@brink/protocol';
import type { Measured } from './measured.ts';

const COLUMNS_MAX = 1024;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;
/** As printf and its kin write what is not finite. */
const NOT_FINITE = /^[+-]?(nan|inf(inity)?)$/i;

/**
 * Lines of numbers, a column per channel, with comma, semicolon or tab between them and a point in them. A first line
 * that is not all numbers holds the names; without one the columns are the channels asked for, in their order.
 * @throws BrinkError E_DECODE where it is not UTF-8; from `samplesOf` E_SHAPE, E_DECODE with the line
 */
export function readCsv(bytes: Uint8Array): Measured {
  const lines = textOf(bytes).split('\n');
  while (lines.at(-1)?.trim() === '') lines.pop();
  const [head = ''] = lines;
  const separator = head.includes(';') ? ';' : head.includes('\t') ? '\t' : ',';
  const first = head.split(separator).map((cell) => cell.trim());
  if (first.length > COLUMNS_MAX)
    throw new BrinkError('E_SHAPE', `${first.length} columns; expected at most ${COLUMNS_MAX}`);
  const names = first.every((cell) => NUMBER.test(cell))
    ? undefined
    : first.map((cell) => cell.replace(/^"(.*)"$/, '$1'));
  const rows = names === undefined ? lines : lines.slice(1);
  const samplesOf = (channels: readonly string[]) => {
    const columns = columnsOf(channels, names, first.length);
    const out = channels.map(() => new Float32Array(rows.length));
    for (const [r, row] of rows.entries()) {
      const line = r + (names === undefined ? 1 : 2);
      const cells = row.split(separator, COLUMNS_MAX + 1);
      if (cells.length !== first.length) {
        throw new BrinkError('E_SHAPE', `line ${line} has ${cells.length} columns; expected ${first.length}`);
      }
      for (const [c, column] of columns.entries()) {
        (out[c] as Float32Array)[r] = numberOf((cells[column] as string).trim(), line, column);
      }
    }
    return out;
  };
  return { rateHz: undefined, samplesOf };
}

function columnsOf(channels: readonly string[], names: readonly string[] | undefined, count: number): number[] {
  if (names === undefined) {
    if (count === channels.length) return channels.map((_, c) => c);
    throw new BrinkError('E_SHAPE', `${count} columns without names; expected ${channels.length}, or a line of names`);
  }
  return channels.map((channel) => {
    const column = names.indexOf(channel);
    if (column >= 0 && names.lastIndexOf(channel) === column) return column;
    const found = names.slice(0, 8).map((name) => JSON.stringify(name.slice(0, 64)));
    throw new BrinkError('E_SHAPE', `no single column ${JSON.stringify(channel)}; found ${found.join(', ')}`);
  });
}

function numberOf(cell: string, line: number, column: number): number {
  const value = NUMBER.test(cell) ? Number(cell) : Number.NaN;
  if (Number.isFinite(Math.fround(value))) return value;
  const shown = JSON.stringify(cell.slice(0, 32));
  throw new BrinkError(
    NUMBER.test(cell) || NOT_FINITE.test(cell) ? 'E_NUMBER' : 'E_DECODE',
    `CSV of a signal: ${shown} in line ${line}, column ${column + 1}; expected a finite float32`,
  );
}

function textOf(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (reason) {
    throw new BrinkError('E_DECODE', 'CSV of a signal: not UTF-8', { cause: reason });
  }
}
