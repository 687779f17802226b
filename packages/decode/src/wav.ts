import { BrinkError } from '@brink/protocol';

// RIFF/WAVE: Microsoft and IBM, "Multimedia Programming Interface and Data Specifications 1.0" (1991);
// WAVE_FORMAT_EXTENSIBLE: "Multiple Channel Audio Data and WAVE Files" (Microsoft, 2001).

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;
/** Everything behind the two bytes of the format in the sub-format's GUID. */
const GUID_TAIL = '000000001000800000aa00389b71';
/** What writers put that do not know the length yet, as into a pipe: the samples go on to the end. */
const SIZE_UNKNOWN = 0xffffffff;

const CHANNELS_MAX = 64;
const RATE_HZ_MAX = 384_000;
/** Per channel; 17 minutes at 16 kHz. */
const SAMPLES_MAX = 2 ** 24;

export interface Recording {
  readonly rateHz: number;
  /** The mean of the channels; −1..1 where the file holds integers, as it is where it holds floats. */
  readonly samples: Float32Array;
}

/**
 * Reads PCM of 8, 16, 24 or 32 bits and floats of 32 or 64 bits.
 * @throws BrinkError E_DECODE what is wrong at which byte; E_NUMBER, E_TOO_LARGE
 */
export function readWav(bytes: Uint8Array): Recording {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const { format, data } = findChunks(view);
  const { rateHz, channels, read, sampleBytes } = readFormat(view, format);
  const frameBytes = channels * sampleBytes;
  if (data.size % frameBytes !== 0) {
    wrong(`the samples at byte ${data.at} are ${data.size} bytes; expected a multiple of ${frameBytes}`);
  }
  const length = data.size / frameBytes;
  if (length > SAMPLES_MAX) {
    throw new BrinkError('E_TOO_LARGE', `${length} samples per channel; expected at most ${SAMPLES_MAX}`);
  }
  const samples = new Float32Array(length);
  for (let i = 0; i < length; i++) {
    const frame = data.at + i * frameBytes;
    let sum = 0;
    for (let c = 0; c < channels; c++) sum += read(view, frame + c * sampleBytes);
    const sample = Math.fround(sum / channels);
    if (!Number.isFinite(sample)) {
      throw new BrinkError('E_NUMBER', `WAV: the sample at byte ${frame} is ${sample}; expected a finite float32`);
    }
    samples[i] = sample;
  }
  return { rateHz, samples };
}

interface Chunk {
  /** Where its content begins. */
  readonly at: number;
  readonly size: number;
}

/** Chunks may stand in any order. Bytes behind the last whole chunk header are nobody's and left alone. */
function findChunks(view: DataView): { format: Chunk; data: Chunk } {
  let format: Chunk | undefined;
  let data: Chunk | undefined;
  for (let at = 12; at + 8 <= view.byteLength && !(format && data); ) {
    const name = nameAt(view, at);
    const begin = at + 8;
    const left = view.byteLength - begin;
    const said = view.getUint32(at + 4, true);
    const size = said === SIZE_UNKNOWN && name === 'data' ? left : said;
    if (size > left) {
      wrong(`the chunk ${JSON.stringify(name)} at byte ${at} says ${size} bytes, but ${left} follow; it is cut off`);
    }
    if (name === 'fmt ') format ??= { at: begin, size };
    if (name === 'data') data ??= { at: begin, size };
    // A chunk of odd length is followed by a byte that counts for nothing.
    at = begin + size + (size % 2);
  }
  if (format === undefined) return wrong('no chunk "fmt "; expected one that says rate and sample format');
  if (data === undefined) return wrong('no chunk "data"; expected one with the samples');
  return { format, data };
}

type ReadSample = (view: DataView, at: number) => number;

const READERS: Readonly<Record<string, ReadSample>> = {
  [`${PCM}/8`]: (view, at) => (view.getUint8(at) - 128) / 2 ** 7,
  [`${PCM}/16`]: (view, at) => view.getInt16(at, true) / 2 ** 15,
  [`${PCM}/24`]: (view, at) => (view.getInt8(at + 2) * 2 ** 16 + view.getUint16(at, true)) / 2 ** 23,
  [`${PCM}/32`]: (view, at) => view.getInt32(at, true) / 2 ** 31,
  [`${FLOAT}/32`]: (view, at) => view.getFloat32(at, true),
  [`${FLOAT}/64`]: (view, at) => view.getFloat64(at, true),
};

function readFormat(view: DataView, { at, size }: Chunk) {
  if (size < 16) wrong(`the chunk "fmt " at byte ${at - 8} has ${size} bytes; expected at least 16`);
  const channels = view.getUint16(at + 2, true);
  const rateHz = view.getUint32(at + 4, true);
  const frameBytes = view.getUint16(at + 12, true);
  const bits = view.getUint16(at + 14, true);
  const code = codeOf(view, at, size);
  if (channels < 1 || channels > CHANNELS_MAX)
    wrong(`${channels} channels (byte ${at + 2}); expected 1..${CHANNELS_MAX}`);
  if (rateHz < 1 || rateHz > RATE_HZ_MAX) wrong(`a rate of ${rateHz} Hz (byte ${at + 4}); expected 1..${RATE_HZ_MAX}`);
  const read = READERS[`${code}/${bits}`];
  if (read === undefined) {
    return wrong(
      `format ${code} with ${bits} bits (byte ${at}); expected PCM (1) of 8, 16, 24 or 32 bits or float (3) of 32 or 64`,
    );
  }
  const sampleBytes = bits / 8;
  if (frameBytes !== channels * sampleBytes) {
    wrong(
      `${frameBytes} bytes per sample of all channels (byte ${at + 12}); expected ${channels} × ${sampleBytes} = ${channels * sampleBytes}`,
    );
  }
  return { rateHz, channels, read, sampleBytes };
}

function codeOf(view: DataView, at: number, size: number): number {
  const code = view.getUint16(at, true);
  if (code !== EXTENSIBLE) return code;
  if (size < 40)
    return wrong(`the chunk "fmt " at byte ${at - 8} has ${size} bytes; expected 40 for an extensible format`);
  const tail = Buffer.from(view.buffer, view.byteOffset + at + 26, 14).toString('hex');
  if (tail !== GUID_TAIL) return wrong(`a sub-format (byte ${at + 24}) of its own kind; expected PCM or float`);
  return view.getUint16(at + 24, true);
}

function nameAt(view: DataView, at: number): string {
  return Buffer.from(view.buffer, view.byteOffset + at, 4).toString('latin1');
}

function wrong(detail: string): never {
  throw new BrinkError('E_DECODE', `WAV: ${detail}`);
}
