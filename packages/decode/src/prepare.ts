import { audioUnits, imageTarget, isPrepared, resample, signalUnits, type Units, wireHeads } from '@brink/preprocess';
import { type AudioInput, BrinkError, type ImageInput, type Passport, type SignalInput } from '@brink/protocol';
import type { PictureTransform } from './geometry.ts';
import { decodePicture } from './picture.ts';
import { readSignal } from './signal.ts';
import { type SniffedType, sniff } from './sniff.ts';
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
 * `image` inputs take JPEG, PNG and WebP (one unit); `audio` inputs WAV, at any rate; `signal` inputs JSON (`readSignal`)
 * at the rate of the passport. With several inputs a unit is where each has its window.
 * @throws BrinkError E_TYPE where the file is of no kind that the inputs take; E_DECODE, E_IMAGE_TYPE, E_IMAGE_PIXELS,
 * E_IMAGE_CORRUPT, E_TOO_LARGE; E_SHAPE also where it is shorter than one window; E_PASSPORT
 */
export async function prepareFile(
  bytes: Uint8Array,
  passport: Pick<Passport, 'inputs'>,
  o: { pixelsMax?: number } = {},
): Promise<readonly PreparedUnit[]> {
  if (bytes.byteLength === 0) throw new BrinkError('E_EMPTY', 'a file of 0 bytes');
  const inputs = passport.inputs.filter(isPrepared);
  const unitBytes = wireHeads({ inputs, state: [] }).reduce((sum, head) => sum + head.bytes, 0);
  const images = inputs.flatMap((input) => ('image' in input ? [input.image] : []));
  if (images.length === inputs.length) return [await pictureUnit(bytes, images, o.pixelsMax)];
  const audio = inputs.flatMap((input) => ('audio' in input ? [input.audio] : []));
  if (audio.length === inputs.length) return collect(soundUnits(bytes, audio), unitBytes);
  const signals = inputs.flatMap((input) => ('signal' in input ? [input.signal] : []));
  if (signals.length === inputs.length) return collect(measuredUnits(bytes, signals), unitBytes);
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

function soundUnits(bytes: Uint8Array, inputs: readonly AudioInput[]): FileUnits {
  checkType(bytes, 'audio/wav', 'a WAV recording');
  const { rateHz, samples } = readWav(bytes);
  const perInput = inputs.map((audio) => audioUnits(resample(samples, rateHz, audio.rate_hz), audio));
  return { perInput, given: `${samples.length} samples at ${rateHz} Hz; expected ${sizesOf(inputs)}` };
}

function measuredUnits(bytes: Uint8Array, inputs: readonly SignalInput[]): FileUnits {
  checkType(bytes, 'application/json', 'a signal in JSON');
  const all = inputs.map((signal) => readSignal(bytes, signal.channels));
  const perInput = inputs.map((signal, i) => signalUnits(all[i] ?? [], signal));
  return { perInput, given: `${all[0]?.[0]?.length} samples; expected ${sizesOf(inputs)}` };
}

function checkType(bytes: Uint8Array, expected: SniffedType, words: string): void {
  const type = sniff(bytes);
  if (type !== expected) throw new BrinkError('E_TYPE', `the bytes look like ${type}; expected ${words}`);
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
