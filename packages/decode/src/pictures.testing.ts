import { crc32, deflateSync } from 'node:zlib';
import sharp from 'sharp';

/** A smooth colour picture whose every quarter differs: red left above, green right above, blue left below, grey right below. */
function quarters(width: number, height: number): Uint8Array {
  const pixels = new Uint8Array(width * height * 3);
  const colours = [
    [220, 30, 30],
    [30, 200, 40],
    [30, 40, 210],
    [128, 128, 128],
  ];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const colour = colours[(y * 2 < height ? 0 : 2) + (x * 2 < width ? 0 : 1)] as number[];
      pixels.set(colour, (y * width + x) * 3);
    }
  }
  return pixels;
}

export function picture(width: number, height: number) {
  return sharp(quarters(width, height), { raw: { width, height, channels: 3 } });
}

/** A PNG of one bit per pixel, all black: a few kilobytes, however many pixels it claims and holds. */
export function blackPng(width: number, height: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header[8] = 1;
  const rows = Buffer.alloc((1 + Math.ceil(width / 8)) * height);
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    pngChunk('IHDR', header),
    pngChunk('IDAT', deflateSync(rows)),
    pngChunk('IEND', Buffer.alloc(0)),
  ]);
}

function pngChunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, 'latin1'), data]);
  const frame = Buffer.alloc(8 + body.length);
  frame.writeUInt32BE(data.length, 0);
  body.copy(frame, 4);
  frame.writeUInt32BE(crc32(body), 4 + body.length);
  return frame;
}

/** A small random number generator (mulberry32), so that a failing run can be repeated. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** 1 to 8 random changes: bytes overwritten, cut away, doubled. */
export function mutate(bytes: Uint8Array, random: () => number): Uint8Array {
  let mutant = Buffer.from(bytes);
  const changes = 1 + Math.floor(random() * 8);
  for (let i = 0; i < changes && mutant.length > 4; i++) {
    const at = Math.floor(random() * mutant.length);
    const kind = random();
    if (kind < 0.7) mutant[at] = Math.floor(random() * 256);
    else if (kind < 0.85) mutant = mutant.subarray(0, Math.max(4, at));
    else mutant = Buffer.concat([mutant.subarray(0, at), mutant.subarray(at, at + 64), mutant.subarray(at)]);
  }
  return mutant;
}
