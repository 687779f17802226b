import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { crc32, deflateSync } from 'node:zlib';

export type Colour = readonly [number, number, number];

/** A PNG of one colour, or of what is said for each pixel. @param depth 8, 16: RGB; 1: black, a few kilobytes however many pixels it has */
export function png(
  width: number,
  height: number,
  colour: Colour | ((x: number, y: number) => Colour) = [200, 40, 40],
  depth: 1 | 8 | 16 = 8,
): Buffer {
  return pngOf(width, height, colour, depth);
}

/** A PNG with one more chunk. */
export const pngWith = (type: string, data: Buffer): Buffer => pngOf(8, 8, [200, 40, 40], 8, [chunk(type, data)]);

function pngOf(
  width: number,
  height: number,
  colour: Colour | ((x: number, y: number) => Colour),
  depth: 1 | 8 | 16,
  more: Buffer[] = [],
): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = depth;
  header[9] = depth === 1 ? 0 : 2;
  const row = 1 + (depth === 1 ? Math.ceil(width / 8) : (width * 3 * depth) / 8);
  const rows = Buffer.alloc(row * height);
  if (depth === 8) {
    for (let y = 0; y < height; y++)
      for (let x = 0; x < width; x++)
        rows.set(typeof colour === 'function' ? colour(x, y) : colour, y * row + 1 + x * 3);
  }
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk('IHDR', header),
    ...more,
    chunk('IDAT', deflateSync(rows)),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

/** A photograph as cameras send them. */
export const jpeg = (): Buffer =>
  readFileSync(fileURLToPath(new URL('../../../../models/simple-cnn/1/golden/chelsea.jpg', import.meta.url)));

function chunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const framed = Buffer.alloc(8 + body.length);
  framed.writeUInt32BE(data.length, 0);
  body.copy(framed, 4);
  framed.writeUInt32BE(crc32(body), 4 + body.length);
  return framed;
}
