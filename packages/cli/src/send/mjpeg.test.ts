import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { JpegSplitter } from './mjpeg.ts';

const folder = join(import.meta.dirname, '../../../device/pictures');
const pictures = readdirSync(folder)
  .filter((name) => name.endsWith('.jpg'))
  .map((name) => readFileSync(join(folder, name)));

/** A picture of so many markers: an EXIF segment with a whole little JPEG in it, restart markers, stuffed and filled 0xff. */
const crafted = Buffer.from(
  [
    'ffd8',
    'ffe1000e4578696600ffd8ffd900aaffd9'.slice(0, 4 + 4 + 24),
    'ffff', // fill bytes before a marker
    'dd00040008',
    'ffda0003aa',
    '0102ff00ffd0ff00ffff00ffd7',
    'ffda0002', // a second scan, as of a progressive picture
    '11ff00',
    'ffd9',
  ].join(''),
  'hex',
);

function split(stream: Uint8Array, every: number, bytesMax = 1 << 20) {
  const splitter = new JpegSplitter({ bytesMax });
  const found: Uint8Array[] = [];
  for (let at = 0; at < stream.length; at += every) found.push(...splitter.push(stream.subarray(at, at + every)));
  return { found: found.map((picture) => Buffer.from(picture).toString('hex')), ...splitter.split };
}
const hex = (all: readonly Buffer[]) => all.map((one) => one.toString('hex'));

describe('a stream of JPEGs', () => {
  test('comes out picture by picture', () => {
    const { found, skippedBytes, broken } = split(Buffer.concat(pictures), 65_536);
    expect(found).toEqual(hex(pictures));
    expect([skippedBytes, broken]).toEqual([0, 0]);
  });

  test('may be cut anywhere; an end marker inside a segment, restarts and stuffing end nothing', () => {
    const boundary = Buffer.from('\r\n--frame\r\nContent-Type: image/jpeg\r\nContent-Length: 42\r\n\r\n');
    const stream = Buffer.concat([
      boundary,
      crafted,
      boundary,
      crafted,
      Buffer.from('000000ff', 'hex'),
      crafted,
      boundary,
    ]);
    for (let every = 1; every <= stream.length; every++) {
      const { found, frames, skippedBytes, broken } = split(stream, every);
      expect(found, `cut every ${every} bytes`).toEqual(hex([crafted, crafted, crafted]));
      expect([frames, broken]).toEqual([3, 0]);
      expect(skippedBytes).toBe(3 * boundary.length + 4);
    }
  });

  test('goes on after a picture that was cut short', () => {
    // A segment that was cut swallows what follows, up to 64 KiB of it.
    const more = Array.from({ length: 2000 }, () => crafted);
    for (let length = 3; length < crafted.length - 1; length++) {
      const { found } = split(Buffer.concat([crafted, crafted.subarray(0, length), ...more]), 4096);
      expect(found[0], `cut after ${length} bytes`).toBe(crafted.toString('hex'));
      expect(found.at(-1), `cut after ${length} bytes`).toBe(crafted.toString('hex'));
    }
  });

  test('leaves out a picture without end, and what is no picture', () => {
    const endless = Buffer.concat([crafted.subarray(0, crafted.length - 2), Buffer.alloc(5000, 0x11)]);
    const { found, broken } = split(Buffer.concat([endless, crafted]), 100, 1000);
    expect(found).toEqual(hex([crafted]));
    expect(broken).toBeGreaterThan(0);
    expect(split(Buffer.from('this is a film: '.repeat(1000)), 999)).toMatchObject({ found: [], frames: 0 });
  });

  test('that is hostile gives nothing but what lies between a start and an end', () => {
    let seed = 7;
    const random = () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed / 2_147_483_648;
    };
    for (let round = 0; round < 200; round++) {
      const stream = Buffer.concat([crafted, crafted, crafted]);
      for (let i = 0; i < 6; i++) stream[Math.floor(random() * stream.length)] = Math.floor(random() * 256);
      for (const picture of split(stream, 1 + Math.floor(random() * 40)).found) {
        expect(picture).toMatch(/^ffd8ff.*ffd9$/);
      }
    }
  });
});
