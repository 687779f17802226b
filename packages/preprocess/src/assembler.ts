import { BrinkError, type Passport } from '@brink/protocol';
import { type Cutter, createHopCutter, createPeakCutter, type UnitCut } from './cutters.ts';
import { createLine, type Line, lineMarkBytesMax, type SampledInput, type Source } from './line.ts';
import { createMarkReader, createMarkWriter, type MarkReader } from './mark.ts';
import { peakMarkBytesMax } from './peaks.ts';
import { createQuality, type Quality } from './quality.ts';
import { ratioOf } from './resample.ts';
import { isPrepared, wireHeads } from './wire.ts';

// Frames of any size → the units of a stream. Everything has its place by its position since the first sample, so that
// the same samples make the same units, bit by bit, however they were cut into frames, after a restart too.

/** Positions count the samples of a channel as they were pushed, before any resampling. */
export interface FormedWindow {
  /** The first sample that it is about, context included. Filters look further back. */
  readonly from: number;
  /** One past the last. Filters look further ahead, so that the frame which completes it may be a later one. */
  readonly to: number;
  /**
   * One per prepared input of the passport, as `wireHeads` says; worked out when called, once. Absent where it begins
   * before the mark that the assembler was made from: it was formed by the one that made the mark.
   * @throws BrinkError E_DECODE where filtering leaves float32
   */
  readonly tensors: (() => readonly Uint8Array[]) | undefined;
  /** What was measured while it was cut. */
  readonly values?: Readonly<Record<string, number>>;
  /** Every sample is 0, or sound is clipped (`quality.ts`); context does not count. */
  readonly quality?: 'bad';
}

export interface Assembler {
  /** Position of the next sample that will be pushed. */
  readonly at: number;
  /** What lies before is of no use to any later window. */
  readonly neededFrom: number;
  /** Bytes of samples that are kept for later windows. */
  readonly bytes: number;
  /**
   * @param channels one array per channel, all of one length, in the order of `channels`, finite, at `rateHz`
   * @returns the windows that are whole by now, in order
   * @throws BrinkError E_DECODE where they are not so, or filtering leaves float32; then nothing more can come of it and
   * a new one must be made at a later position
   */
  readonly push: (channels: readonly Float32Array[]) => readonly FormedWindow[];
  /** Enough to go on from here, given all samples from here on. At most 64 KiB. */
  readonly mark: () => Uint8Array;
}

export interface AssemblerOptions {
  /** Names of what will be pushed; sound may have any. Of several channels of sound it takes the mean. */
  readonly channels: readonly string[];
  readonly rateHz: number;
  /** Position of the first sample; default 0. At 0 the stream begins as a file does, later nothing is known of before. */
  readonly at?: number;
  /** Of an assembler of the same passport, channels and rate; instead of `at`. */
  readonly mark?: Uint8Array;
}

/**
 * @throws BrinkError E_PASSPORT where the inputs do not go together, no samples make them or a mark would be too long; E_SHAPE where a channel is
 * missing or the rate has nothing to do with that of the passport; E_PASSPORT_CHANGED where the mark is of another
 * passport or source, E_STORAGE_CORRUPT where it is none
 */
export function createAssembler(passport: Pick<Passport, 'inputs'>, o: AssemblerOptions): Assembler {
  const inputs = sampledInputs(passport);
  checkMarkBytes(inputs, o);
  const origin = fingerprint(inputs, o);
  const mark = o.mark === undefined ? undefined : createMarkReader(o.mark);
  if (mark !== undefined) checkOrigin(mark, origin);
  /** Windows that begin before it were formed before. */
  const markedAt = mark === undefined ? Number.NEGATIVE_INFINITY : mark.number();
  let at = mark === undefined ? (o.at ?? 0) : markedAt;
  const parts = createParts(inputs, o, mark ?? at);
  mark?.end();
  const { lines, cutter, quality } = parts;
  const place = createPlaces(inputs, o.rateHz);

  const formed = (cut: UnitCut): FormedWindow => {
    const from = place.first(Math.min(...cut.inputs.map((input) => input.from)));
    const to = place.end(Math.max(...cut.inputs.map((input) => input.to)));
    const values = cut.values === undefined ? {} : { values: cut.values };
    const doubtful = quality.bad(place.first(cut.start), to) ? ({ quality: 'bad' } as const) : {};
    return { from, to, tensors: from < markedAt ? undefined : tensorsOf(lines, cut), ...values, ...doubtful };
  };

  return {
    get at() {
      return at;
    },
    get neededFrom() {
      return Math.min(at, place.first(cutter.neededFrom()));
    },
    get bytes() {
      return lines.reduce((sum, line) => sum + line.bytes(), 0);
    },
    push: (channels) => {
      checkPushed(channels, o.channels.length);
      const [clean = []] = lines.map((line) => line.push(channels));
      quality.push(channels);
      at += channels[0]?.length ?? 0;
      const windows = cutter.next(clean).map(formed);
      const needed = cutter.neededFrom();
      for (const line of lines) line.drop(needed);
      quality.drop(place.first(needed));
      return windows;
    },
    mark: () => writeMark(origin, at, parts),
  };
}

interface Parts {
  readonly lines: readonly Line[];
  readonly cutter: Cutter;
  readonly quality: Quality;
}

function createParts(inputs: readonly SampledInput[], source: Source, from: number | MarkReader): Parts {
  const lines = inputs.map((input) => createLine(input, source, from));
  const mark = typeof from === 'number' ? undefined : from;
  const [first] = inputs as [SampledInput];
  const [line] = lines as [Line];
  const cutter =
    'signal' in first && first.signal.trigger !== undefined
      ? createPeakCutter(line, line.begin, first.signal, mark)
      : createHopCutter(lines, hopOf(first), mark);
  const shortest = Math.floor(Math.min(...lines.map(({ window }) => window)) * (source.rateHz / specOf(first).rate_hz));
  return { lines, cutter, quality: createQuality('audio' in first, shortest, from) };
}

/** The windows of `cut`, one tensor per input, made once. */
function tensorsOf(lines: readonly Line[], cut: UnitCut): () => readonly Uint8Array[] {
  const makers = lines.map((line, i) => {
    const { from, to } = cut.inputs[i] as UnitCut['inputs'][number];
    return line.cut(from, to);
  });
  let made: readonly Uint8Array[] | undefined;
  return () => {
    made ??= makers.map((make) => make());
    return made;
  };
}

const specOf = (input: SampledInput) => ('audio' in input ? input.audio : input.signal);

const hopOf = (input: SampledInput) => {
  const { hop, window } = specOf(input);
  return hop ?? window;
};

/** @throws BrinkError E_PASSPORT */
function sampledInputs(passport: Pick<Passport, 'inputs'>): SampledInput[] {
  const inputs = passport.inputs.filter(isPrepared);
  wireHeads({ inputs, state: [] });
  const sampled = inputs.filter((input) => 'audio' in input || 'signal' in input);
  const [first] = sampled;
  if (first === undefined || sampled.length < inputs.length)
    wrong('are not all made of samples; expected audio or signal');
  for (const input of sampled) {
    if ('audio' in input !== 'audio' in first) wrong('are audio and signal; expected one kind');
    if (specOf(input).rate_hz !== specOf(first).rate_hz) wrong('differ in rate_hz; expected one rate for all');
    if (hopOf(input) !== hopOf(first))
      wrong('differ in hop; expected one hop (or window, where no hop is said) for all');
  }
  return sampled;
}

function wrong(detail: string): never {
  throw new BrinkError('E_PASSPORT', `inputs ${detail}`);
}

/** @throws BrinkError E_DECODE */
function checkPushed(channels: readonly Float32Array[], expected: number): void {
  if (channels.length !== expected) {
    throw new BrinkError('E_DECODE', `${channels.length} channels; expected ${expected}`);
  }
  const length = channels[0]?.length ?? 0;
  for (const [c, samples] of channels.entries()) {
    if (samples.length !== length) {
      throw new BrinkError('E_DECODE', `channel ${c} has ${samples.length} samples; expected ${length}, as the first`);
    }
    if (!allFinite(samples)) throw new BrinkError('E_DECODE', `channel ${c} has a sample that is no finite number`);
  }
}

function allFinite(samples: Float32Array): boolean {
  // What is no number, or has no end, is not nothing when taken from itself.
  for (const sample of samples) if (sample - sample !== 0) return false;
  return true;
}

/** Where the samples at the rate of the passport lie among those that were pushed. */
function createPlaces(inputs: readonly SampledInput[], fromHz: number) {
  const [first] = inputs as [SampledInput];
  const { up, down } = fromHz === specOf(first).rate_hz ? { up: 1, down: 1 } : ratioOf(fromHz, specOf(first).rate_hz);
  const at = (position: number) =>
    up === 1 && down === 1 ? position : Number((BigInt(position) * BigInt(down)) / BigInt(up));
  return {
    first: (position: number) => at(Math.max(0, position)),
    end: (position: number) => at(Math.max(0, position - 1)) + 1,
  };
}

/** Changes whenever what a mark holds means something else. */
const MARK_VERSION = 1;

function writeMark(origin: readonly number[], at: number, { lines, cutter, quality }: Parts): Uint8Array {
  const mark = createMarkWriter();
  mark.doubles(origin);
  mark.number(at);
  for (const line of lines) line.write(mark);
  cutter.write(mark);
  quality.write(mark);
  return mark.bytes();
}

const MARK_BYTES_MAX = 64 * 1024;

/** @throws BrinkError E_PASSPORT */
function checkMarkBytes(inputs: readonly SampledInput[], source: Source): void {
  const lines = inputs.reduce((sum, input) => sum + lineMarkBytesMax(input, source), 256);
  const [first] = inputs as [SampledInput];
  const trigger = 'signal' in first ? first.signal.trigger : undefined;
  const most = lines + (trigger === undefined ? 0 : peakMarkBytesMax(specOf(first).rate_hz, trigger.peaks));
  if (most <= MARK_BYTES_MAX) return;
  const said = `need up to ${Math.ceil(most)} bytes to go on from at ${source.rateHz} Hz; expected at most ${MARK_BYTES_MAX}`;
  wrong(`${said} (fewer channels, a lower rate)`);
}

/** FNV-1a of what the mark is about. */
function fingerprint(inputs: readonly SampledInput[], { channels, rateHz }: Source): readonly number[] {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(JSON.stringify([inputs, channels, rateHz]))) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return [MARK_VERSION, hash];
}

function checkOrigin(mark: MarkReader, [version, hash]: readonly number[]): void {
  const [thenVersion, thenHash] = mark.doubles();
  if (thenVersion === version && thenHash === hash) return;
  throw new BrinkError('E_PASSPORT_CHANGED', 'the mark is of another passport, other channels or another rate');
}
