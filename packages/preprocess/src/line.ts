import { type AudioInput, BrinkError, type SignalInput } from '@brink/protocol';
import { type Conditioning, createConditioning } from './conditioning.ts';
import { createHistory, type History } from './history.ts';
import type { MarkReader, MarkWriter } from './mark.ts';
import { ratioOf, reachOf } from './resample.ts';
import { createSignalTensor } from './signal.ts';
import { createAudioTensor } from './units.ts';
import { windowsIn } from './windows.ts';

export type SampledInput = { readonly audio: AudioInput } | { readonly signal: SignalInput };

/** One input of a passport: its samples so far, conditioned, and what becomes of a window of them. */
export interface Line {
  /** Where the first window of `hop` begins that has all of its samples. */
  readonly first: number;
  readonly begin: number;
  readonly end: number;
  readonly window: number;
  readonly context: number;
  /** @returns the conditioned samples, one array per channel of the input */
  readonly push: (channels: readonly Float32Array[]) => readonly Float32Array[];
  /** Positions of the conditioned samples. @returns what makes the tensor, without looking at anything before it is called */
  readonly cut: (from: number, to: number) => () => Uint8Array;
  readonly drop: (before: number) => void;
  readonly bytes: () => number;
  readonly write: (mark: MarkWriter) => void;
}

export interface Source {
  readonly channels: readonly string[];
  readonly rateHz: number;
}

/**
 * @param from the position of the first sample that will come, or the mark of another one
 * @throws BrinkError E_SHAPE where a channel is not there, or the rates have nothing to do with each other
 */
export function createLine(input: SampledInput, source: Source, from: number | MarkReader): Line {
  const { spec, pick, tensorOf, steps } = 'audio' in input ? audioLine(input.audio) : signalLine(input.signal, source);
  const { window, context = 0, rate_hz: toHz } = spec;
  const conditionings = steps.map((step) => createConditioning({ ...step, fromHz: source.rateHz, toHz }, from));
  const begin = (conditionings[0] as Conditioning).begin;
  const history: History = createHistory(steps.length, begin, context + window);
  return {
    first: windowsIn(0, spec, begin).first,
    begin,
    get end() {
      return history.end;
    },
    window,
    context,
    push: (channels) => {
      const clean = conditionings.map((conditioning, c) => conditioning.run(pick(channels, c)));
      history.push(clean);
      return clean;
    },
    cut: (start, to) => {
      const samples = history.cut(start, to);
      return () => tensorOf(samples());
    },
    drop: history.drop,
    bytes: () => history.bytes,
    write: (mark) => {
      for (const conditioning of conditionings) conditioning.write(mark);
    },
  };
}

/** @returns how long the mark of a line can be, in bytes */
export function lineMarkBytesMax(input: SampledInput, { rateHz }: Source): number {
  const { rate_hz } = 'audio' in input ? input.audio : input.signal;
  const { channels, median = 0, band_pass } = 'audio' in input ? { channels: [''] } : input.signal;
  const { up, down } = ratioOf(rateHz, rate_hz);
  const tail = rateHz === rate_hz ? 0 : 2 * reachOf(up, down) + Math.ceil(down / up) + 2;
  return channels.length * (4 * tail + 8 * median + 16 * (band_pass?.order ?? 0) + 64);
}

interface LineParts {
  readonly spec: {
    readonly window: number;
    readonly hop?: number | undefined;
    readonly context?: number;
    readonly rate_hz: number;
  };
  readonly steps: readonly {
    readonly name: string;
    readonly median?: SignalInput['median'];
    readonly band_pass?: SignalInput['band_pass'];
  }[];
  readonly pick: (channels: readonly Float32Array[], channel: number) => Float32Array;
  readonly tensorOf: (channels: readonly Float32Array<ArrayBuffer>[]) => Uint8Array;
}

function audioLine(audio: AudioInput): LineParts {
  const tensorOf = createAudioTensor(audio);
  return {
    spec: audio,
    steps: [{ name: 'audio' }],
    pick: meanOf,
    tensorOf: ([samples]) => tensorOf(samples as Float32Array<ArrayBuffer>),
  };
}

/** The mean of the channels, as that of a WAV file. */
function meanOf(channels: readonly Float32Array[]): Float32Array {
  const [first = new Float32Array()] = channels;
  if (channels.length === 1) return first;
  return first.map((_, i) => channels.reduce((sum, samples) => sum + (samples[i] as number), 0) / channels.length);
}

function signalLine(signal: SignalInput, { channels: names }: Source): LineParts {
  const indices = signal.channels.map((channel) => {
    const index = names.indexOf(channel);
    if (index >= 0) return index;
    throw new BrinkError('E_SHAPE', `no channel "${channel}"; found ${names.slice(0, 8).join(', ')}`);
  });
  const { median, band_pass } = signal;
  return {
    spec: signal,
    steps: signal.channels.map((name) => ({ name, median, band_pass })),
    pick: (channels, channel) => channels[indices[channel] as number] as Float32Array,
    tensorOf: createSignalTensor(signal),
  };
}
