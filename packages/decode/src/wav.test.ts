import { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { mutate, seeded } from './pictures.testing.ts';
import { chunk, wav } from './sounds.testing.ts';
import { readWav } from './wav.ts';

const SAMPLES = [0, 0.5, -0.5, 0.25, -1, 0.75];

const refusal = (bytes: Uint8Array) => {
  try {
    readWav(bytes);
  } catch (reason) {
    return (reason as BrinkError).message;
  }
  return 'decoded';
};

describe('a WAV recording', () => {
  it.each([
    ['pcm', 8],
    ['pcm', 16],
    ['pcm', 24],
    ['pcm', 32],
    ['float', 32],
    ['float', 64],
  ] as const)('of %s, %d bits is read exactly, plain and extensible', (kind, bits) => {
    for (const extensible of [false, true]) {
      const { rateHz, samples } = readWav(wav(SAMPLES, { kind, bits, extensible, rateHz: 22_050 }));
      expect(rateHz).toBe(22_050);
      expect([...samples]).toEqual(SAMPLES);
    }
  });

  it('of several channels becomes their mean', () => {
    expect([...readWav(wav([0.5, -0.5, 1 / 4, 3 / 4], { channels: 2 })).samples]).toEqual([0, 0.5]);
    expect([...readWav(wav([0.25, 0.5, 0.75], { channels: 3, kind: 'float', bits: 32 })).samples]).toEqual([0.5]);
  });

  it('may have its chunks in any order, unknown ones among them, of odd length, and junk behind', () => {
    const list = chunk('LIST', Buffer.from('odd'));
    for (const dataFirst of [false, true]) {
      const bytes = wav(SAMPLES, { dataFirst, before: [list], between: [list, list], behind: [list] });
      expect([...readWav(bytes).samples]).toEqual(SAMPLES);
      expect([...readWav(Buffer.concat([bytes, Buffer.from('junk')])).samples]).toEqual(SAMPLES);
    }
    // An odd number of samples of 8 bits, the byte that fills it up left out at the end of the file.
    const odd = wav([0, 0.5, -0.5], { bits: 8 });
    expect([...readWav(odd.subarray(0, -1)).samples]).toEqual([0, 0.5, -0.5]);
  });

  it('may come from a pipe, its length unknown to who wrote it', () => {
    const bytes = wav(SAMPLES);
    bytes.writeUInt32LE(0xffffffff, 4);
    bytes.writeUInt32LE(0xffffffff, 40);
    expect([...readWav(bytes).samples]).toEqual(SAMPLES);
  });

  it('is read wherever it lies in its buffer', () => {
    const bytes = Buffer.concat([Buffer.from('abc'), wav(SAMPLES, { extensible: true })]);
    expect([...readWav(bytes.subarray(3)).samples]).toEqual(SAMPLES);
  });

  it('may hold no samples at all', () => {
    expect(readWav(wav([])).samples.length).toBe(0);
  });
});

describe('what is wrong with a WAV is said with its place', () => {
  const patched = (patch: (bytes: Buffer) => void, bytes = wav(SAMPLES)) => {
    patch(bytes);
    return bytes;
  };

  it.each([
    ['cut off', wav(SAMPLES).subarray(0, 50), /E_DECODE: WAV: the chunk "data" at byte 36 says 12 bytes, but 6 follow/],
    ['cut in its format', wav(SAMPLES).subarray(0, 30), /chunk "fmt " at byte 12 says 16 bytes, but 10 follow/],
    ['only a beginning', Buffer.from('RIFF\0\0\0\0WAVE'), /no chunk "fmt "/],
    ['without samples', Buffer.concat([wav([]).subarray(0, 36)]), /no chunk "data"/],
    ['μ-law', patched((b) => b.writeUInt16LE(7, 20)), /format 7 with 16 bits \(byte 20\); expected PCM/],
    ['of 12 bits', patched((b) => b.writeUInt16LE(12, 34)), /format 1 with 12 bits/],
    ['of no channel', patched((b) => b.writeUInt16LE(0, 22)), /0 channels \(byte 22\); expected 1\.\.64/],
    ['of 65 channels', patched((b) => b.writeUInt16LE(65, 22)), /65 channels/],
    ['of 0 Hz', patched((b) => b.writeUInt32LE(0, 24)), /a rate of 0 Hz \(byte 24\)/],
    ['of 4 GHz', patched((b) => b.writeUInt32LE(4e9, 24)), /a rate of 4000000000 Hz/],
    [
      'of another frame size',
      patched((b) => b.writeUInt16LE(4, 32)),
      /4 bytes per sample.*byte 32.*expected 1 × 2 = 2/,
    ],
    [
      'of half a sample',
      Buffer.from(wav([0, 0], { bits: 8 }).fill(2, 32, 33).fill(16, 34, 35).fill(1, 40, 41)),
      /multiple of 2/,
    ],
    [
      'of a sub-format of its own',
      patched((b) => b.writeUInt8(1, 50), wav(SAMPLES, { extensible: true })),
      /a sub-format \(byte 44\)/,
    ],
    ['extensible and short', patched((b) => b.writeUInt16LE(0xfffe, 20)), /has 16 bytes; expected 40/],
    ['with NaN', wav([0, Number.NaN], { kind: 'float', bits: 32 }), /the sample at byte 48 is NaN/],
    ['beyond float32', wav([1e300], { kind: 'float', bits: 64 }), /the sample at byte 44 is Infinity/],
  ])('%s', (_, bytes, said) => {
    expect(refusal(bytes)).toMatch(said);
  });

  it('more samples than there may be', () => {
    const bytes = wav([0], { bits: 8 });
    const many = Buffer.concat([bytes.subarray(0, 44), Buffer.alloc(2 ** 24 + 2)]);
    many.writeUInt32LE(2 ** 24 + 2, 40);
    expect(refusal(many)).toMatch(/^E_TOO_LARGE/);
  });

  it('whatever the bytes: 4,000 damaged files are decoded or refused by name', () => {
    const random = seeded(43);
    const originals = [
      wav(SAMPLES, { behind: [chunk('LIST', Buffer.from('abc'))] }),
      wav(SAMPLES, { kind: 'float', bits: 32, channels: 2, extensible: true }),
      wav(SAMPLES, { bits: 24, dataFirst: true }),
    ];
    const counts = { decoded: 0, refused: 0 };
    for (let round = 0; round < 4000; round++) {
      const bytes = mutate(originals[round % originals.length] as Buffer, random);
      try {
        const { samples, rateHz } = readWav(bytes);
        expect(samples.length).toBeLessThanOrEqual(bytes.length);
        expect(rateHz > 0 && rateHz <= 384_000 && samples.every(Number.isFinite)).toBe(true);
        counts.decoded++;
      } catch (reason) {
        if (!(reason instanceof BrinkError)) throw reason;
        counts.refused++;
      }
    }
    expect(Math.min(counts.decoded, counts.refused)).toBeGreaterThan(400);
  });
});
