/** A JPEG that asks for nothing special. Sizes in pixels; no EXIF turns it, so they are those of the upright picture. */
export interface PlainJpeg {
  readonly width: number;
  readonly height: number;
  readonly grey: boolean;
}

// Markers. [T.81 table B.1]
const SOF0 = 0xc0;
const SOF15 = 0xcf;
const DHT = 0xc4;
const RST0 = 0xd0;
const EOI = 0xd9;
const SOS = 0xda;
const APP1 = 0xe1;
const APP2 = 0xe2;

interface Segment {
  readonly marker: number;
  readonly content: DataView;
}

/**
 * What the segments before the first scan say, if that is all a plain decoder needs: baseline, 8 bit, grey or three
 * components in one scan, upright, without a colour profile. Looks at no pixel; never throws.
 * @returns undefined for every other JPEG and for every header that is not exactly as it should be
 */
export function readPlainJpeg(bytes: Uint8Array): PlainJpeg | undefined {
  let frame: PlainJpeg | undefined;
  for (const segment of segmentsOf(bytes)) {
    if (segment.marker === SOS) return holdsAll(segment.content, frame) ? frame : undefined;
    if (segment.marker === SOF0 && frame === undefined) {
      frame = frameOf(segment.content);
      if (frame === undefined) return undefined;
    } else if (!isPlain(segment)) return undefined;
  }
  return undefined;
}

/** Ends with the first scan, and where something stands between two segments or one is cut off. */
function* segmentsOf(bytes: Uint8Array): Generator<Segment> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.byteLength < 4 || view.getUint16(0) !== 0xffd8) return;
  let at = 2;
  while (at + 4 <= view.byteLength && view.getUint8(at) === 0xff) {
    const marker = view.getUint8(at + 1);
    const length = view.getUint16(at + 2);
    const standsAlone = marker < SOF0 || (marker >= RST0 && marker <= EOI);
    if (standsAlone || length < 2 || at + 2 + length > view.byteLength) return;
    yield { marker, content: new DataView(bytes.buffer, bytes.byteOffset + at + 4, length - 2) };
    if (marker === SOS) return;
    at += 2 + length;
  }
}

/** Whether it is neither another kind of frame (progressive, arithmetic …) nor something that turns or colours it. */
function isPlain({ marker, content }: Segment): boolean {
  if (marker <= SOF15) return marker === DHT;
  if (marker === APP1 && startsWith(content, 'Exif\0')) return saysUpright(content);
  return !(marker === APP2 && startsWith(content, 'ICC_PROFILE'));
}

/** [T.81 B.2.2] precision, lines, samples per line, components. A height of 0 would come later, in a DNL segment. */
function frameOf(segment: DataView): PlainJpeg | undefined {
  if (segment.byteLength < 6 || segment.getUint8(0) !== 8) return undefined;
  const [height, width, components] = [segment.getUint16(1), segment.getUint16(3), segment.getUint8(5)];
  if (width === 0 || height === 0 || segment.byteLength !== 6 + 3 * components) return undefined;
  return components === 1 || components === 3 ? { width, height, grey: components === 1 } : undefined;
}

function holdsAll(scan: DataView, frame: PlainJpeg | undefined): boolean {
  return frame !== undefined && scan.byteLength > 0 && scan.getUint8(0) === (frame.grey ? 1 : 3);
}

const ORIENTATION = 0x0112;
const SHORT = 3;
const TIFF = 6;

/** [EXIF 2.32 §4.5, TIFF 6.0 §2] true where IFD0 can be read and turns nothing; whatever is odd is false. */
function saysUpright(segment: DataView): boolean {
  if (segment.byteLength < TIFF + 8) return false;
  const order = segment.getUint16(TIFF);
  if (order !== 0x4949 && order !== 0x4d4d) return false;
  const little = order === 0x4949;
  const ifd = TIFF + segment.getUint32(TIFF + 4, little);
  if (segment.getUint16(TIFF + 2, little) !== 42 || ifd + 2 > segment.byteLength) return false;
  const count = segment.getUint16(ifd, little);
  if (ifd + 2 + 12 * count > segment.byteLength) return false;
  for (let at = ifd + 2; at < ifd + 2 + 12 * count; at += 12) {
    if (segment.getUint16(at, little) !== ORIENTATION) continue;
    if (segment.getUint16(at + 2, little) !== SHORT || segment.getUint16(at + 8, little) !== 1) return false;
  }
  return true;
}

function startsWith(segment: DataView, text: string): boolean {
  if (segment.byteLength < text.length) return false;
  for (let i = 0; i < text.length; i++) if (segment.getUint8(i) !== text.charCodeAt(i)) return false;
  return true;
}
