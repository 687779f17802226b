import { BrinkError } from '@brink/protocol';

const BYTES_MAX = 16 * 1024 * 1024;
/** A signal is two levels deep; what else stands beside it may have a few more. */
const DEPTH_MAX = 8;
const KEYS_MAX = 1024;
const KEY_LENGTH_MAX = 256;
/** Names that would reach an object's prototype in code that copies keys without looking. */
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

/**
 * A signal in JSON: `{"ax": [1, 2], "ay": [3, 4]}`, `[{"ax": 1, "ay": 3}, {"ax": 2, "ay": 4}]`, or `[1, 2]` for one
 * channel. What is there beside the channels asked for is checked and left out.
 * @param channels names, in the order in which they are returned
 * @returns per channel its samples, all of one length
 * @throws BrinkError E_DECODE where it is no such JSON, E_SHAPE where channels are missing or unequal, E_TOO_LARGE
 */
export function readSignal(bytes: Uint8Array, channels: readonly string[]): Float32Array<ArrayBuffer>[] {
  const value = parse(bytes);
  checkKeys(value);
  if (!Array.isArray(value)) return fromChannels(value, channels);
  if (value.length > 0 && typeof value[0] === 'object') return fromPoints(value, channels);
  if (channels.length !== 1) {
    throw new BrinkError('E_SHAPE', `an array of numbers; expected the channels ${listOf(channels)} by name`);
  }
  return [numbers(value, channels[0] as string)];
}

function fromChannels(value: unknown, channels: readonly string[]): Float32Array<ArrayBuffer>[] {
  const all = channels.map((channel) => {
    const samples = field(value, channel, '');
    if (!Array.isArray(samples)) return wrong(`"${channel}" is ${kindOf(samples)}; expected an array of numbers`);
    return numbers(samples, channel);
  });
  for (const [c, samples] of all.entries()) {
    const expected = all[0]?.length;
    if (samples.length !== expected) {
      throw new BrinkError(
        'E_SHAPE',
        `"${channels[c]}" has ${samples.length} samples; expected ${expected}, as "${channels[0]}"`,
      );
    }
  }
  return all;
}

function fromPoints(points: readonly unknown[], channels: readonly string[]): Float32Array<ArrayBuffer>[] {
  return channels.map((channel) => {
    const samples = new Float32Array(points.length);
    for (const [i, point] of points.entries()) samples[i] = numberOf(field(point, channel, ` at [${i}]`), channel, i);
    return samples;
  });
}

function numbers(values: readonly unknown[], channel: string): Float32Array<ArrayBuffer> {
  const samples = new Float32Array(values.length);
  for (const [i, value] of values.entries()) samples[i] = numberOf(value, channel, i);
  return samples;
}

/** JSON has no NaN, but 1e400 parses to Infinity, and 1e39 is one as a float32. */
function numberOf(value: unknown, channel: string, i: number): number {
  if (typeof value !== 'number') return wrong(`"${channel}"[${i}] is ${kindOf(value)}; expected a number`);
  if (!Number.isFinite(Math.fround(value))) wrong(`"${channel}"[${i}] is ${value}; expected a finite float32`);
  return value;
}

function field(value: unknown, channel: string, where: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return wrong(`${kindOf(value)}${where}; expected an object with the channel "${channel}"`);
  }
  if (Object.hasOwn(value, channel)) return (value as Record<string, unknown>)[channel];
  throw new BrinkError('E_SHAPE', `no "${channel}"${where}; found ${listOf(Object.keys(value))}`);
}

function parse(bytes: Uint8Array): unknown {
  if (bytes.length > BYTES_MAX) {
    throw new BrinkError('E_TOO_LARGE', `${bytes.length} bytes of JSON; expected at most ${BYTES_MAX}`);
  }
  checkDepth(bytes);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (reason) {
    return wrong((reason as Error).message.slice(0, 200), reason);
  }
}

/** Before it is parsed: a megabyte of brackets costs the parser a tenth of a second, and a walk over it the stack. */
function checkDepth(bytes: Uint8Array): void {
  let depth = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) i = endOfString(bytes, i);
    else if (byte === SQUARE_CLOSE || byte === CURLY_CLOSE) depth--;
    else if (byte === SQUARE_OPEN || byte === CURLY_OPEN) {
      depth++;
      if (depth > DEPTH_MAX) wrong(`more than ${DEPTH_MAX} levels deep at byte ${i}; expected a signal`);
    }
  }
}

const [QUOTE, BACKSLASH, SQUARE_OPEN, SQUARE_CLOSE, CURLY_OPEN, CURLY_CLOSE] = Buffer.from('"\\[]{}') as unknown as [
  number,
  number,
  number,
  number,
  number,
  number,
];

function endOfString(bytes: Uint8Array, start: number): number {
  let i = start + 1;
  while (i < bytes.length && bytes[i] !== QUOTE) i += bytes[i] === BACKSLASH ? 2 : 1;
  return i;
}

/** No deeper than `checkDepth` allows. */
function checkKeys(value: unknown): void {
  if (typeof value !== 'object' || value === null) return;
  if (Array.isArray(value)) {
    for (const element of value) checkKeys(element);
    return;
  }
  const keys = Object.keys(value);
  if (keys.length > KEYS_MAX) throw new BrinkError('E_SHAPE', `${keys.length} keys; expected at most ${KEYS_MAX}`);
  for (const key of keys) {
    if (FORBIDDEN_KEYS.has(key)) wrong(`the key "${key}" is not allowed`);
    if (key.length > KEY_LENGTH_MAX || !key.isWellFormed()) {
      throw new BrinkError(
        'E_SHAPE',
        `a key of ${key.length} characters; expected at most ${KEY_LENGTH_MAX}, well-formed`,
      );
    }
    checkKeys((value as Record<string, unknown>)[key]);
  }
}

function kindOf(value: unknown): string {
  if (value === null) return 'null';
  if (value === undefined) return 'missing';
  return Array.isArray(value) ? 'an array' : `a ${typeof value}`;
}

function listOf(names: readonly string[]): string {
  const shown = names.slice(0, 8).map((name) => JSON.stringify(name));
  return `${shown.join(', ')}${names.length > shown.length ? ' …' : ''}` || 'nothing';
}

function wrong(detail: string, cause?: unknown): never {
  throw new BrinkError('E_DECODE', `JSON of a signal: ${detail}`, { cause });
}
