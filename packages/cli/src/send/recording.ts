import { BrinkError } from '@brink/protocol';
import { createPieces, type Pieces } from './pieces.ts';

/** How the samples of a recording lie. */
export interface Samples {
  readonly rateHz: number;
  /** Of one moment, all channels. */
  readonly blockBytes: number;
}

export interface Chunk {
  readonly bytes: Uint8Array;
  /** Position of its first sample, in samples of one channel. */
  readonly at: number;
  /** Samples of one channel. */
  readonly count: number;
  readonly ms: number;
}

const HEADER_BYTES_MAX = 1024 * 1024;

/**
 * Cuts a recording into frames of `chunkMs`; the last one may be shorter.
 * A WAV is cut into WAVs, each with the header of the whole, so that a frame says by itself what it is; with `headerless` only samples.
 * @param o.pcm how the samples lie where there is no header
 * @throws BrinkError E_TYPE where it is neither WAV nor described
 */
export async function* chunksOf(
  source: AsyncIterable<Uint8Array>,
  o: { chunkMs: number; pcm?: Samples; headerless?: boolean },
): AsyncGenerator<Chunk, void> {
  const pieces = createPieces(source);
  const wave = await readHeader(pieces);
  const samples = wave ?? o.pcm;
  if (samples === undefined) {
    throw new BrinkError('E_TYPE', 'it is no WAV; say how its samples lie, as --pcm s16:16000');
  }
  const perChunk = Math.max(1, Math.round((samples.rateHz * o.chunkMs) / 1000));
  const withHeader = wave === undefined || o.headerless === true ? (bytes: Buffer) => bytes : headed(wave);
  let left = wave?.dataBytes ?? Number.POSITIVE_INFINITY;
  for (let at = 0; ; at += perChunk) {
    const wanted = Math.min(left, perChunk * samples.blockBytes);
    const read = await pieces.read(wanted);
    const whole = read.subarray(0, read.length - (read.length % samples.blockBytes));
    left -= read.length;
    if (whole.length > 0) {
      const count = whole.length / samples.blockBytes;
      yield { bytes: withHeader(whole), at, count, ms: (count / samples.rateHz) * 1000 };
    }
    if (whole.length < perChunk * samples.blockBytes) return;
  }
}

interface Wave extends Samples {
  /** The body of the `fmt ` chunk. */
  readonly format: Buffer;
  readonly dataBytes: number;
}

/** RIFF WAVE up to its samples. @returns undefined where it is none, with nothing taken */
async function readHeader(pieces: Pieces): Promise<Wave | undefined> {
  const head = await pieces.peek(12);
  if (head.length < 12 || head.toString('latin1', 0, 4) !== 'RIFF' || head.toString('latin1', 8, 12) !== 'WAVE') {
    return undefined;
  }
  await pieces.read(12);
  let format: Buffer | undefined;
  for (let taken = 0; taken < HEADER_BYTES_MAX; ) {
    const chunk = await pieces.read(8);
    if (chunk.length < 8) break;
    const [name, size] = [chunk.toString('latin1', 0, 4), chunk.readUInt32LE(4)];
    if (name === 'data') return waveOf(format, size);
    if (size > HEADER_BYTES_MAX) break;
    // Chunks are padded to an even length.
    const body = await pieces.read(size + (size % 2));
    if (name === 'fmt ') format = Buffer.from(body.subarray(0, size));
    taken += 8 + body.length;
  }
  throw new BrinkError('E_DECODE', 'a WAV without samples; expected a chunk "data"');
}

function waveOf(format: Buffer | undefined, size: number): Wave {
  if (format === undefined || format.length < 16)
    throw new BrinkError('E_DECODE', 'no chunk "fmt " of at least 16 bytes before the samples');
  const rateHz = format.readUInt32LE(4);
  const blockBytes = format.readUInt16LE(12);
  if (rateHz === 0 || blockBytes === 0) {
    throw new BrinkError('E_DECODE', `${rateHz} Hz, ${blockBytes} bytes a sample; expected more than 0`);
  }
  // Who writes into a pipe does not know the length yet, and writes 0 or the largest there is.
  const dataBytes = size === 0 || size >= 0x7fff_0000 ? Number.POSITIVE_INFINITY : size;
  return { rateHz, blockBytes, format, dataBytes };
}

/** RIFF, the format as it was, the samples. */
function headed({ format }: Wave): (bytes: Buffer) => Buffer {
  return (bytes) => {
    const head = Buffer.alloc(20 + format.length + 8);
    head.write('RIFF', 0, 'latin1');
    head.writeUInt32LE(head.length - 8 + bytes.length, 4);
    head.write('WAVEfmt ', 8, 'latin1');
    head.writeUInt32LE(format.length, 16);
    format.copy(head, 20);
    head.write('data', 20 + format.length, 'latin1');
    head.writeUInt32LE(bytes.length, 24 + format.length);
    return Buffer.concat([head, bytes]);
  };
}
