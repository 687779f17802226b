import { firstState, imageTarget, wireHeads } from '@brink/preprocess';
import { type BrinkError, InputSchema, type InputSpec } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { decodePicture } from './picture.ts';
import { mutate, picture, seeded } from './pictures.testing.ts';
import { type PreparedUnit, prepareFile } from './prepare.ts';
import { wav } from './sounds.testing.ts';

const inputs = (...all: object[]): { inputs: InputSpec[] } => ({
  inputs: all.map((input) => InputSchema.parse(input)),
});

const floats = (units: readonly PreparedUnit[], input = 0) =>
  units.map(({ tensors }) => [...new Float32Array((tensors[input] as Uint8Array).slice().buffer)]);

const refusal = async (bytes: Uint8Array, passport: { inputs: InputSpec[] }, o?: { pixelsMax?: number }) => {
  try {
    await prepareFile(bytes, passport, o);
  } catch (reason) {
    return (reason as BrinkError).message;
  }
  return 'prepared';
};

const SOUND = { tensor: 'x', audio: { rate_hz: 8000, window: 4, hop: 2, context: 1 } };
const SIGNAL = { tensor: 'x', signal: { rate_hz: 10, window: 2, channels: ['ax', 'ay'] } };
const IMAGE = { tensor: 'x', image: { width: 24, height: 16, fit: 'letterbox', pad: 7, colour: 'bgr' } };

describe('a file', () => {
  it('that is a picture becomes what a frame of it becomes, for every picture input', async () => {
    const passport = inputs(IMAGE, { tensor: 'small', image: { width: 8, height: 8, colour: 'grey' } });
    const targets = passport.inputs.flatMap((input) => ('image' in input ? [imageTarget(input.image)] : []));
    for (const format of ['jpeg', 'png', 'webp'] as const) {
      const bytes = await picture(100, 60)[format]().toBuffer();
      const decoded = await decodePicture(bytes, { targets });
      const units = await prepareFile(bytes, passport);
      expect(units).toEqual([
        {
          tensors: decoded.pictures.map(({ pixels }) => pixels),
          picture: { transform: decoded.pictures[0]!.transform, width: 100, height: 60 },
        },
      ]);
      expect(units[0]!.tensors.map(({ byteLength }) => byteLength)).toEqual([24 * 16 * 3, 64]);
    }
  });

  it('that is a recording becomes its windows, at the rate of the passport', async () => {
    const samples = [1, 2, 3, 4, 5, 6, 7].map((x) => x / 8);
    const units = await prepareFile(wav(samples, { rateHz: 8000 }), inputs(SOUND));
    expect(floats(units).map((unit) => unit.map((x) => x * 8))).toEqual([
      [0, 1, 2, 3, 4],
      [2, 3, 4, 5, 6],
    ]);
    expect(units.every((unit) => unit.picture === undefined)).toBe(true);

    const constant = wav(new Array(4000).fill(0.5), { rateHz: 48_000 });
    const resampled = floats(
      await prepareFile(constant, inputs({ tensor: 'x', audio: { rate_hz: 16_000, window: 100 } })),
    );
    expect(resampled.length).toBe(13);
    for (const x of resampled[6]!) expect(x).toBeCloseTo(0.5, 6);
  });

  it('that is a signal becomes its windows, channel by channel', async () => {
    const json = Buffer.from('{"ax": [1, 2, 3, 4, 5], "ay": [6, 7, 8, 9, 0]}');
    expect(floats(await prepareFile(json, inputs(SIGNAL)))).toEqual([
      [1, 2, 6, 7],
      [3, 4, 8, 9],
    ]);
  });

  it('that is a signal may be CBOR or CSV, and at another rate than the model takes', async () => {
    const csv = Buffer.from('ay,ax\n6,1\n7,2\n8,3\n9,4\n0,5\n');
    const cbor = Buffer.from('a26261788501020304056261798506070809 00'.replace(' ', ''), 'hex');
    const expected = [
      [1, 2, 6, 7],
      [3, 4, 8, 9],
    ];
    expect(floats(await prepareFile(csv, inputs(SIGNAL)))).toEqual(expected);
    expect(floats(await prepareFile(cbor, inputs(SIGNAL)))).toEqual(expected);

    const swing = Array.from({ length: 500 }, (_, i) => Math.sin((2 * Math.PI * i) / 100));
    const one = { tensor: 'x', signal: { rate_hz: 10, window: 100, channels: ['ax'] } };
    const [unit] = floats(await prepareFile(Buffer.from(JSON.stringify({ rate_hz: 50, ax: swing })), inputs(one)));
    for (let i = 20; i < 80; i++) expect(unit![i]).toBeCloseTo(Math.sin((2 * Math.PI * i) / 20), 3);
    const wrong = Buffer.from('{"rate_hz": 0, "ax": [1]}');
    expect(await refusal(wrong, inputs(one))).toBe('E_DECODE: a signal: "rate_hz" is 0; expected up to 384000');
    const few = Buffer.from('{"rate_hz": 50, "ax": [1]}');
    expect(await refusal(few, inputs(one))).toBe('E_SHAPE: 1 samples at 50 Hz; expected at least 100 at 10 Hz');
    const channel = { tensor: 'x', signal: { rate_hz: 10, window: 2, channels: ['rate_hz'] } };
    expect(floats(await prepareFile(Buffer.from('{"rate_hz": [3, 4]}'), inputs(channel)))).toEqual([[3, 4]]);
  });

  it('that is raw samples is read as it is said', async () => {
    const sound = { tensor: 'x', audio: { rate_hz: 8000, window: 2 } };
    const int16 = new Uint8Array(Int16Array.of(16_384, -32_768).buffer);
    expect(floats(await prepareFile(int16, inputs(sound), { encoding: 's16le' }))).toEqual([[0.5, -1]]);
    const float32 = new Uint8Array(Float32Array.of(1, 6, 2, 7).buffer);
    expect(floats(await prepareFile(float32, inputs(SIGNAL), { encoding: 'f32le' }))).toEqual([[1, 2, 6, 7]]);
    expect(await refusal(int16, inputs(sound))).toMatch(/^E_TYPE/);
  });

  it('brings a unit where all its inputs have their window, constants aside', async () => {
    const json = Buffer.from('{"ax": [1, 2, 3, 4, 5], "ay": [6, 7, 8, 9, 0]}');
    const wide = { tensor: 'wide', signal: { rate_hz: 10, window: 3, hop: 2, channels: ['ay'] } };
    const passport = inputs(SIGNAL, { tensor: 'sr', constant: 16_000, dtype: 'int64' }, wide);
    const units = await prepareFile(json, passport);
    expect(floats(units, 1)).toEqual([
      [6, 7, 8],
      [8, 9, 0],
    ]);
    const heads = wireHeads({ ...passport, state: [{ in: 's', out: 't', shape: [2], init: 0 }] });
    expect(units[0]!.tensors.map(({ byteLength }) => byteLength)).toEqual(heads.slice(0, 2).map(({ bytes }) => bytes));
    expect(firstState({ shape: [2], init: 0 }).byteLength).toBe(heads[2]!.bytes);
  });

  it('of another kind than the inputs take is refused', async () => {
    const png = await picture(10, 10).png().toBuffer();
    const sound = wav([0, 0, 0, 0]);
    expect(await refusal(sound, inputs(IMAGE))).toMatch(/^E_IMAGE_TYPE: the bytes look like audio\/wav/);
    expect(await refusal(png, inputs(SOUND))).toBe('E_TYPE: the bytes look like image/png; expected a WAV recording');
    expect(await refusal(sound, inputs(SIGNAL))).toBe(
      'E_TYPE: the bytes look like audio/wav; expected a signal in JSON, CBOR or CSV',
    );
    expect(await refusal(png, inputs(IMAGE, SOUND))).toMatch(/^E_TYPE: the inputs are of several kinds/);
    expect(await refusal(Buffer.alloc(0), inputs(SOUND))).toMatch(/^E_EMPTY/);
  });

  it('that is damaged or too large is refused with the reason of its reader', async () => {
    const png = await picture(30, 30).png().toBuffer();
    expect(await refusal(png, inputs(IMAGE), { pixelsMax: 100 })).toMatch(/^E_IMAGE_PIXELS/);
    expect(await refusal(png.subarray(0, 60), inputs(IMAGE))).toMatch(/^E_IMAGE_CORRUPT/);
    expect(await refusal(wav([0, 0]).subarray(0, -1), inputs(SOUND))).toMatch(/^E_DECODE: WAV/);
    expect(await refusal(Buffer.from('{"ax": [1]'), inputs(SIGNAL))).toMatch(/^E_DECODE/);
    const many = wav(new Array(70_000).fill(0), { bits: 8, rateHz: 8000 });
    const everySample = { tensor: 'x', audio: { rate_hz: 8000, window: 1000, hop: 1 } };
    expect(await refusal(many, inputs(everySample))).toMatch(/^E_TOO_LARGE: 69001 units of 4000 bytes/);
  });

  it('whose header is damaged is prepared or refused by name: 2,000 of them', async () => {
    const random = seeded(45);
    const mfcc = { bins: 4, mels: 8, frame: 64, stride: 32, fft: 64, high_hz: 4000 };
    const passport = inputs({ tensor: 'x', audio: { rate_hz: 16_000, window: 160, normalise: 'peak', mfcc } });
    const original = wav(new Array(400).fill(0.25), { extensible: true });
    const counts = new Map<string, number>();
    for (let round = 0; round < 2000; round++) {
      const bytes = Buffer.concat([mutate(original.subarray(0, 68), random), original.subarray(68)]);
      const code = (await refusal(bytes, passport)).split(':')[0] as string;
      counts.set(code, (counts.get(code) ?? 0) + 1);
    }
    const { prepared, E_DECODE, ...others } = Object.fromEntries(counts);
    expect(Math.min(prepared ?? 0, E_DECODE ?? 0)).toBeGreaterThan(100);
    expect(['E_TYPE', 'E_SHAPE', 'E_TOO_LARGE']).toEqual(expect.arrayContaining(Object.keys(others)));
  });

  it('that is shorter than one window is refused with both lengths', async () => {
    expect(await refusal(wav([0, 0, 0], { rateHz: 8000 }), inputs(SOUND))).toBe(
      'E_SHAPE: 3 samples at 8000 Hz; expected at least 4 at 8000 Hz',
    );
    expect(await refusal(Buffer.from('{"ax":[1],"ay":[2]}'), inputs(SIGNAL))).toBe(
      'E_SHAPE: 1 samples; expected at least 2 at 10 Hz',
    );
  });
});
