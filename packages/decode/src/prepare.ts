import { audioUnits, imageTarget, isPrepared, resample, signalUnits, type Units, wireHeads } from '@brink/preprocess';
import { type AudioInput, BrinkError, type ImageInput, type Passport, type SignalInput } from '@brink/protocol';
import type { PictureTransform } from './geometry.ts';
import { decodePicture } from './picture.ts';
import { type RawEncoding, readRaw } from './raw.ts';
import { readSignal } from './signal.ts';
import { sniff } from './sniff.ts';
import { createTextTensors, readText } from './text.ts';
import { readWav } from './wav.ts';

export interface PreparedUnit {
  /** The prepared inputs of the passport, in their order, as `wireHeads` describes them; states are not included. */
  readonly tensors: readonly Uint8Array[];
  /** Of the first picture input: where the model's pixels lie in the upright original, whose size in pixels this is. */
  readonly picture?: { readonly transform: PictureTransform; readonly width: number; readonly height: number };
  /** What was measured while the unit was cut, as a heart rate: it belongs into the `values` of the result. */
  readonly values?: Readonly<Record<string, number>>;
}

/** All units of a file lie in memory at once. */
const UNITS_BYTES_MAX = 256 * 1024 * 1024;

/**
 * A raw file → every unit of it, in order: what a frame of these bytes becomes, in one place for golden tests and tools.
 * `image` inputs take JPEG, PNG and WebP (one unit); `audio` inputs WAV, at any rate; `signal` inputs JSON, CBOR and CSV
 * (`readSignal`), resampled where the file says another rate than the passport. With several inputs a unit is where each
 * has its window. `text` inputs take UTF-8 (one unit).
 * @param o.files of the model's folder by path, where the tokenizer is
 * @param o.encoding the bytes are raw samples, at the rate of the passport, in the order of its channels
 * @throws BrinkError E_TYPE where the file is of no kind that the inputs take; E_DECODE, E_IMAGE_TYPE, E_IMAGE_PIXELS,
 * E_IMAGE_CORRUPT, E_TOO_LARGE; E_SHAPE also where it is shorter than one window; E_PASSPORT
 */
export async function prepareFile(
  bytes: Uint8Array,
  passport: Pick<Passport, 'inputs'>,
  o: { pixelsMax?: number; encoding?: RawEncoding; files?: ReadonlyMap<string, Uint8Array> } = {},
): Promise<readonly PreparedUnit[]> {
  if (bytes.byteLength === 0) throw new BrinkError('E_EMPTY', 'a file of 0 bytes');
  const inputs = passport.inputs.filter(isPrepared);
  const unitBytes = wireHeads({ inputs, state: [] }).reduce((sum, head) => sum + head.bytes, 0);
  const images = inputs.flatMap((input) => ('image' in input ? [input.image] : []));
  if (images.length === inputs.length) return [await pictureUnit(bytes, images, o.pixelsMax)];
  const audio = inputs.flatMap((input) => ('audio' in input ? [input.audio] : []));
  if (audio.length === inputs.length) return collect(soundUnits(bytes, audio, o.encoding), unitBytes);
  const signals = inputs.flatMap((input) => ('signal' in input ? [input.signal] : []));
  if (signals.length === inputs.length) return collect(measuredUnits(bytes, signals, o.encoding), unitBytes);
  if (inputs.every((input) => 'text' in input)) {
    return [{ tensors: createTextTensors(passport, o.files ?? new Map())(readText(bytes)) }];
  }
  throw new BrinkError('E_TYPE', 'the inputs are of several kinds; expected what one file can bring');
}

async function pictureUnit(
  bytes: Uint8Array,
  images: readonly ImageInput[],
  pixelsMax: number | undefined,
): Promise<PreparedUnit> {
  const targets = images.map(imageTarget);
  const decoded = await decodePicture(bytes, { targets, ...(pixelsMax === undefined ? {} : { pixelsMax }) });
  const { pictures, width, height } = decoded;
  const transform = pictures[0]?.transform;
  return {
    tensors: pictures.map(({ pixels }) => pixels),
    ...(transform === undefined ? {} : { picture: { transform, width, height } }),
  };
}

/** What every input makes of one file, and the words for a file that is too short for a unit. */
interface FileUnits {
  readonly perInput: readonly Units[];
  readonly given: string;
}

function soundUnits(bytes: Uint8Array, inputs: readonly AudioInput[], encoding: RawEncoding | undefined): FileUnits {
  const { rateHz, samples } = encoding === undefined ? readSound(bytes) : rawSound(bytes, encoding);
  const perInput = inputs.map((audio) => audioUnits(resample(samples, rateHz ?? audio.rate_hz, audio.rate_hz), audio));
  const rate = rateHz === undefined ? '' : ` at ${rateHz} Hz`;
  return { perInput, given: `${samples.length} samples${rate}; expected ${sizesOf(inputs)}` };
}

function readSound(bytes: Uint8Array): { rateHz: number; samples: Float32Array } {
  const type = sniff(bytes);
  if (type !== 'audio/wav') throw new BrinkError('E_TYPE', `the bytes look like ${type}; expected a WAV recording`);
  return readWav(bytes);
}

/** One channel, at the rate of the passport, integers as −1..1. */
function rawSound(bytes: Uint8Array, encoding: RawEncoding): { rateHz: undefined; samples: Float32Array } {
  const [samples = new Float32Array()] = readRaw(bytes, encoding, 1);
  return { rateHz: undefined, samples: encoding === 's16le' ? samples.map((sample) => sample / 32_768) : samples };
}

function measuredUnits(
  bytes: Uint8Array,
  inputs: readonly SignalInput[],
  encoding: RawEncoding | undefined,
): FileUnits {
  const { rateHz, samplesOf } = readSignal(bytes, encoding);
  const all = inputs.map((signal) => samplesOf(signal.channels));
  const perInput = inputs.map((signal, i) => {
    const channels = (all[i] ?? []).map((samples) => resample(samples, rateHz ?? signal.rate_hz, signal.rate_hz));
    return signalUnits(channels, signal);
  });
  const rate = rateHz === undefined ? '' : ` at ${rateHz} Hz`;
  return { perInput, given: `${all[0]?.[0]?.length} samples${rate}; expected ${sizesOf(inputs)}` };
}

function collect({ perInput, given }: FileUnits, unitBytes: number): PreparedUnit[] {
  const count = Math.min(...perInput.map((units) => units.count));
  if (count === 0) throw new BrinkError('E_SHAPE', given);
  if (count * unitBytes > UNITS_BYTES_MAX) {
    throw new BrinkError(
      'E_TOO_LARGE',
      `${count} units of ${unitBytes} bytes; expected at most ${UNITS_BYTES_MAX} bytes in all`,
    );
  }
  const iterators = perInput.map(({ tensors }) => tensors[Symbol.iterator]());
  return Array.from({ length: count }, (_, unit) => {
    const values = perInput.find((units) => units.values !== undefined)?.values?.[unit];
    const tensors = iterators.map((of) => of.next().value as Uint8Array);
    return values === undefined ? { tensors } : { tensors, values };
  });
}

function sizesOf(inputs: readonly (AudioInput | SignalInput)[]): string {
  if (inputs.some((input) => 'trigger' in input && input.trigger !== undefined)) return 'a peak with its whole unit';
  return inputs.map(({ window, rate_hz }) => `at least ${window} at ${rate_hz} Hz`).join(', ');
}
