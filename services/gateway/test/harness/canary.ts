import { decodePicture } from '@brink/decode';
import { type Colour, png } from './pictures.ts';

const CANARY: Colour = [255, 0, 255];
const GROUND: Colour = [20, 130, 60];

type Box = readonly [number, number, number, number];

/** A picture of one colour, with the canary in a box that is given as parts of its sides. */
const pngWithCanary = (width: number, height: number, [x0, y0, x1, y1]: Box): Buffer =>
  png(width, height, (x, y) =>
    x >= x0 * width && x < x1 * width && y >= y0 * height && y < y1 * height ? CANARY : GROUND,
  );

export async function jpegWithCanary(width: number, height: number, box: Box): Promise<Buffer> {
  const { kept } = await decodePicture(pngWithCanary(width, height, box), { targets: [], keepQuality: 90 });
  return Buffer.from(kept as Uint8Array);
}

/** How much of the canary's colour a pixel has at most, 0..255: red and blue beyond what the ground and black have. */
export function canaryIn(pixels: Uint8Array): number {
  let most = 0;
  for (let i = 0; i + 2 < pixels.length; i += 3) {
    most = Math.max(most, Math.min(pixels[i] as number, pixels[i + 2] as number) - (pixels[i + 1] as number));
  }
  return most;
}

/** What a file shows. */
export async function pictureOf(file: Uint8Array): Promise<{ width: number; height: number; pixels: Uint8Array }> {
  const { width, height } = await decodePicture(file, { targets: [] });
  const target = { width, height, fit: 'stretch', pad: 0, kernel: 'nearest', colour: 'rgb' } as const;
  const { pictures } = await decodePicture(file, { targets: [target] });
  return { width, height, pixels: new Uint8Array(pictures[0]?.pixels ?? []) };
}

/** The JPEG with EXIF, a comment and XMP that hold the text. [EXIF 2.32 §4.5] */
export function withMetadata(jpeg: Buffer, { text, orientation }: { text: string; orientation: number }): Buffer {
  const entry = Buffer.alloc(18);
  entry.writeUInt16BE(1, 0);
  entry.writeUInt16BE(0x0112, 2);
  entry.writeUInt16BE(3, 4);
  entry.writeUInt32BE(1, 6);
  entry.writeUInt16BE(orientation, 10);
  const tiff = Buffer.concat([Buffer.from('Exif\0\0MM\0*\0\0\0\b', 'latin1'), entry, Buffer.from(text)]);
  const xmp = Buffer.from(`http://ns.adobe.com/xap/1.0/\0<x>${text}</x>`);
  return Buffer.concat([
    jpeg.subarray(0, 2),
    segment(0xe1, tiff),
    segment(0xe1, xmp),
    segment(0xfe, Buffer.from(text)),
    jpeg.subarray(2),
  ]);
}

function segment(marker: number, content: Buffer): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0]);
  head.writeUInt16BE(content.length + 2, 2);
  return Buffer.concat([head, content]);
}
