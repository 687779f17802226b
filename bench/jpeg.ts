import { decodePicture, type PictureTarget } from '@brink/decode';
import sharp from 'sharp';
import type { Bench, BenchResult } from './bench.ts';
import { seededRandom } from './random.ts';
import { measureRounds, type Series } from './rounds.ts';

const BAR = 1.8;
/** Of the CPU: a decode child is one core's worth, and what else runs on the machine does not count. */
const MEASURE_CPU_MS = 500;
const PICTURES = 8;

type Fit = PictureTarget['fit'];

/** [width, height of the JPEG, side of the target, how it is fitted]; the first is the figure. */
const CASES: Record<string, readonly [width: number, height: number, side: number, fit: Fit]> = {
  '640×480 → 128×128': [640, 480, 128, 'stretch'],
  '128×128 → 128×128': [128, 128, 128, 'stretch'],
  '640×480 → 224×224, crop': [640, 480, 224, 'crop'],
  '640×480 → 416×416, letterbox': [640, 480, 416, 'letterbox'],
};

/** The way through libjpeg-turbo against the way through sharp, both to pixels that are ready for the model; one core. */
export const jpeg: Bench = {
  what: 'JPEGs/s by libjpeg-turbo and our own resizing ÷ by sharp, 640×480 and 128×128 → 128×128 (bar there: 5)',
  async run(report): Promise<BenchResult> {
    const variants: Record<string, Series> = {};
    for (const [name, [width, height, side, fit]] of Object.entries(CASES)) {
      report(`jpeg, ${name}:`);
      const pictures = await picturesOf(width, height);
      const target: PictureTarget = { width: side, height: side, fit, pad: 114, kernel: 'bilinear', colour: 'rgb' };
      await perSecond('sharp', pictures, target);
      await perSecond('fastest', pictures, target);
      variants[name] = await measureRounds(
        () => perSecond('sharp', pictures, target),
        () => perSecond('fastest', pictures, target),
        report,
        { unit: 'pictures per CPU second', baseline: 'sharp' },
      );
    }
    const [first] = Object.values(variants);
    return {
      figure: first?.figure ?? null,
      unit: 'ratio to sharp',
      bar: BAR,
      variants,
      rounds: first?.rounds ?? [],
    };
  },
};

/** @returns pictures per second of CPU, all threads */
async function perSecond(by: 'fastest' | 'sharp', pictures: readonly Uint8Array[], target: PictureTarget) {
  const start = process.cpuUsage();
  let [done, seconds] = [0, 0];
  while (seconds * 1000 < MEASURE_CPU_MS) {
    for (const picture of pictures) await decodePicture(picture, { targets: [target], by });
    done += pictures.length;
    const { user, system } = process.cpuUsage(start);
    seconds = (user + system) / 1e6;
  }
  return done / seconds;
}

/** Gradients with seeded noise: 640 × 480 come to 51 KB at quality 80, as a camera's do. */
function picturesOf(width: number, height: number): Promise<Uint8Array[]> {
  const random = seededRandom(5);
  return Promise.all(
    Array.from({ length: PICTURES }, (_, picture) => {
      const pixels = new Uint8Array(width * height * 3);
      for (let i = 0; i < pixels.length; i++) pixels[i] = ((i / 3 + picture * 31) % 256) * 0.7 + random() * 70;
      return sharp(pixels, { raw: { width, height, channels: 3 } })
        .blur(1)
        .jpeg({ quality: 80 })
        .toBuffer();
    }),
  );
}
