import { BrinkError } from '@brink/protocol';

/** Some moments of a signal, in the form in which the whole was. */
export interface Rows {
  readonly bytes: Uint8Array;
  /** Position of the first one. */
  readonly at: number;
  readonly count: number;
  /** Where the recording says it. */
  readonly rateHz?: number;
}

const DOCUMENT_BYTES_MAX = 256 * 1024 * 1024;
const LINE_CHARS_MAX = 1024 * 1024;
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/;

/**
 * Cuts a signal into frames of so many rows (moments); the last one may be shorter.
 * - CSV: lines; a line of names at the beginning stands at the beginning of each frame
 * - JSON lines, an object each: a frame is an array of them. As they come, so that a program that measures can write into a pipe
 * - a JSON document: an array, or an object with an array per channel, of which each frame has a part, and the rest as it is
 * @throws BrinkError E_DECODE, E_SHAPE, E_TOO_LARGE
 */
export async function* rowsOf(
  source: AsyncIterable<Uint8Array>,
  { rows }: { rows: number },
): AsyncGenerator<Rows, void> {
  const lines = linesOf(source);
  const first = await lines.next();
  if (first.done === true) return;
  const form = formOf(first.value);
  if (form === 'document') {
    yield* partsOf(await rest(first.value, lines), rows);
    return;
  }
  yield* linesAsRows(first.value, lines, { form, rows });
}

async function* linesAsRows(
  first: string,
  lines: AsyncGenerator<string, void>,
  { form, rows }: { form: 'csv' | 'lines'; rows: number },
): AsyncGenerator<Rows, void> {
  const names = form === 'csv' && !isNumbers(first) ? first : undefined;
  const frame = (some: readonly string[], at: number): Rows => {
    const text = form === 'csv' ? [...(names === undefined ? [] : [names]), ...some, ''].join('\n') : `[${some}]`;
    return { bytes: Buffer.from(text), at, count: some.length };
  };
  let some = names === undefined ? [first] : [];
  let at = 0;
  for (;;) {
    if (some.length >= rows) {
      yield frame(some, at);
      at += some.length;
      some = [];
    }
    const next = await lines.next();
    if (next.done === true) break;
    some.push(next.value);
  }
  if (some.length > 0) yield frame(some, at);
  else if (at === 0 && names !== undefined) throw namesAlone(names);
}

function namesAlone(line: string): BrinkError {
  const given = line.length > 60 ? `${line.slice(0, 60)}…` : line;
  const why = 'not all of it is numbers, so it is taken for the names of columns, and no row follows';
  return new BrinkError('E_DECODE', `"${given}": ${why}; expected lines of numbers`);
}

function formOf(line: string): 'csv' | 'lines' | 'document' {
  if (line.startsWith('[')) return 'document';
  if (!line.startsWith('{')) return 'csv';
  const row = parsed(line);
  // An object that goes on in the next line, or one with arrays, is the whole; one of numbers is a moment.
  return isRecord(row) && !Object.values(row).some(Array.isArray) ? 'lines' : 'document';
}

function* partsOf(text: string, rows: number): Generator<Rows, void> {
  const value = parsed(text);
  if (value === undefined) throw new BrinkError('E_DECODE', 'it begins as JSON and is none; expected JSON, or CSV');
  const length = lengthOf(value);
  const rateHz = isRecord(value) && typeof value['rate_hz'] === 'number' ? value['rate_hz'] : undefined;
  for (let at = 0; at < length; at += rows) {
    const count = Math.min(rows, length - at);
    const part = (whole: unknown) => (Array.isArray(whole) ? whole.slice(at, at + count) : whole);
    const piece = isRecord(value)
      ? Object.fromEntries(Object.entries(value).map(([name, whole]) => [name, part(whole)]))
      : part(value);
    yield { bytes: Buffer.from(JSON.stringify(piece)), at, count, ...(rateHz === undefined ? {} : { rateHz }) };
  }
}

function lengthOf(value: unknown): number {
  if (Array.isArray(value)) return value.length;
  const lengths = isRecord(value)
    ? Object.values(value).flatMap((channel) => (Array.isArray(channel) ? [channel.length] : []))
    : [];
  const [length = 0] = lengths;
  if (length > 0 && lengths.every((other) => other === length)) return length;
  const found = lengths.length === 0 ? 'none' : `of ${lengths.slice(0, 8).join(', ')}`;
  throw new BrinkError('E_SHAPE', `arrays ${found}; expected an array, or an object of arrays of one length`);
}

async function rest(first: string, lines: AsyncIterable<string>): Promise<string> {
  const all = [first];
  let chars = first.length;
  for await (const line of lines) {
    all.push(line);
    chars += line.length;
    if (chars > DOCUMENT_BYTES_MAX)
      throw new BrinkError('E_TOO_LARGE', `a JSON document of more than ${DOCUMENT_BYTES_MAX} bytes; use JSON lines`);
  }
  return all.join('\n');
}

/** Trimmed, without those that are empty. */
export async function* linesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  for await (const line of rawLinesOf(source)) {
    const trimmed = line.trim();
    if (trimmed !== '') yield trimmed;
  }
}

async function* rawLinesOf(source: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder('utf-8');
  let held: string[] = [];
  for await (const bytes of source) {
    const [end = '', ...more] = decoder.decode(bytes, { stream: true }).split('\n');
    held.push(end);
    for (const begin of more) {
      yield held.join('');
      held = [begin];
    }
    refuseLong(held);
  }
  yield held.join('');
}

function refuseLong(pieces: readonly string[]): void {
  // A document may stand in one line.
  const max = /^\s*[[{]/.test(pieces[0] ?? '') ? DOCUMENT_BYTES_MAX : LINE_CHARS_MAX;
  if (pieces.reduce((chars, piece) => chars + piece.length, 0) <= max) return;
  throw new BrinkError('E_TOO_LARGE', `a line of more than ${max} characters`);
}

function isNumbers(line: string): boolean {
  return line.split(/[,;\t]/).every((cell) => NUMBER.test(cell.trim()));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
