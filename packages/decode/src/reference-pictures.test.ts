import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import reference from '../fixtures/pictures.json' with { type: 'json' };
import { decodePicture, type PictureTarget, place } from './index.ts';

// Numbers of Pillow, and formulas of Ultralytics and torchvision; fixtures/make_pictures.py says how they were made.

const { width, height } = reference;

/** As the recipe has it: slopes, edges and fine rings. */
const source = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
  const [x, y, channel] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
  if (channel === 0) return (x * 4 + y) % 256;
  if (channel === 1) return (Math.floor(x / 9) + Math.floor(y / 7)) % 2 === 0 ? 40 : 215;
  return Math.floor((x * x + y * y) / 16) % 256;
});
const png = await sharp(source, { raw: { width, height, channels: 3 } })
  .png()
  .toBuffer();

const target = (over: object): PictureTarget => ({
  width,
  height,
  fit: 'stretch',
  pad: 0,
  kernel: 'bilinear',
  colour: 'rgb',
  ...over,
});
const pixelsOf = async (over: object) => (await decodePicture(png, { targets: [target(over)] })).pictures[0]!.pixels;

/** Mean of the differences of all values, and the largest that lies at least `rim` pixels from the rim. */
function difference(found: Uint8Array, base64: string, size: { width: number; height: number }, rim: number) {
  const expected = Buffer.from(base64, 'base64');
  expect(found.length).toBe(expected.length);
  const channels = found.length / size.width / size.height;
  let [sum, worst] = [0, 0];
  for (let i = 0; i < found.length; i++) {
    const [x, y] = [Math.floor(i / channels) % size.width, Math.floor(i / channels / size.width)];
    const one = Math.abs(found[i]! - expected[i]!);
    sum += one;
    const inside = x >= rim && y >= rim && x < size.width - rim && y < size.height - rim;
    if (inside) worst = Math.max(worst, one);
  }
  return { mean: sum / found.length, worst };
}

describe('a picture resized', () => {
  const enlarged = reference.resized.filter(
    (one) => one.kernel === 'nearest' || one.width > width || one.height > height,
  );
  const shrunk = reference.resized.filter((one) => !enlarged.includes(one));

  it.each(enlarged)('is what Pillow makes of it, bit by bit: $kernel, $width × $height', async ({ pixels, ...of }) => {
    expect(difference(await pixelsOf(of), pixels, of, 0)).toEqual({ mean: 0, worst: 0 });
    // Also where it was decoded whole for other reasons.
    expect(difference(await pixelsOf({ ...of, region: [0, 0, 1, 1] }), pixels, of, 0).worst).toBe(0);
  });

  // libvips lets the outermost pixel go on beyond the rim, Pillow leaves out what is not there.
  it.each(shrunk)(
    'is what Pillow makes of it but for the rim: $kernel, $width × $height',
    async ({ pixels, ...of }) => {
      const { mean, worst } = difference(await pixelsOf(of), pixels, of, 3);
      expect(mean).toBeLessThan(2);
      expect(worst).toBeLessThanOrEqual(3);
      // The control: another kernel is not.
      const other = of.kernel === 'bilinear' ? 'lanczos3' : 'bilinear';
      expect(difference(await pixelsOf({ ...of, kernel: other }), pixels, of, 3).worst).toBeGreaterThan(3);
    },
  );

  it.each(['rgb', 'bgr'] as const)('keeps its pixels where its size is kept: %s', async (colour) => {
    const found = await pixelsOf({ colour });
    const at = (i: number) => (colour === 'rgb' ? source[i]! : source[i - (i % 3) + (2 - (i % 3))]!);
    expect(found.every((value, i) => value === at(i))).toBe(true);
  });
});

describe('a picture in grey', () => {
  it('is the luma of Pillow, which is that of OpenCV and torchvision, by either path', async () => {
    expect(difference(await pixelsOf({ colour: 'grey' }), reference.grey, reference, 0)).toEqual({ mean: 0, worst: 0 });
    const whole = await pixelsOf({ colour: 'grey', region: [0, 0, 1, 1] });
    expect(difference(whole, reference.grey, reference, 0)).toEqual({ mean: 0, worst: 0 });
    // The control: luminance, as libvips has it, is something else.
    const { data } = await sharp(png).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true });
    expect(difference(data, reference.grey, reference, 0).worst).toBeGreaterThan(30);
  });
});

describe('the place of a picture', () => {
  it('in a letterbox is that of Ultralytics', () => {
    for (const { width: w, height: h, to, letterbox } of reference.places) {
      const { resize, frame } = place(w, h, target({ width: to, height: to, fit: 'letterbox' }));
      expect([resize.width, resize.height, frame!.left, frame!.top], `${w} × ${h} in ${to}`).toEqual(letterbox);
    }
  });

  it('in a crop is that of torchvision within a pixel: the longer side is rounded here, there cut off', () => {
    for (const { width: w, height: h, to, crop } of reference.places) {
      const { resize, cut } = place(w, h, target({ width: to, height: to, fit: 'crop' }));
      const found = [resize.width, resize.height, cut!.left, cut!.top];
      for (const [i, value] of crop.entries())
        expect(Math.abs(found[i]! - value), `${w} × ${h}`).toBeLessThanOrEqual(1);
    }
  });
});

describe('noise taken away', () => {
  const { width: w, height: h } = reference.denoised[0]!;
  const part = Uint8Array.from({ length: w * h * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % w, Math.floor(i / 3 / w)];
    return (7 * x + 13 * y) % 11 === 0 ? 255 : source[(y * width + x) * 3 + (i % 3)]!;
  });

  it.each(reference.denoised)('is what SciPy makes of it: median $median, Gaussian $gaussian', async (of) => {
    const { median, gaussian, pixels } = of as { median?: number; gaussian?: number; pixels: string };
    const bytes = await sharp(part, { raw: { width: w, height: h, channels: 3 } })
      .png()
      .toBuffer();
    const targets = [target({ width: w, height: h })];
    const found = (await decodePicture(bytes, { targets, denoise: { median, gaussian } })).pictures[0]!.pixels;
    // libvips cuts the fraction of a mean off, SciPy's is rounded here.
    expect(difference(found, pixels, of, 0).worst).toBeLessThanOrEqual(gaussian === undefined ? 0 : 1);
    expect(difference(part, pixels, of, 0).worst).toBeGreaterThan(20);
  });
});
