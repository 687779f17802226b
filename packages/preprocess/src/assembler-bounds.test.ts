import { AudioInputSchema, type InputSpec, SignalInputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { type AssemblerOptions, createAssembler } from './assembler.ts';
import { chirp, seeded } from './reference.testing.ts';
import { floatsOf } from './units.testing.ts';
import { audioUnits } from './units.ts';

const audio = (over: object = {}): InputSpec => ({
  tensor: 'x',
  audio: AudioInputSchema.parse({ rate_hz: 16_000, window: 1000, hop: 400, ...over }),
});
const signal = (over: object = {}): InputSpec => ({
  tensor: 'x',
  signal: SignalInputSchema.parse({ rate_hz: 125, window: 100, hop: 50, channels: ['a'], ...over }),
});
const MONO: AssemblerOptions = { channels: ['m'], rateHz: 16_000 };
const ONE: AssemblerOptions = { channels: ['a'], rateHz: 125 };
const make = (inputs: readonly InputSpec[], source: AssemblerOptions) =>
  createAssembler({ inputs: [...inputs] }, source);
const floats = (bytes: Uint8Array | undefined) => [...new Float32Array(bytes!.slice().buffer)];

describe('an assembler', () => {
  it('that begins later has the windows of the whole that need nothing from before', () => {
    const samples = chirp(20_000, 44_100);
    for (const [input, rateHz] of [
      [audio({ context: 30 }), 44_100],
      [audio({ context: 30 }), 16_000],
      [audio({}), 8000],
      [signal({ rate_hz: 16_000, median: 9 }), 44_100],
    ] as const) {
      const source = { channels: ['a'], rateHz };
      const all = make([input], source).push([samples]);
      for (const at of [1, 399, 400, 5000]) {
        const later = make([input], { ...source, at });
        expect(later.at).toBe(at);
        const found = later.push([samples.subarray(at)]);
        // Those that do not lie before it, nor so near behind that what lies before it would count.
        const expected = all.slice(-found.length);
        expect(found.map(({ from, to }) => [from, to])).toEqual(expected.map(({ from, to }) => [from, to]));
        expect(found.map(({ tensors }) => tensors!())).toEqual(expected.map(({ tensors }) => tensors!()));
        expect(all.filter(({ from }) => from >= at + 200).length).toBeLessThanOrEqual(found.length);
        expect(found.every(({ from }) => from >= at)).toBe(true);
      }
    }
  });

  it('works nothing out that nobody asks for, and what is asked for once', () => {
    // Filtered both ways these leave float32: only who asks for the window hears of it.
    const huge = Float32Array.from({ length: 100 }, (_, i) => (i % 20 < 10 ? 3.4e38 : -3.4e38));
    const [window] = make([signal({ band_pass: { low_hz: 2, high_hz: 20, phase: 'zero' } })], ONE).push([huge]);
    expect(() => window!.tensors!()).toThrow(/E_DECODE: "a" is no finite/);
    const [good] = make([audio()], MONO).push([chirp(1000, 16_000)]);
    expect(good!.tensors!()).toBe(good!.tensors!());
  });

  it('gives windows that later samples do not change', () => {
    const assembler = make([audio()], MONO);
    const samples = chirp(100_000, 16_000);
    const [first] = assembler.push([samples.subarray(0, 1000)]);
    assembler.push([samples.subarray(1000)]);
    expect(floats(first!.tensors!()[0])).toEqual([...samples.subarray(0, 1000)]);
  });

  it('takes the mean of several channels of sound', () => {
    const [left, right] = [chirp(1000, 16_000), chirp(1000, 8000)];
    const [window] = make([audio()], { channels: ['l', 'r'], rateHz: 16_000 }).push([left, right]);
    expect(floats(window!.tensors!()[0])).toEqual(Array.from(left, (x, i) => Math.fround((x + right[i]!) / 2)));
  });

  it('says of each window where it lies, in samples as they were pushed', () => {
    const places = (input: InputSpec, rateHz: number, length: number) =>
      make([input], { channels: ['m'], rateHz })
        .push([new Float32Array(length)])
        .map(({ from, to }) => [from, to]);
    expect(places(audio({ context: 100 }), 16_000, 1800)).toEqual([
      [0, 1000],
      [300, 1400],
      [700, 1800],
    ]);
    // Three samples become one: the window is 3 000 long, its last sample stands at 2 997. What lies 96 ahead counts.
    expect(places(audio({}), 48_000, 3000 + 96)).toEqual([[0, 2998]]);
    expect(places(audio({}), 48_000, 2998 + 95)).toEqual([]);
  });
});

describe('what an assembler keeps', () => {
  it('is bounded by its windows, not by what comes', () => {
    const random = seeded(3);
    for (const input of [audio(), audio({ window: 20, hop: 3000 }), audio({ context: 5000 })]) {
      const assembler = make([input], MONO);
      for (let i = 0; i < 400; i++) {
        assembler.push([new Float32Array(Math.floor(random() * 700))]);
        expect(assembler.bytes).toBeLessThanOrEqual(4 * (6000 + 2 * 4096));
        expect(assembler.at - assembler.neededFrom).toBeLessThanOrEqual(6000);
      }
    }
  });

  it.each([
    ['nothing', () => 0],
    ['a line', () => 3],
    ['noise', seeded(4)],
    ['a ramp', (i: number) => i],
    ['one beat, then nothing', (i: number) => (i === 300 ? 1 : 0)],
    ['a beat every 10 s', (i: number) => (i % 1250 === 300 ? 1 : 0)],
  ])('is bounded where a peak never comes, or never another one: %s', (_, at) => {
    const cut = { hop: undefined, trigger: { peaks: {} }, until: 'next-peak', pad: 'zero', rate_as: 'bpm' };
    const assembler = make([signal(cut)], ONE);
    let most = 0;
    for (let i = 0; i < 60_000; i += 25) {
      assembler.push([Float32Array.from({ length: 25 }, (_, k) => at(i + k))]);
      most = Math.max(most, assembler.at - assembler.neededFrom);
      expect(assembler.bytes).toBeLessThanOrEqual(4 * (10 * 125 + 2 * 100));
    }
    expect(most).toBeLessThanOrEqual(10 * 125);
    expect(assembler.mark().length).toBeLessThan(16_384);
  });
});

describe('doubtful input', () => {
  const qualities = (samples: Float32Array, input = audio(), source = MONO) =>
    make([input], source)
      .push([samples])
      .map(({ quality }) => quality ?? 'good');
  const tone = (height: number) =>
    Float32Array.from({ length: 3000 }, (_, i) => Math.fround(Math.sin(i / 10) * height));
  const clipped = (height: number) => tone(height).map((x) => Math.max(-1, Math.min(32_767 / 32_768, x)));

  it('is a window of zeros, wherever it lies', () => {
    const samples = chirp(4000, 16_000);
    samples.fill(0, 790, 1810);
    // Windows begin at 0, 400, 800 …; only that from 800 to 1800 lies in the zeros.
    expect(qualities(samples)).toEqual(['good', 'good', 'bad', 'good', 'good', 'good', 'good', 'good']);
    expect(qualities(new Float32Array(1400))).toEqual(['bad', 'bad']);
    expect(qualities(new Float32Array(150), signal(), ONE)).toEqual(['bad', 'bad']);
    expect(qualities(new Float32Array(150).fill(1), signal(), ONE)).toEqual(['good', 'good']);
  });

  it('is sound that was clipped, but not sound that is loud', () => {
    expect(new Set(qualities(tone(1)))).toEqual(new Set(['good']));
    expect(new Set(qualities(clipped(1.2)))).toEqual(new Set(['bad']));
    // A signal has no full scale: 1 is a number like others.
    expect(new Set(qualities(clipped(1.2), signal(), ONE))).toEqual(new Set(['good']));
  });

  it('is the same however it is cut, and after a mark', () => {
    const samples = chirp(20_000, 16_000);
    samples.set(clipped(1.3), 3000);
    samples.fill(0, 9000, 12_000);
    samples.set(clipped(2), 15_000);
    const expected = qualities(samples);
    expect(new Set(expected)).toEqual(new Set(['good', 'bad']));
    const random = seeded(2);
    let assembler = make([audio()], MONO);
    const found: string[] = [];
    for (let at = 0; at < samples.length; ) {
      const end = at + Math.floor(random() * 300);
      found.push(...assembler.push([samples.slice(at, end)]).map(({ quality }) => quality ?? 'good'));
      at = Math.min(end, samples.length);
    }
    expect(found).toEqual(expected);
    const rest = make([audio()], MONO);
    rest.push([samples.slice(0, 16_000)]);
    assembler = make([audio()], { ...MONO, mark: rest.mark() });
    const windows = assembler.push([samples.slice(16_000)]).filter(({ from }) => from >= 16_000);
    expect(windows.map(({ quality }) => quality ?? 'good')).toEqual(expected.slice(-windows.length));
  });
});

describe('refused by name', () => {
  const image = { tensor: 'x', image: { width: 1, height: 1 } } as unknown as InputSpec;
  it.each([
    ['inputs of several kinds', [audio(), signal()], /E_PASSPORT: inputs are audio and signal/],
    ['pictures', [image], /E_PASSPORT: inputs are not all made of samples/],
    ['several rates', [audio(), audio({ rate_hz: 8000 })], /E_PASSPORT: inputs differ in rate_hz/],
    ['several hops', [audio(), audio({ hop: 401 })], /E_PASSPORT: inputs differ in hop/],
  ] as [string, InputSpec[], RegExp][])('are %s', (_, inputs, said) => {
    expect(() => make(inputs, MONO)).toThrow(said);
  });

  it('is a channel that is not there, and a rate far away', () => {
    expect(() => make([signal()], { channels: ['b', 'c'], rateHz: 125 })).toThrow(
      /E_SHAPE: no channel "a"; found b, c/,
    );
    expect(() => make([signal()], { channels: ['a'], rateHz: 48_000 })).toThrow(/E_SHAPE.*ratio of at most 256/);
  });

  it('is what would take more than 64 KiB to remember', () => {
    const channels = Array.from({ length: 256 }, (_, i) => `c${i}`);
    expect(() => make([signal({ channels })], { channels, rateHz: 1000 })).toThrow(
      /E_PASSPORT: .* bytes to go on from/,
    );
    expect(() => make([signal({ channels })], { channels, rateHz: 125 })).not.toThrow();
    const trigger = { hop: undefined, trigger: { peaks: {} } };
    expect(() => make([signal({ ...trigger, rate_hz: 1000 })], { ...ONE, rateHz: 1000 })).not.toThrow();
    expect(() => make([signal({ ...trigger, rate_hz: 20_000 })], { ...ONE, rateHz: 20_000 })).toThrow(/E_PASSPORT/);
  });

  it('are samples that do not go together, or are no numbers', () => {
    const two = make([signal()], { channels: ['a', 'b'], rateHz: 125 });
    expect(() => two.push([new Float32Array(3)])).toThrow(/E_DECODE: 1 channels; expected 2/);
    expect(() => two.push([new Float32Array(3), new Float32Array(4)])).toThrow(/E_DECODE: channel 1 has 4 samples/);
    for (const value of [Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(() => two.push([Float32Array.of(1), Float32Array.of(value)])).toThrow(/E_DECODE: channel 1/);
    }
    // What was refused left nothing behind.
    expect(two.at).toBe(0);
    expect(two.push([new Float32Array(100), new Float32Array(100)]).length).toBe(1);
  });

  it('is a mark of another passport, another source, or none', () => {
    const mark = make([audio()], MONO).mark();
    expect(() => make([audio({ hop: 401 })], { ...MONO, mark })).toThrow(/E_PASSPORT_CHANGED/);
    expect(() => make([audio()], { ...MONO, rateHz: 8000, mark })).toThrow(/E_PASSPORT_CHANGED/);
    expect(() => make([audio()], { ...MONO, mark: mark.subarray(0, -1) })).toThrow(/E_STORAGE_CORRUPT/);
    expect(() => make([audio()], { ...MONO, mark: new Uint8Array(3) })).toThrow(/E_STORAGE_CORRUPT/);
    expect(() => make([audio()], { ...MONO, mark: Buffer.concat([mark, Buffer.alloc(8)]) })).toThrow(
      /E_STORAGE_CORRUPT/,
    );
    expect(() => make([audio()], { ...MONO, mark })).not.toThrow();
  });
});

it('the units of a file are still those', () => {
  // Negative control of the laws above: a window that is cut one sample beside is seen.
  const samples = chirp(3000, 16_000);
  const input = audio();
  const expected = floatsOf(audioUnits(samples, (input as { audio: Parameters<typeof audioUnits>[1] }).audio));
  const beside = make([input], MONO).push([samples.subarray(1)]);
  expect(floats(beside[0]!.tensors!()[0])).not.toEqual([...expected[0]!]);
});
