import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import sharp from 'sharp';
import { afterAll, describe, expect, it } from 'vitest';
import { place } from './geometry.ts';
import { decodePicture, type PictureTarget } from './index.ts';
import { decodeByTurbo, isForTurbo, loadTurbo, prepareByTurbo, resizedBytes, type Turbo } from './jpeg.ts';
import { readPlainJpeg } from './jpeg-header.ts';
import { mutate, picture, seeded } from './pictures.testing.ts';

// Two ways from a JPEG to pixels, and one answer. The reference is sharp with the picture decoded whole, as it does for a PNG:
// its shrink-on-load rounds odd sides up and so moves pixels by itself.

/** Per channel of a pixel, of 255. libjpeg-turbo's fast DCT is most of it, and the more the finer the JPEG's quality. */
const MEAN_MAX = 2.5;
const LARGEST_MAX = 36;
/** To what sharp gives by shrink-on-load, which is itself up to 5 away from the whole picture. */
const MEAN_SHRUNK_MAX = 6;

const target = (over: Partial<PictureTarget> = {}): PictureTarget => ({
  width: 128,
  height: 128,
  fit: 'stretch',
  pad: 114,
  kernel: 'bilinear',
  colour: 'rgb',
  ...over,
});

const TARGETS = [
  target(),
  target({ fit: 'letterbox', colour: 'bgr' }),
  target({ width: 96, height: 64, fit: 'crop', pad: 0 }),
  target({ width: 61, height: 83, fit: 'letterbox', colour: 'grey' }),
];
const SIZES = [
  [128, 128],
  [256, 256],
  [640, 480],
  [333, 251],
  [131, 203],
  [320, 240],
  [160, 120],
  [512, 170],
] as const;

const DEVICE = join(import.meta.dirname, '../../device/pictures');
const SHARED = join(import.meta.dirname, '../../../../shared/data/pictures');
const FOLDERS = [DEVICE, ...(existsSync(SHARED) ? [SHARED] : [])];

async function* jpegs(): AsyncGenerator<readonly [name: string, bytes: Buffer]> {
  for (const folder of FOLDERS) {
    for (const file of readdirSync(folder).filter((name) => /\.(jpg|png)$/.test(name))) {
      const bytes = readFileSync(join(folder, file));
      if (file.endsWith('.jpg')) yield [file, bytes];
      for (const [i, [width, height]] of SIZES.entries()) {
        const resized = sharp(bytes).resize(width, height, { fit: 'fill' });
        const chromaSubsampling = i % 2 === 0 ? '4:2:0' : '4:4:4';
        const jpeg = resized.jpeg({ quality: [85, 60, 80, 95][i % 4] as number, chromaSubsampling });
        yield [`${file} as ${width} × ${height}`, await jpeg.toBuffer()];
      }
    }
  }
  for (const [width, height] of SIZES) {
    yield [`quarters ${width} × ${height}`, await picture(width, height).jpeg({ quality: 85 }).toBuffer()];
    yield [`grey ${width} × ${height}`, await picture(width, height).greyscale().jpeg({ quality: 85 }).toBuffer()];
  }
}

const UPRIGHT = { IFD0: { Make: 'Brink', Model: 'camera', Orientation: '1' } };

/** What libjpeg-turbo makes of it; undefined where it goes through sharp. */
async function byTurbo(bytes: Uint8Array, one: PictureTarget): Promise<Uint8Array | undefined> {
  const plain = readPlainJpeg(bytes);
  if (plain === undefined) return undefined;
  const wanted = { target: one, placement: place(plain.width, plain.height, one) };
  if (!isForTurbo(plain, wanted)) return undefined;
  return (await prepareByTurbo(bytes, plain, [wanted]))?.[0];
}

const decode = async (bytes: Uint8Array, one: PictureTarget, by: 'fastest' | 'sharp') => {
  const { pictures, ...rest } = await decodePicture(bytes, { targets: [one], by });
  return { ...rest, ...pictures[0]! };
};

const ended = (decoding: Promise<{ pixels: Uint8Array }>) =>
  decoding.then(
    ({ pixels }) => `${pixels.length} bytes`,
    (reason: unknown) => (reason instanceof BrinkError ? reason.code : String(reason)),
  );

function difference(a: Uint8Array, b: Uint8Array): { mean: number; largest: number } {
  expect(a.length).toBe(b.length);
  let [sum, largest] = [0, 0];
  for (let i = 0; i < a.length; i++) {
    const off = Math.abs(a[i]! - b[i]!);
    sum += off;
    if (off > largest) largest = off;
  }
  return { mean: sum / a.length, largest };
}

describe('libjpeg-turbo and sharp', () => {
  const worst = { mean: 0, largest: 0, meanToShrunk: 0, shrunkToWhole: { mean: 0, largest: 0 }, compared: 0 };
  afterAll(() => process.stdout.write(`\nJPEG, turbo against sharp: ${JSON.stringify(worst)}\n`));

  it(`differ by ${MEAN_MAX} in the mean and by ${LARGEST_MAX} at most`, async () => {
    for await (const [name, bytes] of jpegs()) {
      const whole = await sharp(bytes).png({ compressionLevel: 0 }).toBuffer();
      for (const one of TARGETS) {
        const fast = await byTurbo(bytes, one);
        if (fast === undefined) continue;
        const usual = await decode(bytes, one, 'fastest');
        expect(Buffer.compare(usual.pixels, fast), `${name}: the same way in decodePicture`).toBe(0);
        const shrunk = await decode(bytes, one, 'sharp');
        expect({ ...usual, pixels: 0 }).toEqual({ ...shrunk, pixels: 0 });
        const reference = (await decode(whole, one, 'sharp')).pixels;
        const { mean, largest } = difference(fast, reference);
        const ofSharp = difference(shrunk.pixels, reference);
        const toShrunk = difference(fast, shrunk.pixels).mean;
        const words = `${name} → ${one.width} × ${one.height} ${one.fit} ${one.colour}`;
        expect(mean, words).toBeLessThanOrEqual(MEAN_MAX);
        expect(largest, words).toBeLessThanOrEqual(LARGEST_MAX);
        expect(toShrunk, words).toBeLessThanOrEqual(MEAN_SHRUNK_MAX);
        worst.mean = Math.max(worst.mean, mean);
        worst.largest = Math.max(worst.largest, largest);
        worst.meanToShrunk = Math.max(worst.meanToShrunk, toShrunk);
        worst.shrunkToWhole.mean = Math.max(worst.shrunkToWhole.mean, ofSharp.mean);
        worst.shrunkToWhole.largest = Math.max(worst.shrunkToWhole.largest, ofSharp.largest);
        worst.compared += 1;
      }
    }
    expect(worst.compared).toBeGreaterThan(100);
  }, 60_000);

  it.each(['rgb', 'bgr'] as const)(
    'of exactly the size that is wanted is decoded straight into %s, and no pixel is another',
    async (colour) => {
      const codec = (await loadTurbo()) as Turbo;
      for (const [width, height] of [...SIZES, [127, 95]] as const) {
        const bytes = await picture(width, height).jpeg({ quality: 85 }).toBuffer();
        const one: PictureTarget = { width, height, fit: 'stretch', pad: 0, kernel: 'bilinear', colour };
        const plain = readPlainJpeg(bytes)!;
        const raster = decodeByTurbo(codec, bytes, plain)!;
        const stepByStep = resizedBytes(raster, { target: one, placement: place(width, height, one) });
        expect(Buffer.compare((await byTurbo(bytes, one))!, stepByStep), `${width} × ${height}`).toBe(0);
      }
    },
  );

  it('would be told apart by a picture that is one pixel off, or blurred by a box alone', async () => {
    const bytes = readFileSync(join(DEVICE, 'astronaut.jpg'));
    const whole = (width: number, over: object = {}) =>
      sharp(bytes)
        .resize(width, width, { fit: 'fill', kernel: 'linear', ...over })
        .raw()
        .toBuffer();
    const right = await whole(128);
    const off = Buffer.concat([right.subarray(3), right.subarray(0, 3)]);
    expect(difference(off, right).largest).toBeGreaterThan(LARGEST_MAX);
    const fast = await byTurbo(bytes, target());
    expect(difference(fast!, right).mean).toBeLessThan(MEAN_MAX);
    expect(difference(fast!, await whole(128, { kernel: 'nearest' })).mean).toBeGreaterThan(MEAN_MAX);
  });
});

describe('a JPEG that is not plain', () => {
  const base = () => picture(200, 120);
  const odd: Record<string, () => Promise<Buffer>> = {
    'turned by EXIF': () => base().withMetadata({ orientation: 6 }).jpeg().toBuffer(),
    progressive: () => base().jpeg({ progressive: true }).toBuffer(),
    CMYK: () => base().toColourspace('cmyk').jpeg().toBuffer(),
    'with a colour profile': () => base().withIccProfile('p3').jpeg().toBuffer(),
    'cut in its header': async () => (await base().jpeg().toBuffer()).subarray(0, 100),
  };
  it.each(Object.keys(odd))('goes through sharp: %s', async (name) => {
    const bytes = await odd[name]!();
    expect(readPlainJpeg(bytes)).toBeUndefined();
    expect(await ended(decode(bytes, target(), 'fastest'))).toBe(await ended(decode(bytes, target(), 'sharp')));
  });

  it('is one that is larger than pays, or that another kernel makes smaller', async () => {
    const [small, large] = [await base().jpeg().toBuffer(), await picture(1280, 720).jpeg().toBuffer()];
    const side = (width: number, height: number, over = {}) => target({ width, height, ...over });
    expect(await byTurbo(large, side(128, 128))).toBeUndefined();
    expect(await byTurbo(small, side(300, 200, { kernel: 'lanczos3' }))).toHaveLength(300 * 200 * 3);
    expect(await byTurbo(small, side(64, 64, { kernel: 'lanczos3' }))).toBeUndefined();
    expect(await byTurbo(small, side(64, 64))).toHaveLength(64 * 64 * 3);
    expect(await byTurbo(small, side(200, 120, { kernel: 'lanczos3' }))).toHaveLength(200 * 120 * 3);
  });

  it('is not one with EXIF that leaves it upright', async () => {
    const bytes = await base().withExif(UPRIGHT).jpeg().toBuffer();
    expect(bytes.includes('Exif\0')).toBe(true);
    expect(await byTurbo(bytes, target({ width: 64, height: 64 }))).toBeDefined();
  });
});

describe('a JPEG that must be refused', () => {
  it('is refused by its header where it has more pixels than allowed, in the same words', async () => {
    const bytes = await picture(200, 120).jpeg().toBuffer();
    for (const by of ['fastest', 'sharp'] as const) {
      await expect(decodePicture(bytes, { pixelsMax: 23_999, targets: [target()], by })).rejects.toThrow(
        /E_IMAGE_PIXELS: the picture has 200 × 120 pixels; expected at most 23999/,
      );
      await decodePicture(bytes, { pixelsMax: 24_000, targets: [target()], by });
    }
  });

  it('is refused where libjpeg-turbo would only warn of it: cut off, or with an invented end', async () => {
    const bytes = await picture(320, 240).blur(1).jpeg().toBuffer();
    const cut = bytes.subarray(0, bytes.length * 0.7);
    expect(readPlainJpeg(cut)).toBeDefined();
    for (const broken of [cut, Buffer.concat([cut, Buffer.from([0xff, 0xd9])])]) {
      expect(await byTurbo(broken, target())).toBeUndefined();
      expect(await ended(decode(broken, target(), 'fastest'))).toBe('E_IMAGE_CORRUPT');
    }
    expect(await ended(decode(bytes, target(), 'fastest'))).toBe(`${128 * 128 * 3} bytes`);
  });

  it('does not reach libjpeg-turbo with a size that its buffer has not: all 65,500 × 65,500 of them', async () => {
    const bytes = await picture(64, 64).jpeg().toBuffer();
    const frame = bytes.indexOf(Buffer.from([0xff, 0xc0]));
    bytes.writeUInt16BE(65_500, frame + 5);
    bytes.writeUInt16BE(65_500, frame + 7);
    expect(await byTurbo(bytes, target())).toBeUndefined();
    expect(await ended(decode(bytes, target(), 'fastest'))).toBe('E_IMAGE_PIXELS');
  });
});

describe('mutated JPEGs', () => {
  const count = process.env['BRINK_TEST_SIZE'] === 'long' ? 3000 : 300;
  it(`end alike on both ways (${count})`, async () => {
    const random = seeded(42);
    const one = target({ width: 32, height: 32 });
    const grey = await picture(64, 48).blur(1).greyscale().jpeg().toBuffer();
    const whole = await picture(64, 48).blur(1).jpeg().toBuffer();
    const exif = await picture(64, 48).blur(1).withExif(UPRIGHT).jpeg({ quality: 60 }).toBuffer();
    let [fast, refused] = [0, 0];
    for (let i = 0; i < count; i++) {
      const bytes = mutate([whole, grey, exif][i % 3]!, random);
      const sharps = await ended(decode(bytes, one, 'sharp'));
      expect(await ended(decode(bytes, one, 'fastest')), `mutant ${i}`).toBe(sharps);
      expect(sharps).toMatch(/^(3072 bytes|E_IMAGE_(TYPE|PIXELS|CORRUPT)|E_SHAPE)$/);
      if (sharps.startsWith('E_')) refused += 1;
      else if ((await byTurbo(bytes, one)) !== undefined) fast += 1;
    }
    expect(refused).toBeGreaterThan(count / 4);
    expect(fast).toBeGreaterThan(count / 30);
  }, 120_000);
});
