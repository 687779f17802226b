import { AudioInputSchema, type InputSpec, SignalInputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { type Assembler, type AssemblerOptions, createAssembler, type FormedWindow } from './assembler.ts';
import { chirp, seeded } from './reference.testing.ts';
import { resample } from './resample.ts';
import { signalUnits } from './signal.ts';
import { audioUnits, type Units } from './units.ts';

const ROUNDS = process.env['BRINK_TEST_SIZE'] === 'long' ? 200 : 5;

interface Case {
  readonly name: string;
  readonly inputs: readonly InputSpec[];
  readonly source: AssemblerOptions;
  readonly samples: readonly Float32Array[];
}

const audio = (over: object) => AudioInputSchema.parse({ rate_hz: 16_000, window: 4000, hop: 1000, ...over });
const signal = (over: object) =>
  SignalInputSchema.parse({ rate_hz: 100, window: 50, hop: 20, channels: ['x', 'y'], ...over });
const mfcc = { bins: 5, mels: 10, frame: 400, stride: 160, fft: 512 };

/** Beats of 0.45 to 0.6 s with T waves, some of them small, with noise; from 12 to 18 s none. */
function heart(length: number, rateHz: number, seed = 1): Float32Array {
  const random = seeded(seed);
  const out = Float32Array.from({ length }, () => 0.02 * (random() - 0.5));
  for (let t = 0.4, beat = 0; t < length / rateHz; t += 0.45 + 0.15 * random(), beat++) {
    if (t > 12 && t < 18) continue;
    const height = beat % 5 === 3 ? 0.45 : 1;
    for (let i = Math.round((t - 0.2) * rateHz); i < Math.min(length, (t + 0.5) * rateHz); i++) {
      const s = i / rateHz - t;
      const wave = Math.exp(-((s / 0.011) ** 2) / 2) + 0.5 * Math.exp(-(((s - 0.25) / 0.03) ** 2) / 2);
      if (i >= 0) out[i] = out[i]! + height * wave;
    }
  }
  return out;
}

const sound = (length: number, rateHz: number) => ({ channels: ['mono'], rateHz, samples: [chirp(length, rateHz)] });
const two = (length: number, rateHz: number) => [
  chirp(length, rateHz),
  chirp(length, rateHz / 2).map((x) => 7 - 3 * x),
];
const make = (
  name: string,
  inputs: object[],
  from: { channels: string[]; rateHz: number; samples: Float32Array[] },
): Case => ({
  name,
  inputs: inputs.map((input, i) => ({ tensor: `t${i}`, ...input }) as InputSpec),
  source: { channels: from.channels, rateHz: from.rateHz },
  samples: from.samples,
});
const xy = (length: number, rateHz: number) => ({ channels: ['y', 'x'], rateHz, samples: two(length, rateHz) });
const ecg = (seconds: number, rateHz: number) => ({
  channels: ['n', 'ecg'],
  rateHz,
  samples: [Float32Array.from({ length: seconds * rateHz }, (_, i) => i), heart(seconds * rateHz, rateHz)],
});
const beat = (over: object) => ({
  signal: SignalInputSchema.parse({
    rate_hz: 125,
    window: 187,
    channels: ['ecg', 'n'],
    trigger: { peaks: { band_hz: [5, 15], channel: 'ecg' } },
    ...over,
  }),
});

const CASES: readonly Case[] = [
  make('sound', [{ audio: audio({}) }], sound(20_000, 16_000)),
  make(
    'sound with context',
    [{ audio: audio({ window: 512, hop: 512, context: 64, normalise: 'peak' }) }],
    sound(9000, 16_000),
  ),
  make('sound, gaps between windows', [{ audio: audio({ window: 300, hop: 1000 }) }], sound(20_000, 16_000)),
  make('MFCC of resampled sound', [{ audio: audio({ mfcc, normalise: 'peak' }) }], sound(40_000, 44_100)),
  make('sound at more samples than it had', [{ audio: audio({ context: 100 }) }], sound(5000, 8000)),
  make(
    'sound twice',
    [{ audio: audio({}) }, { audio: audio({ window: 1500, context: 30, mfcc }) }],
    sound(20_000, 16_000),
  ),
  make('a signal of two channels', [{ signal: signal({ normalise: 'z-score' }) }], xy(700, 100)),
  make(
    'a signal, smoothed and filtered',
    [
      {
        signal: signal({
          median: 7,
          band_pass: { low_hz: 2, high_hz: 30 },
          detrend: 'linear',
          normalise: 'min-max',
          layout: 'time-channels',
        }),
      },
    ],
    xy(700, 100),
  ),
  make(
    'a signal, filtered both ways',
    [{ signal: signal({ band_pass: { low_hz: 2, high_hz: 30, phase: 'zero' } }) }],
    xy(700, 100),
  ),
  make(
    'a signal, resampled, smoothed, filtered',
    [{ signal: signal({ median: 5, band_pass: { low_hz: 2, high_hz: 30 } }) }],
    xy(2500, 360),
  ),
  make(
    'two signals, filtered differently',
    [
      { signal: signal({ channels: ['x'], median: 3 }) },
      { signal: signal({ channels: ['y'], window: 33, band_pass: { low_hz: 2, high_hz: 30 } }) },
    ],
    xy(700, 100),
  ),
  make('heartbeats', [beat({ until: 'next-peak', pad: 'zero', rate_as: 'bpm', normalise: 'min-max' })], ecg(40, 125)),
  make('heartbeats with their rate', [beat({ rate_as: 'bpm', before: 40 })], ecg(40, 125)),
  make('heartbeats, whole windows', [beat({ window: 300, before: 100 })], ecg(40, 125)),
  make(
    'heartbeats, resampled and filtered',
    [beat({ until: 'next-peak', pad: 'zero', rate_as: 'bpm', median: 3, band_pass: { low_hz: 1, high_hz: 40 } })],
    ecg(30, 360),
  ),
];

/** What `prepareFile` makes of the whole. */
function whole({ inputs, source, samples }: Case): { tensors: Buffer[]; values?: object }[] {
  const perInput: Units[] = inputs.map((input) => {
    if ('audio' in input) return audioUnits(resample(samples[0]!, source.rateHz, input.audio.rate_hz), input.audio);
    if (!('signal' in input)) throw new Error('no samples');
    const channels = input.signal.channels.map((name) => samples[source.channels.indexOf(name)]!);
    return signalUnits(
      channels.map((all) => resample(all, source.rateHz, input.signal.rate_hz)),
      input.signal,
    );
  });
  const tensors = perInput.map((units) => [...units.tensors]);
  const count = Math.min(...perInput.map((units) => units.count));
  const values = perInput[0]?.values;
  return Array.from({ length: count }, (_, i) => ({
    tensors: tensors.map((all) => Buffer.from(all[i]!)),
    ...(values === undefined ? {} : { values: values[i]! }),
  }));
}

const plain = (windows: readonly FormedWindow[]) =>
  windows.map(({ tensors, values }) => ({
    tensors: tensors?.().map((bytes) => Buffer.from(bytes)) ?? [],
    ...(values === undefined ? {} : { values }),
  }));

/** The samples in pieces of any size, some empty. */
function pieces(samples: readonly Float32Array[], random: () => number): Float32Array[][] {
  const length = samples[0]!.length;
  const longest = [3, 40, 400, length][Math.floor(random() * 4)]! * (length > 5000 ? 10 : 1);
  const out: Float32Array[][] = [];
  for (let at = 0; at < length; ) {
    const end = Math.min(length, at + Math.floor(random() * (longest + 1)));
    out.push(samples.map((all) => all.slice(at, end)));
    at = end;
  }
  return out;
}

/** What must be the same after a mark at `at`; what begins before it was made by who made the mark. */
const shown = (windows: readonly FormedWindow[], at: number) =>
  windows.map(({ from, to, values, tensors, quality }) =>
    from < at
      ? { from, to, values }
      : { from, to, values, quality, tensors: tensors?.().map((one) => Buffer.from(one)) },
  );

/** Pushes the same into both. @returns what they do otherwise @param second made from a mark of the first, now */
function differences(first: Assembler, second: Assembler, all: readonly Float32Array[][]): object[] {
  const { at } = first;
  const differ: object[] = [];
  for (const piece of all) {
    const [left, right] = [first.push(piece), second.push(piece)];
    const same = right.length === left.length && second.at === first.at && second.neededFrom === first.neededFrom;
    const made = right.every(({ from, tensors }) => (tensors === undefined) === from < at);
    if (!same || !made) differ.push({ at: [first.at, second.at], needed: [first.neededFrom, second.neededFrom] });
    if (left.length > 0) expect(shown(right, at)).toEqual(shown(left, at));
  }
  return differ;
}

const pushed = (assembler: Assembler, all: readonly Float32Array[][]) => all.map((piece) => assembler.push(piece));

describe.each(CASES)('a stream of $name', (one) => {
  const expected = whole(one);
  const { inputs, source, samples } = one;

  it('has the units of the whole file, bit by bit, however it is cut', () => {
    expect(expected.length).toBeGreaterThan(5);
    const random = seeded(5);
    const counts = new Set<number>();
    for (let round = 0; round < ROUNDS; round++) {
      const windows = pushed(createAssembler({ inputs: [...inputs] }, source), pieces(samples, random)).flat();
      counts.add(windows.length);
      // What the end of a file adds may still be changed by what comes: a stream waits for it.
      expect(windows.length).toBeGreaterThanOrEqual(expected.length - 2);
      expect(plain(windows)).toEqual(expected.slice(0, windows.length));
    }
    expect(counts.size).toBe(1);
  });

  it('goes on from a mark: as many units in each push, the same ones', () => {
    const random = seeded(6);
    for (let round = 0; round < ROUNDS; round++) {
      const all = pieces(samples, random);
      const first = createAssembler({ inputs: [...inputs] }, source);
      const stop = Math.floor(random() * all.length);
      pushed(first, all.slice(0, stop));
      const mark = first.mark();
      expect(mark.length).toBeLessThanOrEqual(65_536);
      const second = createAssembler({ inputs: [...inputs] }, { ...source, mark });
      const at = first.at;
      expect(second.at).toBe(at);
      expect(differences(first, second, all.slice(stop))).toEqual([]);
      // Nothing that later samples could bring to light is lost.
      expect(Buffer.compare(second.mark(), first.mark())).toBe(0);
    }
  });

  it('never looks at what it said it needs no more', () => {
    const assembler = createAssembler({ inputs: [...inputs] }, source);
    const wrong: object[] = [];
    let needed = 0;
    for (const piece of pieces(samples, seeded(8))) {
      for (const { from, to } of assembler.push(piece)) {
        if (from < needed || to > assembler.at || to <= from) wrong.push({ from, to, needed });
      }
      const { at, neededFrom } = assembler;
      if (neededFrom < needed || neededFrom > at) wrong.push({ at, needed, neededFrom });
      needed = neededFrom;
    }
    expect(wrong).toEqual([]);
  });
});
