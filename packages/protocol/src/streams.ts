import type { StreamConfig } from './configuration.ts';
import { maskProblems } from './mask.ts';
import type { InputSpec } from './passport/inputs.ts';

// What no schema of its own sees: whether the keys of a stream go together, and whether its frames can become what a model takes.
// Asked by control before a configuration is in force and by the gateway for the passports that it really has.

/** What every input of a model that is made of a frame is made of, and the channels of its signals. */
export interface ModelNeeds {
  readonly kinds: readonly string[];
  readonly channels: readonly string[];
}

export interface StreamProblem {
  /** From the stream on. */
  readonly path: readonly (string | number)[];
  readonly found: string;
  readonly expected: string;
}

const RAW: ReadonlySet<string> = new Set(['s16le', 'f32le']);
const WINDOWED: ReadonlySet<string> = new Set(['audio', 'signal']);

/** Keys of a stream that do not go together. */
export function streamProblems(
  stream: Pick<StreamConfig, 'format' | 'audio' | 'signal' | 'gap' | 'mask' | 'denoise'>,
): StreamProblem[] {
  const { format } = stream;
  const problems: StreamProblem[] = maskProblems(stream);
  for (const key of ['audio', 'signal'] as const) {
    if (stream[key] === undefined || format === key) continue;
    problems.push({ path: [key], found: `${key} beside format: ${format}`, expected: `it beside format: ${key} only` });
  }
  if (stream.gap !== undefined && !WINDOWED.has(format)) {
    problems.push({ path: ['gap'], found: `gap beside format: ${format}`, expected: 'it beside audio or signal only' });
  }
  if (format === 'signal' && stream.signal === undefined) {
    problems.push({ path: ['signal'], found: 'nothing', expected: 'the fields of a signal' });
  }
  const fields = fieldsOf(stream).map(({ name }) => name);
  const twice = fields.find((field, i) => fields.indexOf(field) !== i);
  if (twice !== undefined) {
    problems.push({ path: ['signal', 'fields'], found: `"${twice}" a second time`, expected: 'each field once' });
  }
  return problems;
}

/** Of a signal its channels, and where in a frame each stands: `power=ENERGY.Power`; `ax` stands where it is called so. */
export function fieldsOf({ signal }: { readonly signal?: StreamConfig['signal'] }): { name: string; path: string }[] {
  return (signal?.fields ?? []).map((field) => {
    const [name = '', path = name] = field.split('=', 2);
    return { name, path };
  });
}

/** Whether frames of a stream are cut into windows of samples. */
export const isWindowed = ({ format }: Pick<StreamConfig, 'format'>) => WINDOWED.has(format);

/** Whether bytes in this encoding do not tell what they are. */
export const isRawEncoding = (encoding: string | undefined): encoding is 's16le' | 'f32le' =>
  encoding !== undefined && RAW.has(encoding);

export function needsOf(inputs: readonly InputSpec[]): ModelNeeds {
  const kinds = inputs.flatMap((input) => {
    const kind = Object.keys(input).find((key) => key !== 'tensor' && key !== 'dtype');
    return kind === undefined || kind === 'constant' ? [] : [kind];
  });
  const channels = inputs.flatMap((input) => ('signal' in input ? input.signal.channels : []));
  return { kinds: [...new Set(kinds)], channels: [...new Set(channels)] };
}

/** @returns why frames of this stream cannot be fed to a model with these needs; undefined where they can */
export function misfitOf(
  { format, signal }: Pick<StreamConfig, 'format' | 'signal'>,
  { kinds, channels }: ModelNeeds,
): string | undefined {
  if (format === 'tensor') return undefined;
  const other = kinds.filter((kind) => kind !== format);
  if (other.length > 0) return `it takes ${kinds.join(' and ')}, and the stream brings ${format}`;
  const brought = fieldsOf({ signal }).map(({ name }) => name);
  const missing = format === 'signal' ? channels.filter((channel) => !brought.includes(channel)) : [];
  if (missing.length === 0) return undefined;
  return `it takes the channels ${channels.join(', ')}, and the stream brings ${brought.join(', ') || 'none'}`;
}
