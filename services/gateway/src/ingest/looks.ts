import { isEnvelope, isPicture, readCbor, type SniffedType } from '@brink/decode';

/** What the frames of a stream that nobody declared look like: how it could be declared, and what is not known of it. */
export interface Looks {
  /** Lines of the stream in the configuration. */
  readonly lines: readonly string[];
  /** What a person should know before pasting. */
  readonly note?: string;
}

const FIELDS_MAX = 16;
const DEPTH_MAX = 4;

/**
 * From the first bytes of one frame. Never throws: it is what somebody sent whom nobody knows.
 * @param sample the beginning of a payload
 * @param whole whether that is all of it
 */
export function looksLike(type: SniffedType, sample: Uint8Array, whole: boolean): Looks {
  if (isPicture(type)) return { lines: ['format: image'] };
  if (type === 'audio/wav') return wav(sample);
  if (type === 'application/json') return json(sample, whole);
  if (type === 'text/plain') return lines(sample);
  if (type === 'application/octet-stream') return bytes(sample, whole);
  const how = isEnvelope(type) ? 'send it without compression' : 'no stream takes that: convert it';
  return { lines: ['format: image'], note: `looks like ${type}; ${how}` };
}

/** Where nearly every writer puts the format: right behind the name. */
function wav(sample: Uint8Array): Looks {
  const view = new DataView(sample.buffer, sample.byteOffset, sample.byteLength);
  const usual = sample.length >= 36 && String.fromCharCode(...sample.subarray(12, 16)) === 'fmt ';
  const said = usual ? `, ${view.getUint32(24, true)} Hz, channels: ${view.getUint16(22, true)}` : '';
  return { lines: ['format: audio'], note: `WAV${said}` };
}

function json(sample: Uint8Array, whole: boolean): Looks {
  const value = whole ? attempt(() => JSON.parse(new TextDecoder().decode(sample))) : undefined;
  const fields = value === undefined ? [] : numbersIn(Array.isArray(value) ? value[0] : value);
  if (Array.isArray(value) && typeof value[0] === 'number') return signal('json', ['value']);
  if (fields.length > 0) return signal('json', fields);
  const why = whole ? 'without numbers' : 'too long to look into';
  return { lines: signalLines('json', ['…']), note: `JSON ${why}` };
}

/** CBOR where it is a map of numbers: nearly any byte begins some CBOR. */
function bytes(sample: Uint8Array, whole: boolean): Looks {
  const fields = whole ? numbersIn(attempt(() => readCbor(sample))) : [];
  if (fields.length > 0) return signal('cbor', fields);
  const note =
    'bytes that tell no type: a tensor as the model takes it; or raw samples, then format: audio with audio: { encoding: s16le }';
  return { lines: ['format: tensor'], note };
}

function attempt(read: () => unknown): unknown {
  try {
    return read();
  } catch {
    return undefined;
  }
}

/** Names and paths under which there are numbers, or arrays of them. */
function numbersIn(value: unknown, before = '', depth = 0): string[] {
  if (typeof value !== 'object' || value === null || depth >= DEPTH_MAX) return [];
  const found: string[] = [];
  for (const [key, inner] of Object.entries(value)) {
    if (found.length >= FIELDS_MAX) break;
    const path = `${before}${key}`;
    if (path === 'rate_hz' || path.length > 64) continue;
    if (isNumbers(inner)) found.push(path);
    else if (!Array.isArray(inner)) found.push(...numbersIn(inner, `${path}.`, depth + 1));
  }
  return found.slice(0, FIELDS_MAX);
}

const isNumbers = (value: unknown) =>
  value instanceof Float64Array || typeof (Array.isArray(value) ? value[0] : value) === 'number';

/** Lines of numbers, perhaps with their names above. */
function lines(sample: Uint8Array): Looks {
  const [first = '', second = ''] = new TextDecoder().decode(sample).split('\n', 2);
  const separator = first.includes(';') ? ';' : first.includes('\t') ? '\t' : ',';
  const cells = first.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, '$1'));
  const isNumber = (cell: string) => cell.trim() !== '' && Number.isFinite(Number(cell));
  if (cells.every(isNumber)) {
    return signal(
      'csv',
      cells.slice(0, FIELDS_MAX).map((_, i) => (cells.length === 1 ? 'value' : `value-${i + 1}`)),
    );
  }
  const named = cells.length > 1 && second.split(separator).some(isNumber);
  if (named)
    return signal('csv', cells.filter((_, i) => isNumber(second.split(separator)[i] ?? '')).slice(0, FIELDS_MAX));
  return { lines: ['format: text'] };
}

function signal(encoding: string, fields: readonly string[]): Looks {
  return {
    lines: signalLines(encoding, fields),
    note: 'numbers: keep the fields that the model takes; rate_hz, where the model is to hear another rate than its own',
  };
}

const signalLines = (encoding: string, fields: readonly string[]) => [
  'format: signal',
  `signal: { encoding: ${encoding}, fields: [${fields.map(quoted).join(', ')}] }`,
];

/** YAML, in a list in braces. */
const quoted = (text: string) =>
  /^[A-Za-z_][\w.-]*$/.test(text) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(text) ? text : JSON.stringify(text);
