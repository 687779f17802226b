import { BrinkError } from '@brink/protocol';

/** A signal is two levels deep; what else stands beside it may have a few more. */
export const DEPTH_MAX = 8;
export const KEYS_MAX = 1024;
const KEY_LENGTH_MAX = 256;
/** Names that would reach an object's prototype in code that copies keys without looking. */
const FORBIDDEN_KEYS = new Set(['__proto__', 'constructor', 'prototype']);

const RATE_HZ_MAX = 384_000;

/** What a file of a signal holds, whatever it is written in. */
export interface Measured {
  /** Samples per second, where the file says it. */
  readonly rateHz: number | undefined;
  /**
   * @param channels names, in the order in which they are returned
   * @returns per channel its samples, all of one length
   * @throws BrinkError E_SHAPE where channels are missing or unequal; E_DECODE where samples are no numbers, E_NUMBER where not finite
   */
  readonly samplesOf: (channels: readonly string[]) => Float32Array<ArrayBuffer>[];
}

/**
 * A parsed value: `{"ax": [1, 2], "ay": [3, 4]}`, with its rate `{"rate_hz": 250, "ecg": […]}`,
 * `[{"ax": 1, "ay": 3}, {"ax": 2, "ay": 4}]`, or `[1, 2]` for one channel; `{"temperature": 21.5, "humidity": 40}` is one sample of each.
 * `ENERGY.Power` is a channel in `{"ENERGY": {"Power": 3}}`. What is there beside the channels asked for is checked and left out.
 * @throws BrinkError E_DECODE, E_SHAPE, E_FORBIDDEN_KEY
 */
export function measuredOf(value: unknown): Measured {
  checkKeys(value);
  return { rateHz: rateOf(value), samplesOf: (channels) => samplesOf(value, channels) };
}

/** A channel may be called so too; then it is an array. */
function rateOf(value: unknown): number | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  if (!Object.hasOwn(value, 'rate_hz')) return undefined;
  const rate = (value as Record<string, unknown>)['rate_hz'];
  if (typeof rate === 'object' && rate !== null) return undefined;
  if (typeof rate === 'number' && rate > 0 && rate <= RATE_HZ_MAX) return rate;
  return wrong(`"rate_hz" is ${typeof rate === 'number' ? rate : kindOf(rate)}; expected up to ${RATE_HZ_MAX}`);
}

function samplesOf(value: unknown, channels: readonly string[]): Float32Array<ArrayBuffer>[] {
  if (!isList(value)) return fromChannels(value, channels);
  if (Array.isArray(value) && value.length > 0 && typeof value[0] === 'object') return fromPoints(value, channels);
  if (channels.length !== 1) {
    throw new BrinkError('E_SHAPE', `an array of numbers; expected the channels ${listOf(channels)} by name`);
  }
  return [numbers(value, channels[0] as string)];
}

/** Numbers one by one, or packed, as CBOR can. */
type List = readonly unknown[] | Float64Array;

const isList = (value: unknown): value is List => Array.isArray(value) || value instanceof Float64Array;

function fromChannels(value: unknown, channels: readonly string[]): Float32Array<ArrayBuffer>[] {
  const found = channels.map((channel) => field(value, channel, ''));
  const single = found.length > 0 && found.every((samples) => typeof samples === 'number');
  const all = found.map((samples, c) => {
    const channel = channels[c] as string;
    if (single) return numbers([samples], channel);
    if (!isList(samples)) return wrong(`"${channel}" is ${kindOf(samples)}; expected ${expectedOf(found)}`);
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

const expectedOf = (found: readonly unknown[]) =>
  found.some(isList) ? 'an array of numbers, as the others are' : 'a number or an array of numbers';

function fromPoints(points: readonly unknown[], channels: readonly string[]): Float32Array<ArrayBuffer>[] {
  return channels.map((channel) => {
    const samples = new Float32Array(points.length);
    for (const [i, point] of points.entries()) samples[i] = numberOf(field(point, channel, ` at [${i}]`), channel, i);
    return samples;
  });
}

function numbers(values: List, channel: string): Float32Array<ArrayBuffer> {
  const samples = new Float32Array(values.length);
  for (const [i, value] of values.entries()) samples[i] = numberOf(value, channel, i);
  return samples;
}

/** JSON has no NaN, but 1e400 parses to Infinity, and 1e39 is one as a float32; CBOR has both. */
function numberOf(value: unknown, channel: string, i: number): number {
  if (typeof value !== 'number') return wrong(`"${channel}"[${i}] is ${kindOf(value)}; expected a number`);
  if (Number.isFinite(Math.fround(value))) return value;
  throw new BrinkError('E_NUMBER', `a signal: "${channel}"[${i}] is ${value}; expected a finite float32`);
}

function field(value: unknown, channel: string, where: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    return wrong(`${kindOf(value)}${where}; expected an object with the channel "${channel}"`);
  }
  if (Object.hasOwn(value, channel)) return (value as Record<string, unknown>)[channel];
  const [head = '', ...rest] = channel.split('.');
  const inner = rest.length > 0 && Object.hasOwn(value, head) ? (value as Record<string, unknown>)[head] : undefined;
  if (typeof inner === 'object' && inner !== null && !isList(inner)) return field(inner, rest.join('.'), where);
  throw new BrinkError('E_SHAPE', `no "${channel}"${where}; found ${listOf(Object.keys(value))}`);
}

/** No deeper than its reader allowed. */
function checkKeys(value: unknown): void {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return;
  if (Array.isArray(value)) {
    for (const element of value) checkKeys(element);
    return;
  }
  const keys = Object.keys(value);
  if (keys.length > KEYS_MAX) throw new BrinkError('E_SHAPE', `${keys.length} keys; expected at most ${KEYS_MAX}`);
  for (const key of keys) {
    if (FORBIDDEN_KEYS.has(key)) {
      throw new BrinkError(
        'E_FORBIDDEN_KEY',
        `a signal: the key "${key}" is not allowed; expected the names of channels`,
      );
    }
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
  if (isList(value)) return 'an array';
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

function listOf(names: readonly string[]): string {
  const shown = names.slice(0, 8).map((name) => JSON.stringify(name));
  return `${shown.join(', ')}${names.length > shown.length ? ' …' : ''}` || 'nothing';
}

function wrong(detail: string): never {
  throw new BrinkError('E_DECODE', `a signal: ${detail}`);
}
