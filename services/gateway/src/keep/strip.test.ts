import { decodePicture } from '@brink/decode';
import { describe, expect, it } from 'vitest';
import { jpegWithCanary, pictureOf, withMetadata } from '../../test/harness/canary.ts';
import { stripJpeg } from './strip.ts';

const TEXT = 'Anna Muster, 48.1351 N 11.5820 E';
const plain = () => jpegWithCanary(96, 64, [0.2, 0.2, 0.8, 0.8]);

describe('metadata', () => {
  it('goes, and the picture stays as it is, bit by bit', async () => {
    const jpeg = await plain();
    const dirty = Buffer.concat([withMetadata(jpeg, { text: TEXT, orientation: 1 }), Buffer.from(TEXT)]);
    const stripped = Buffer.from(stripJpeg(dirty) ?? []);
    expect([stripped.includes('Anna'), stripped.includes('Exif'), stripped.includes('xap')]).toEqual([
      false,
      false,
      false,
    ]);
    expect(await pictureOf(stripped)).toEqual(await pictureOf(jpeg));
    expect(stripped.equals(stripJpeg(stripped) ?? Buffer.alloc(0))).toBe(true);
  });

  it('takes a thumbnail along that lies in JFIF', async () => {
    const jpeg = await plain();
    const thumbnail = Buffer.concat([
      Buffer.from([0xff, 0xe0, 0, 28]),
      Buffer.from('JFIF\0\x01\x02\0\0\x01\0\x01\x02\x02'),
      Buffer.from(`${TEXT.slice(0, 12)}`),
    ]);
    const dirty = Buffer.concat([jpeg.subarray(0, 2), thumbnail, jpeg.subarray(2)]);
    const stripped = Buffer.from(stripJpeg(dirty) ?? []);
    expect(stripped.length > 0 && !stripped.includes('Anna')).toBe(true);
    expect(await pictureOf(stripped)).toEqual(await pictureOf(jpeg));
  });

  it.each([6, 0, 9])(
    'that turns the picture, or might (orientation %d), cannot just be left out',
    async (orientation) => {
      expect(stripJpeg(withMetadata(await plain(), { text: TEXT, orientation }))).toBeUndefined();
    },
  );

  it('of a file that is not as it should be is not told from its picture', async () => {
    const jpeg = await plain();
    const over = (bytes: Buffer, at: number, value: number) => {
      const copy = Buffer.from(bytes);
      copy[at] = value;
      return copy;
    };
    const scan = jpeg.lastIndexOf(Buffer.from([0xff, 0xda]));
    for (const broken of [
      jpeg.subarray(0, -2),
      jpeg.subarray(0, scan),
      jpeg.subarray(0, 100),
      Buffer.alloc(0),
      Buffer.from('no picture at all'),
      over(jpeg, 2, 0),
      Buffer.concat([jpeg.subarray(0, -2), Buffer.from([0xff, 0xda]), jpeg.subarray(-2)]),
    ]) {
      expect(stripJpeg(broken)).toBeUndefined();
    }
    // the control: what is refused here is refused for its damage alone
    expect(stripJpeg(jpeg)).toBeDefined();
    expect((await decodePicture(stripJpeg(jpeg) as Uint8Array, { targets: [] })).width).toBe(96);
  });
});
