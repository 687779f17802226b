/** What the first bytes say. The first three are the pictures that Brink decodes; the others only name what was found. */
export type SniffedType =
  | 'image/jpeg'
  | 'image/png'
  | 'image/webp'
  | 'image/gif'
  | 'image/tiff'
  | 'image/svg+xml'
  | 'audio/wav'
  | 'application/json'
  | 'text/plain'
  | 'application/octet-stream';

const TEXT_PROBE_BYTES = 512;

/** Names the type of a payload by its signature. Looks at no more than 512 bytes; never throws. */
export function sniff(bytes: Uint8Array): SniffedType {
  if (starts(bytes, [0xff, 0xd8, 0xff])) return 'image/jpeg';
  if (starts(bytes, [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])) return 'image/png';
  if (ascii(bytes, 0, 'RIFF') && ascii(bytes, 8, 'WEBP')) return 'image/webp';
  if (ascii(bytes, 0, 'RIFF') && ascii(bytes, 8, 'WAVE')) return 'audio/wav';
  if (ascii(bytes, 0, 'GIF8')) return 'image/gif';
  if (starts(bytes, [0x49, 0x49, 0x2a, 0x00]) || starts(bytes, [0x4d, 0x4d, 0x00, 0x2a])) return 'image/tiff';
  return sniffText(bytes);
}

/** @returns true where `decodePicture` takes this type */
export function isPicture(type: SniffedType): type is 'image/jpeg' | 'image/png' | 'image/webp' {
  return type === 'image/jpeg' || type === 'image/png' || type === 'image/webp';
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
