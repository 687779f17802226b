// What a JPEG file says beside its picture: EXIF with the place and the owner, a thumbnail from before the mask, comments, XMP,
// and whatever somebody put behind its end.

const SOI = 0xd8;
const EOI = 0xd9;
const SOS = 0xda;
const APP0 = 0xe0;
const APP1 = 0xe1;
const APP2 = 0xe2;
const APP14 = 0xee;
const APP15 = 0xef;
const COM = 0xfe;
const RST0 = 0xd0;
const RST7 = 0xd7;
const SOF2 = 0xc2;
const ADOBE_BYTES = 16;
/** [JFIF 1.02] version, no units, 1 × 1, no thumbnail. */
const JFIF = Buffer.from([0xff, APP0, 0, 16, 0x4a, 0x46, 0x49, 0x46, 0, 1, 2, 0, 0, 1, 0, 1, 0, 0]);

/**
 * The same picture, bit by bit, without metadata: nothing is decoded. [T.81 annex B]
 * @returns undefined where that would not be the same picture (EXIF turns it, a profile colours it, several scans) or the file is not
 * as it should be: then it has to be decoded and compressed again
 */
export function stripJpeg(bytes: Uint8Array): Uint8Array | undefined {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.length < 4 || view.readUInt16BE(0) !== (0xff00 | SOI)) return undefined;
  const parts: Buffer[] = [view.subarray(0, 2)];
  let at = 2;
  while (at + 4 <= view.length && view[at] === 0xff) {
    const marker = view[at + 1] as number;
    const end = at + 2 + view.readUInt16BE(at + 2);
    if (end < at + 4 || end > view.length || marker < 0xc0 || (marker >= RST0 && marker <= EOI)) return undefined;
    const segment = view.subarray(at, end);
    const kept = keptOf(marker, segment);
    if (kept === undefined) return undefined;
    parts.push(kept);
    at = end;
    if (marker !== SOS) continue;
    const over = endOfScan(view, at);
    return over === undefined ? undefined : Buffer.concat([...parts, view.subarray(at, over)]);
  }
  return undefined;
}

const NOTHING = Buffer.alloc(0);

/** @returns what stays of a segment; undefined where the picture would change without it */
function keptOf(marker: number, segment: Buffer): Buffer | undefined {
  const says = (text: string) => segment.subarray(4, 4 + text.length).toString('latin1') === text;
  if (marker === SOF2) return undefined;
  if (marker === COM) return NOTHING;
  if (marker < APP0 || marker > APP15) return segment;
  if (marker === APP0 && says('JFIF\0')) return JFIF;
  // Adobe's says how the colours are meant, and nothing else. [Adobe TN 5116 §18]
  if (marker === APP14 && says('Adobe')) return segment.length === ADOBE_BYTES ? segment : undefined;
  const changes = (marker === APP1 && says('Exif\0') && isTurned(segment)) || (marker === APP2 && says('ICC_PROFILE'));
  return changes ? undefined : NOTHING;
}

/** Looks for the orientation wherever it may stand: an entry that cannot be read counts as one that turns. */
function isTurned(segment: Buffer): boolean {
  const tiff = 10;
  if (segment.length < tiff + 8) return true;
  const order = segment.readUInt16BE(tiff);
  if (order !== 0x4949 && order !== 0x4d4d) return true;
  const u16 = (at: number) => (order === 0x4949 ? segment.readUInt16LE(at) : segment.readUInt16BE(at));
  const u32 = (at: number) => (order === 0x4949 ? segment.readUInt32LE(at) : segment.readUInt32BE(at));
  const ifd = tiff + u32(tiff + 4);
  if (ifd + 2 > segment.length) return true;
  const count = u16(ifd);
  if (ifd + 2 + 12 * count > segment.length) return true;
  for (let at = ifd + 2; at < ifd + 2 + 12 * count; at += 12) {
    if (u16(at) === 0x0112 && u16(at + 8) !== 1) return true;
  }
  return false;
}

/** Where the one scan ends, its EOI included; undefined where another one follows, or none. */
function endOfScan(view: Buffer, from: number): number | undefined {
  for (let at = view.indexOf(0xff, from); at >= 0 && at + 1 < view.length; at = view.indexOf(0xff, at + 1)) {
    const next = view[at + 1] as number;
    if (next === EOI) return at + 2;
    const isData = next === 0 || next === 0xff || (next >= RST0 && next <= RST7);
    if (!isData) return undefined;
  }
  return undefined;
}
