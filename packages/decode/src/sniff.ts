/** What the first bytes say. The first three are the pictures that Brink decodes; most of the others only name what was found. */
export type SniffedType =
  | 'image/jpeg'
  | 'image/png'
  | 'image/webp'
  | 'image/gif'
  | 'image/tiff'
  | 'image/bmp'
  | 'image/heic'
  | 'image/avif'
  | 'image/svg+xml'
  | 'video/mp4'
  | 'audio/wav'
  | 'audio/ogg'
  | 'audio/flac'
  | 'audio/mpeg'
  | 'application/pdf'
  | Envelope
  | 'application/json'
  | 'text/plain'
  | 'application/octet-stream';

/** Compressed or packed: what is in it is not looked at. */
export type Envelope =
  | 'application/gzip'
  | 'application/zstd'
  | 'application/zip'
  | 'application/x-bzip2'
  | 'application/x-xz';

const ENVELOPES: ReadonlySet<string> = new Set<Envelope>([
  'application/gzip',
  'application/zstd',
  'application/zip',
  'application/x-bzip2',
  'application/x-xz',
]);

const TEXT_PROBE_BYTES = 512;

/** Names the type of a payload by its signature. Looks at no more than 512 bytes; never throws. */
export function sniff(bytes: Uint8Array): SniffedType {
  if (starts(bytes, [0xff, 0xd8, 0xff])) return 'image/jpeg';
  if (starts(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return 'image/png';
  if (ascii(bytes, 0, 'RIFF') && ascii(bytes, 8, 'WEBP')) return 'image/webp';
  if (ascii(bytes, 0, 'RIFF') && ascii(bytes, 8, 'WAVE')) return 'audio/wav';
  if (ascii(bytes, 0, 'GIF8')) return 'image/gif';
  if (starts(bytes, [0x49, 0x49, 0x2a, 0x00]) || starts(bytes, [0x4d, 0x4d, 0x00, 0x2a])) return 'image/tiff';
  return sniffOthers(bytes) ?? sniffText(bytes);
}

/** @returns true where the type is compressed or packed */
export function isEnvelope(type: string): type is Envelope {
  return ENVELOPES.has(type);
}

/** @returns true where `decodePicture` takes this type */
export function isPicture(type: SniffedType): type is 'image/jpeg' | 'image/png' | 'image/webp' {
  return type === 'image/jpeg' || type === 'image/png' || type === 'image/webp';
}

/** Signatures of the formats' own specifications; long enough that hardly a text or a signal begins so by chance. */
const SIGNATURES: readonly (readonly [SniffedType, readonly number[]])[] = [
  ['application/gzip', [0x1f, 0x8b, 0x08]],
  ['application/zstd', [0x28, 0xb5, 0x2f, 0xfd]],
  ['application/zip', [0x50, 0x4b, 0x03, 0x04]],
  ['application/x-bzip2', [0x42, 0x5a, 0x68]],
  ['application/x-xz', [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]],
  ['application/pdf', [0x25, 0x50, 0x44, 0x46, 0x2d]],
  ['audio/ogg', [0x4f, 0x67, 0x67, 0x53]],
  ['audio/flac', [0x66, 0x4c, 0x61, 0x43]],
  ['audio/mpeg', [0x49, 0x44, 0x33, 0x03]],
  ['audio/mpeg', [0x49, 0x44, 0x33, 0x04]],
];
/** The magic number of a bzip2 block: the first three bytes alone are letters. */
const BZIP2_BLOCK = [0x31, 0x41, 0x59, 0x26, 0x53, 0x59];

function sniffOthers(bytes: Uint8Array): SniffedType | undefined {
  if (ascii(bytes, 4, 'ftyp')) return brandOf(bytes);
  // A bitmap says its own length.
  if (
    ascii(bytes, 0, 'BM') &&
    bytes.length > 26 &&
    new DataView(bytes.buffer, bytes.byteOffset).getUint32(2, true) === bytes.length
  )
    return 'image/bmp';
  const type = SIGNATURES.find(([, signature]) => starts(bytes, signature))?.[0];
  if (type === 'application/x-bzip2' && !starts(bytes.subarray(4), BZIP2_BLOCK)) return undefined;
  return type;
}

/** ISO base media: pictures of phones, and films. */
function brandOf(bytes: Uint8Array): SniffedType {
  if (ascii(bytes, 8, 'avif')) return 'image/avif';
  return ['heic', 'heix', 'mif1', 'msf1'].some((brand) => ascii(bytes, 8, brand)) ? 'image/heic' : 'video/mp4';
}

function sniffText(bytes: Uint8Array): SniffedType {
  const head = bytes.subarray(0, TEXT_PROBE_BYTES);
  if (head.length === 0 || !head.every(printable)) return 'application/octet-stream';
  const text = utf8(head)?.trimStart();
  if (text === undefined) return 'application/octet-stream';
  if (/<svg[\s>]/i.test(text)) return 'image/svg+xml';
  if (/^[{[]/.test(text)) return 'application/json';
  return 'text/plain';
}

// Bytes from 0x80 up are left to UTF-8; of the control characters only tab, line feed and carriage return are text.
const printable = (byte: number) => (byte >= 0x20 ? byte !== 0x7f : byte === 0x09 || byte === 0x0a || byte === 0x0d);

/** @returns undefined where the bytes are not UTF-8; a character cut off at the end is forgiven */
function utf8(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true });
  } catch {
    return undefined;
  }
}

function starts(bytes: Uint8Array, signature: readonly number[]): boolean {
  return bytes.length >= signature.length && signature.every((byte, i) => bytes[i] === byte);
}

function ascii(bytes: Uint8Array, at: number, text: string): boolean {
  if (bytes.length < at + text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text.charCodeAt(i)) return false;
  return true;
}
