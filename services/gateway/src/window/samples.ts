import { readRaw, readSignal, readText, readWav, sniff } from '@brink/decode';
import { BrinkError, isRawEncoding } from '@brink/protocol';
import type { SamplesPlan, StreamPlan } from '../ingest/plan.ts';

/** What a frame of sound or of a signal says. */
export interface Samples {
  /** Where the frame, or the configuration, says it. */
  readonly rateHz: number | undefined;
  /** In the order of the stream's channels, all of one length; at least one sample. */
  readonly channels: readonly Float32Array[];
}

const FULL_SCALE_16 = 32_768;

/**
 * A frame's bytes, read at once: what cannot be read is refused by name before anything is made of it.
 * @param type as the content type or the configuration says
 * @throws BrinkError E_TYPE, E_DECODE, E_SHAPE, E_TOO_LARGE
 */
export function readSamples(plan: SamplesPlan, bytes: Uint8Array, type: string): Samples {
  const { rateHz, channels } = plan.kind === 'audio' ? readSound(plan, bytes, type) : readFields(plan, bytes, type);
  if ((channels[0]?.length ?? 0) === 0)
    throw new BrinkError('E_SHAPE', 'a frame without a sample; expected one or more');
  return { rateHz: rateHz ?? plan.rateHz, channels };
}

/** @returns what the frame says, undefined where it is no row of samples; or why it cannot be read, also where it is a text */
export function samplesOf(plan: StreamPlan, payload: Uint8Array, type: string): Samples | BrinkError | undefined {
  if (plan.samples === undefined && plan.format !== 'text') return undefined;
  try {
    if (plan.samples === undefined) {
      readText(payload);
      return undefined;
    }
    return readSamples(plan.samples, payload, type);
  } catch (reason) {
    return BrinkError.from(reason, 'E_DECODE');
  }
}

function readSound({ encoding, interleaved }: SamplesPlan, bytes: Uint8Array, type: string): Samples {
  if (type === 'audio/wav') {
    const found = sniff(bytes);
    if (found !== type) throw new BrinkError('E_TYPE', `the bytes look like ${found}; expected a WAV recording`);
    const { rateHz, samples } = readWav(bytes);
    return { rateHz, channels: [samples] };
  }
  const raw = rawOf(encoding, type);
  const channels = readRaw(bytes, raw, interleaved);
  return { rateHz: undefined, channels: [meanOf(channels, raw === 's16le' ? 1 / FULL_SCALE_16 : 1)] };
}

/** @param scale to −1..1 */
function meanOf(channels: readonly Float32Array[], scale: number): Float32Array {
  const [first = new Float32Array()] = channels;
  if (channels.length === 1) return scale === 1 ? first : first.map((sample) => sample * scale);
  return first.map((_, i) => {
    let sum = 0;
    for (const samples of channels) sum += samples[i] as number;
    return (sum * scale) / channels.length;
  });
}

/** What the bytes of each type look like; CBOR looks like nothing. */
const LOOKS: Readonly<Record<string, string>> = {
  'application/json': 'application/json',
  'text/csv': 'text/plain',
  'application/cbor': 'application/octet-stream',
};

function readFields({ encoding, paths }: SamplesPlan, bytes: Uint8Array, type: string): Samples {
  const looks = LOOKS[type];
  if (looks === undefined) {
    const { samplesOf } = readSignal(bytes, rawOf(encoding, type));
    return { rateHz: undefined, channels: samplesOf(paths) };
  }
  const found = sniff(bytes);
  if (found !== looks) throw new BrinkError('E_TYPE', `the bytes look like ${found}; expected ${type}`);
  const { rateHz, samplesOf } = readSignal(bytes);
  return { rateHz, channels: samplesOf(paths) };
}

function rawOf(encoding: string, type: string): 's16le' | 'f32le' {
  if (isRawEncoding(encoding)) return encoding;
  throw new BrinkError('E_TYPE', `${type}, and the stream does not say how its samples lie in it (encoding)`);
}
