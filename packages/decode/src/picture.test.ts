import { BrinkError } from '@brink/protocol';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { decodePicture, type PictureTarget } from './index.ts';
import { blackPng, mutate, picture, seeded } from './pictures.testing.ts';

const target = (over: Partial<PictureTarget> = {}): PictureTarget => ({
  width: 32,
  height: 32,
  fit: 'stretch',
  pad: 0,
  kernel: 'bilinear',
  colour: 'rgb',
  ...over,
});

const decode = async (bytes: Uint8Array, over: Partial<PictureTarget> = {}) => {
  const decoded = await decodePicture(bytes, { targets: [target(over)] });
  return { ...decoded, ...decoded.pictures[0]! };
};

const refusal = async (bytes: Uint8Array, over: Partial<PictureTarget> = {}) => {
  try {
    await decode(bytes, over);
  } catch (reason) {
    return (reason as BrinkError).code;
  }
  return 'decoded';
};

/** The colour in the middle of each quarter of a 32 × 32 picture. */
const middles = (pixels: Uint8Array, channels = 3) =>
  [
    [8, 8],
    [24, 8],
    [8, 24],
    [24, 24],
  ].map(([x, y]) => [...pixels.subarray((y! * 32 + x!) * channels, (y! * 32 + x!) * channels + channels)]);

function near(found: number[][], expected: number[][], tolerance = 6): void {
  for (const [i, colour] of expected.entries()) {
    for (const [c, value] of colour.entries()) {
      expect(Math.abs(found[i]![c]! - value), `quarter ${i}, channel ${c}: ${found[i]}`).toBeLessThanOrEqual(tolerance);
    }
  }
}

const RED = [220, 30, 30];
const GREEN = [30, 200, 40];
const BLUE = [30, 40, 210];
const GREY = [128, 128, 128];

describe('a picture that can be decoded', () => {
  it('comes out upright, in 8-bit HWC, whatever the format', async () => {
    for (const format of ['jpeg', 'png', 'webp'] as const) {
      const decoded = await decode(await picture(200, 120)[format]().toBuffer());
      expect(decoded).toMatchObject({ type: `image/${format}`, width: 200, height: 120 });
      expect(decoded.pixels.length).toBe(32 * 32 * 3);
      near(middles(decoded.pixels), [RED, GREEN, BLUE, GREY], 14);
    }
  });

  it('has its channels in the order asked for', async () => {
    const png = await picture(64, 64).png().toBuffer();
    near(middles((await decode(png, { colour: 'bgr' })).pixels), [[30, 30, 220], [40, 200, 30], [210, 40, 30], GREY]);
    const grey = await decode(png, { colour: 'grey' });
    expect(grey.pixels.length).toBe(32 * 32);
    expect(middles(grey.pixels, 1)[3]![0]).toBe(128);
  });

  it('is turned as its EXIF orientation says, and its size is that of the upright picture', async () => {
    const turned = await picture(100, 50).withMetadata({ orientation: 6 }).jpeg({ quality: 95 }).toBuffer();
    const decoded = await decode(turned);
    expect(decoded).toMatchObject({ width: 50, height: 100 });
    near(middles(decoded.pixels), [BLUE, RED, GREY, GREEN]);
  });

  it('is brought to sRGB from CMYK, 16 bit, grey and a palette', async () => {
    const cmyk = await picture(64, 64).toColourspace('cmyk').jpeg({ quality: 95 }).toBuffer();
    expect((await sharp(cmyk).metadata()).space).toBe('cmyk');
    near(middles((await decode(cmyk)).pixels), [RED, GREEN, BLUE, GREY], 90);
    const deep = await picture(64, 64).toColourspace('rgb16').png().toBuffer();
    expect((await sharp(deep).metadata()).depth).toBe('ushort');
    near(middles((await decode(deep)).pixels), [RED, GREEN, BLUE, GREY]);
    const palette = await picture(64, 64).png({ palette: true }).toBuffer();
    near(middles((await decode(palette)).pixels), [RED, GREEN, BLUE, GREY]);
    const grey = await picture(64, 64).greyscale().jpeg().toBuffer();
    expect((await decode(grey)).pixels.length).toBe(32 * 32 * 3);
    const greyDeep = await picture(64, 64).toColourspace('grey16').png().toBuffer();
    expect((await decode(greyDeep, { colour: 'grey' })).pixels.length).toBe(32 * 32);
  });

  it('lies on black where it is transparent', async () => {
    const half = await sharp({
      create: { width: 40, height: 40, channels: 4, background: { r: 200, g: 100, b: 50, alpha: 0.5 } },
    })
      .png()
      .toBuffer();
    near([[...(await decode(half)).pixels.subarray(0, 3)]], [[100, 50, 25]]);
  });

  it('gives the same to a target however many others there are', async () => {
    for (const format of ['jpeg', 'png', 'webp'] as const) {
      const bytes = await picture(301, 211).blur(2)[format]().toBuffer();
      const targets = [
        target(),
        target({ width: 64, height: 48, fit: 'letterbox' }),
        target(),
        target({ colour: 'grey' }),
      ];
      const together = await decodePicture(bytes, { targets });
      for (const [i, one] of targets.entries()) {
        const alone = await decodePicture(bytes, { targets: [one] });
        expect(Buffer.compare(together.pictures[i]!.pixels, alone.pictures[0]!.pixels), `${format}, target ${i}`).toBe(
          0,
        );
      }
    }
  });

  it('differs little between shrink-on-load and a whole decode', async () => {
    const source = picture(640, 480).blur(3);
    const shrunk = await decode(await source.clone().jpeg({ quality: 95 }).toBuffer());
    const whole = await decode(await source.clone().png().toBuffer());
    const mean =
      shrunk.pixels.reduce((sum, value, i) => sum + Math.abs(value - whole.pixels[i]!), 0) / shrunk.pixels.length;
    expect(mean).toBeLessThan(1.5);
  });

  it('is decoded to the declared shape from one pixel and from a thread of 16,000 × 1', async () => {
    for (const [width, height] of [
      [1, 1],
      [16_000, 1],
      [1, 16_000],
    ] as const) {
      const png = await picture(width, height).png().toBuffer();
      for (const fit of ['stretch', 'letterbox'] as const) {
        expect((await decode(png, { fit })).pixels.length).toBe(32 * 32 * 3);
      }
      expect(await refusal(png, { fit: 'crop' })).toBe(width === height ? 'decoded' : 'E_SHAPE');
    }
    expect(await refusal(blackPng(65_500, 1))).toBe('decoded');
  });
});

describe('a letterbox and a crop', () => {
  it('keep the ratio, and the transform finds each pixel again', async () => {
    const png = await picture(200, 100).png().toBuffer();
    const letterbox = await decode(png, { fit: 'letterbox', pad: 114 });
    expect(letterbox.transform).toEqual({ scaleX: 0.16, scaleY: 0.16, offsetX: 0, offsetY: 8 });
    expect([...letterbox.pixels.subarray(0, 3)]).toEqual([114, 114, 114]);
    const row = (y: number, x: number) => [...letterbox.pixels.subarray((y * 32 + x) * 3, (y * 32 + x) * 3 + 3)];
    // original (50, 25) is red; (150, 75) is grey
    near([row(25 * 0.16 + 8, 50 * 0.16), row(75 * 0.16 + 8, 150 * 0.16)], [RED, GREY]);
    const crop = await decode(png, { fit: 'crop' });
    expect(crop.transform).toEqual({ scaleX: 0.32, scaleY: 0.32, offsetX: -16, offsetY: 0 });
    near(middles(crop.pixels), [RED, GREEN, BLUE, GREY]);
  });
});

describe('a picture that must be refused', () => {
  it('is refused by its header where it has more pixels than allowed', async () => {
    const before = process.memoryUsage().rss;
    expect(await refusal(blackPng(16_000, 16_000))).toBe('E_IMAGE_PIXELS');
    expect(await refusal(blackPng(17_000, 17_000))).toBe('E_IMAGE_PIXELS');
    expect(process.memoryUsage().rss - before).toBeLessThan(200 * 1024 * 1024);
    await expect(decodePicture(blackPng(100, 100), { pixelsMax: 9_999, targets: [target()] })).rejects.toThrow(
      /E_IMAGE_PIXELS: the picture has 100 × 100 pixels; expected at most 9999/,
    );
    // the control: the same picture, with the limit one higher
    expect((await decodePicture(blackPng(100, 100), { pixelsMax: 10_000, targets: [target()] })).width).toBe(100);
  });

  it('is refused by its signature where it is no JPEG, PNG or WebP', async () => {
    const svg = Buffer.from(
      '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="file:///etc/passwd"/></svg>',
    );
    const gif = await picture(8, 8).gif().toBuffer();
    const tiff = await picture(8, 8).tiff().toBuffer();
    for (const bytes of [svg, gif, tiff, Buffer.from('hello'), Buffer.alloc(0), Buffer.alloc(64)]) {
      expect(await refusal(bytes)).toBe('E_IMAGE_TYPE');
    }
  });

  it('cannot smuggle another loader behind the signature: libvips has only three left', async () => {
    const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>');
    await decode(await picture(8, 8).png().toBuffer());
    await expect(sharp(svg).metadata()).rejects.toThrow(/unsupported/);
    await expect(sharp(await picture(8, 8).gif().toBuffer()).metadata()).rejects.toThrow(/unsupported/);
  });

  it('is refused where it is cut off, at whatever place', async () => {
    for (const format of ['jpeg', 'png', 'webp'] as const) {
      const bytes = await picture(320, 240).blur(1)[format]().toBuffer();
      for (const share of [0.3, 0.6, 0.95]) {
        expect(await refusal(bytes.subarray(0, bytes.length * share)), `${format} cut at ${share}`).toBe(
          'E_IMAGE_CORRUPT',
        );
      }
      expect(await refusal(bytes)).toBe('decoded');
    }
  });

  it('has bytes that are no picture after a right signature', async () => {
    expect(await refusal(Buffer.concat([Buffer.from([0xff, 0xd8, 0xff]), Buffer.alloc(500, 7)]))).toBe(
      'E_IMAGE_CORRUPT',
    );
  });
});

describe('mutated JPEGs', () => {
  const count = process.env['BRINK_TEST_SIZE'] === 'long' ? 3000 : 200;
  it(`are decoded or refused by name, and nothing else happens (${count})`, async () => {
    const random = seeded(41);
    const bytes = await picture(64, 64).blur(1).jpeg().toBuffer();
    let refused = 0;
    for (let i = 0; i < count; i++) {
      try {
        const decoded = await decode(mutate(bytes, random));
        expect(decoded.pixels.length).toBe(32 * 32 * 3);
      } catch (reason) {
        expect(reason).toBeInstanceOf(BrinkError);
        expect((reason as BrinkError).code).toMatch(/^E_(IMAGE_|SHAPE)/);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(count / 4);
    expect(await refusal(bytes)).toBe('decoded');
  }, 120_000);
});
