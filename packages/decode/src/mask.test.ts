import sharp, { type Sharp } from 'sharp';
import { describe, expect, it } from 'vitest';
import { type DecodeOptions, decodePicture, type PictureTarget } from './index.ts';
import { paintMasks } from './mask.ts';
import { seeded } from './pictures.testing.ts';

// A colour that nothing else in these pictures has stands only where the mask is: whatever comes out of a decode must hold none
// of it, on whichever way the picture went.

const CANARY = [255, 0, 255] as const;
const GROUND = [20, 130, 60] as const;

const target = (over: Partial<PictureTarget> = {}): PictureTarget => ({
  width: 48,
  height: 48,
  fit: 'stretch',
  pad: 60,
  kernel: 'bilinear',
  colour: 'rgb',
  ...over,
});

/** The canary in the rectangle, a plain colour around it. */
function withCanary(width: number, height: number, box: readonly number[]) {
  const pixels = new Uint8Array(width * height * 3);
  const [x0, y0, x1, y1] = box.map((part, i) => part * (i % 2 === 0 ? width : height)) as [
    number,
    number,
    number,
    number,
  ];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const inside = x + 1 > x0 && x < x1 && y + 1 > y0 && y < y1;
      pixels.set(inside ? CANARY : GROUND, (y * width + x) * 3);
    }
  }
  return sharp(pixels, { raw: { width, height, channels: 3 } });
}

/** How much of the canary's colour a pixel has at most: red and blue above what the ground and black have. 0..255. */
function canaryIn(pixels: Uint8Array, channels = 3): number {
  let most = 0;
  for (let i = 0; i + 2 < pixels.length; i += channels) {
    const [a, b, c] = [pixels[i] as number, pixels[i + 1] as number, pixels[i + 2] as number];
    most = Math.max(most, Math.min(a, c) - b);
  }
  return most;
}

const BOX = [0.31, 0.22, 0.66, 0.7] as const;
/** Compression blurs a little, and rings; what can be told from noise is more. */
const TRACE = 12;

const FORMATS = {
  'plain JPEG': (source: Sharp) => source.jpeg({ quality: 90 }),
  'JPEG without subsampling': (source: Sharp) => source.jpeg({ quality: 90, chromaSubsampling: '4:4:4' }),
  'progressive JPEG': (source: Sharp) => source.jpeg({ quality: 90, progressive: true }),
  PNG: (source: Sharp) => source.png(),
  WebP: (source: Sharp) => source.webp({ quality: 90 }),
};
const TARGETS: Record<string, PictureTarget> = {
  'shrunk here': target(),
  'shrunk by libvips, with anti-alias': target({ kernel: 'lanczos3' }),
  letterboxed: target({ fit: 'letterbox', width: 64, height: 40 }),
  cropped: target({ fit: 'crop', width: 30, height: 44 }),
  enlarged: target({ width: 560, height: 430 }),
  'a part of it': target({ region: [0.25, 0.2, 0.7, 0.8] }),
};

async function all(bytes: Uint8Array, over: Partial<DecodeOptions> = {}) {
  const targets = Object.values(TARGETS);
  const { pictures, kept } = await decodePicture(bytes, { targets, keepQuality: 90, ...over });
  const jpeg = kept === undefined ? new Uint8Array() : await sharp(kept).removeAlpha().raw().toBuffer();
  return [...pictures.map(({ pixels }) => canaryIn(pixels)), canaryIn(jpeg)];
}

describe('a masked rectangle', () => {
  const sizes = [
    [333, 251],
    [520, 400],
  ] as const;
  it.each(Object.entries(FORMATS))(
    'leaves nothing of what was in it: %s',
    async (_, format) => {
      for (const [width, height] of sizes) {
        const bytes = await format(withCanary(width, height, BOX)).toBuffer();
        for (const by of ['fastest', 'sharp'] as const) {
          const masked = await all(bytes, { masks: [BOX], by });
          expect(Math.max(...masked), `${width} × ${height} ${by}: ${masked}`).toBeLessThanOrEqual(TRACE);
          // the control: without a mask every target shows it
          const open = await all(bytes, { by });
          expect(Math.min(...open.slice(0, -1)), `${width} × ${height} ${by}: ${open}`).toBeGreaterThan(150);
        }
      }
    },
    30_000,
  );

  it('is painted before the noise is taken away, which would spread it', async () => {
    const bytes = await withCanary(160, 120, BOX).png().toBuffer();
    for (const denoise of [{ median: 3 }, { gaussian: 4 }]) {
      const [jpeg = 0, ...exact] = (await all(bytes, { masks: [BOX], denoise })).toReversed();
      expect([Math.max(...exact), jpeg <= TRACE]).toEqual([0, true]);
    }
  });

  it('lies where the upright picture has it, whichever way the camera was held', async () => {
    const upright = withCanary(240, 160, [0, 0, 0.3, 0.4]);
    const stored = await upright.rotate(270).withMetadata({ orientation: 6 }).jpeg({ quality: 95 }).toBuffer();
    expect((await sharp(stored).metadata()).width).toBe(160);
    expect(Math.max(...(await all(stored, { masks: [[0, 0, 0.3, 0.4]] })))).toBeLessThanOrEqual(TRACE);
    expect(Math.max(...(await all(stored, { masks: [[0.7, 0.6, 1, 1]] })))).toBeGreaterThan(100);
  });

  it('is the same on both ways, within their tolerance', async () => {
    const bytes = await withCanary(640, 480, BOX).jpeg({ quality: 85 }).toBuffer();
    for (const one of Object.values(TARGETS)) {
      const [fast, usual] = await Promise.all(
        (['fastest', 'sharp'] as const).map(async (by) => {
          const { pictures } = await decodePicture(bytes, { targets: [one], masks: [BOX, [0, 0, 0.1, 0.1]], by });
          return pictures[0]!;
        }),
      );
      expect(fast!.transform).toEqual(usual!.transform);
      const off = fast!.pixels.map((value, i) => Math.abs(value - usual!.pixels[i]!));
      expect(off.reduce((sum, value) => sum + value, 0) / off.length).toBeLessThanOrEqual(2.5);
      expect(off.toSorted().at(-1)).toBeLessThanOrEqual(36);
    }
  });
});

describe('the pixels of a shape', () => {
  const size = { width: 20, height: 10 };
  const painted = (shape: readonly number[], lossless = true) => {
    const raster = { words: new Int32Array(200).fill(1), ...size };
    paintMasks(raster, [shape], lossless);
    return (x: number, y: number) => raster.words[y * 20 + x] !== 1;
  };
  const count = (is: (x: number, y: number) => boolean) =>
    Array.from({ length: 200 }, (_, i) => is(i % 20, Math.floor(i / 20))).filter(Boolean).length;

  it('are all that a rectangle touches, and where chroma is shared two more on each side', () => {
    expect(count(painted([0.26, 0.31, 0.49, 0.59]))).toBe(5 * 3);
    expect(count(painted([0.26, 0.31, 0.49, 0.59], false))).toBe(9 * 7);
    expect(count(painted([0, 0, 1, 1], false))).toBe(200);
    expect(count(painted([0.999, 0.999, 1, 1]))).toBe(1);
  });

  it('are all that a polygon touches, however it is turned', () => {
    const random = seeded(7);
    for (let round = 0; round < 30; round++) {
      const shape = Array.from({ length: 6 + 2 * Math.floor(random() * 4) }, (_, i) =>
        i < 2 ? 0.5 : random() * 1.2 - 0.1,
      );
      const is = painted(shape);
      for (let i = 0; i < 400; i++) {
        const [x, y] = onEdge(shape, random);
        expect(is(Math.floor(x), Math.floor(y)), `${shape} at ${x},${y}`).toBe(true);
      }
      for (let i = 0; i < 200; i++) {
        const [x, y] = [random(), random()];
        const inside = windingOf(shape, x, y) !== 0;
        if (inside) expect(is(Math.floor(x * 20), Math.floor(y * 10)), `${shape} at ${x},${y}`).toBe(true);
      }
    }
  });

  it('are those inside a triangle and not those beside it', () => {
    const is = painted([0.1, 0.1, 0.9, 0.1, 0.5, 0.88]);
    expect([is(10, 4), is(3, 1), is(10, 8)]).toEqual([true, true, true]);
    expect([is(0, 0), is(2, 7), is(18, 7), is(10, 9)]).toEqual([false, false, false, false]);
    expect(count(is)).toBeLessThan(100);
  });
});

/** A point on one of the edges, in pixels, that lies in the picture. */
function onEdge(shape: readonly number[], random: () => number): [number, number] {
  for (let tries = 0; ; tries++) {
    const edge = 2 * Math.floor((random() * shape.length) / 2);
    const at = random();
    const part = (i: number) => shape[edge + i]! + (shape[(edge + i + 2) % shape.length]! - shape[edge + i]!) * at;
    const [x, y] = [part(0) * 20, part(1) * 10];
    if (x >= 0 && y >= 0 && x < 20 && y < 10) return [x, y];
    if (tries > 1000) throw new Error(`${shape} lies beside the picture`);
  }
}

/** By the angles under which the edges are seen: nothing like how it is painted. */
function windingOf(shape: readonly number[], x: number, y: number): number {
  let turned = 0;
  for (let i = 0; i < shape.length; i += 2) {
    const from = Math.atan2(shape[i + 1]! - y, shape[i]! - x);
    const to = Math.atan2(shape[(i + 3) % shape.length]! - y, shape[(i + 2) % shape.length]! - x);
    turned += ((((to - from + Math.PI) % (2 * Math.PI)) + 2 * Math.PI) % (2 * Math.PI)) - Math.PI;
  }
  return Math.round(turned / (2 * Math.PI));
}

describe('the picture itself, kept', () => {
  it('is an upright JPEG of the same size, masked, without what the file said beside it', async () => {
    const source = withCanary(200, 100, BOX).withExif({
      IFD0: { Make: 'secret-make' },
      IFD3: { GPSLatitude: '1/1 2/1 3/1' },
    });
    for (const masks of [[], [BOX]]) {
      const { kept, pictures } = await decodePicture(
        await source.clone().withMetadata({ orientation: 6 }).jpeg().toBuffer(),
        {
          targets: [],
          masks,
          keepQuality: 80,
        },
      );
      expect(pictures).toEqual([]);
      const { format, width, height, exif, icc, xmp, iptc, orientation } = await sharp(kept).metadata();
      expect({ format, width, height }).toEqual({ format: 'jpeg', width: 100, height: 200 });
      expect([exif, icc, xmp, iptc, orientation]).toEqual([undefined, undefined, undefined, undefined, undefined]);
      expect(Buffer.from(kept!).includes('secret-make')).toBe(false);
    }
  });
});

describe('a part of the picture', () => {
  it('is what the target gets, and the transform leads back to the whole', async () => {
    const bytes = await withCanary(200, 100, [0.5, 0.5, 1, 1]).png().toBuffer();
    const one = target({ region: [0.5, 0.5, 1, 1], width: 50, height: 50 });
    const { pictures } = await decodePicture(bytes, { targets: [one] });
    expect(canaryIn(pictures[0]!.pixels)).toBe(255);
    expect(pictures[0]!.pixels.every((value, i) => value === CANARY[i % 3])).toBe(true);
    // (100, 50) of the original is the first pixel of what the model sees, (200, 100) one past its last.
    expect(pictures[0]!.transform).toEqual({ scaleX: 0.5, scaleY: 1, offsetX: -50, offsetY: -50 });
  });
});
