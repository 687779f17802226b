import { crc32, deflateSync, gzipSync } from 'node:zlib';
import { signal, tone, wav } from './bad-inputs.ts';
import { png } from './pictures.ts';

/** One input made by chance: where it goes, and what it is. */
export interface Mutant {
  readonly stream: string;
  readonly payload: Buffer;
  /** Behind the stream's name in the topic. */
  readonly id?: string;
}

type Random = () => number;

/** mulberry32: the same inputs for the same seed. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const below = (random: Random, n: number) => Math.floor(random() * n);
const pick = <T>(random: Random, list: readonly T[]): T => list[below(random, list.length)] as T;

// 24 × 24, made with sharp 0.35 of a pattern: quality 30; progressive, quality 20; WebP, quality 20; 8 × 8 WebP without loss.
const PICTURES = [
  '/9j/2wBDABsSFBcUERsXFhceHBsgKEIrKCUlKFE6PTBCYFVlZF9VXVtqeJmBanGQc1tdhbWGkJ6jq62rZ4C8ybqmx5moq6T/2wBDARweHigjKE4rK06kbl1upKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKSkpKT/wAARCAAYABgDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAAED/8QAKRAAAQMDAgUDBQAAAAAAAAAAAQIDBAARYSFRBRIxQnETQfAjMjOx0f/EABYBAQEBAAAAAAAAAAAAAAAAAAEAAv/EABwRAQABBAMAAAAAAAAAAAAAAAABAhEhQRJhof/aAAwDAQACEQMRAD8ARY7MKP68g8qBpknYZrNKXeJSQ64LIGiEDokf3NUlzikhKygobSLIRe9s+a1lSfQvCifltZbiezAz+vPSSTX0pSYMX7jo6sduBnf5ZVZZa4fFL7qemiU+6jsKUY21Ty1PpMeVFAiRT9Yi61jsG3mkaO1CjmRIJCRsLlR2GaUppm8XZ6ZNpe4jIDro5UjRCB0SPnvSlKYwH//Z',
  '/9j/2wBDACgcHiMeGSgjISMtKygwPGRBPDc3PHtYXUlkkYCZlo+AjIqgtObDoKrarYqMyP/L2u71////m8H////6/+b9//j/2wBDASstLTw1PHZBQXb4pYyl+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj4+Pj/wgARCAAYABgDASIAAhEBAxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAAEC/8QAFQEBAQAAAAAAAAAAAAAAAAAAAAH/2gAMAwEAAhADEAAAAWbQBQyE/8QAGhABAAIDAQAAAAAAAAAAAAAAAQACERIhMv/aAAgBAQABBQICp27ZntXEDUs4ganbv//EABQRAQAAAAAAAAAAAAAAAAAAACD/2gAIAQMBAT8BH//EABQRAQAAAAAAAAAAAAAAAAAAACD/2gAIAQIBAT8BH//EABkQAAIDAQAAAAAAAAAAAAAAAAERABASMf/aAAgBAQAGPwJmsisiOIdjNf/EAB0QAAICAwADAAAAAAAAAAAAAAABEUEhMVFhgaH/2gAIAQEAAT8hqAbL1SMFtsyhxCWkec2+CJx9OfBQCUl+lw//2gAMAwEAAgADAAAAEFPYA//EABgRAAIDAAAAAAAAAAAAAAAAAAABEBFB/9oACAEDAQE/EBXk/wD/xAAWEQEBAQAAAAAAAAAAAAAAAAABECH/2gAIAQIBAT8Qg5P/xAAeEAEAAgICAwEAAAAAAAAAAAABADERQSFhUXGh0f/aAAgBAQABPxDO3A+viBgeBwGiCK9wWuiK8osk5vTH4O4nOqNrExvUafsW1ni1gA8B6BP/2Q==',
  'UklGRtgAAABXRUJQVlA4IMwAAADQBgCdASoYABgAPzmAu1OvJ6YisBgMAeAnCWYAwPdTLbbGHp5lfwD9JQrQYcD2Uz45RXxij4DUhXLEeF6pIgAA/qwB5LP+Mto9ij3bKUcS5xybTK5ccFcIX+ShLKhFTxtrARYRY/7gXW7syiqlrmqQU0QHNXYpdprpcrjfF5Y5bO1wtnJwVijcA14YA/3cjwcgiUQ5ngqhSPleqVETQPSEv8P33V8Z+IjmB3NrNHiOVdJmNH0tOuO+U5284Vl82elCM7Ygsm7GKbKAAAA=',
  'UklGRlQAAABXRUJQVlA4TEgAAAAvB8ABAM11IaL/sYuI/gfMBExymmAFSG8BEoJmINK2qYH7Fzp0RqRtUzZ0/0JvIMgmbdLNfjIPegtg8mRyKUwVMB+by6CYywA=',
].map((base64) => Buffer.from(base64, 'base64'));
/** Numbers at which readers go wrong. */
const EDGES = [
  0, 1, 2, 7, 0x7f, 0x80, 0xff, 0x100, 0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff,
];

/** 1 to 8 changes that know nothing of what they change. */
function damaged(bytes: Buffer, random: Random): Buffer {
  let out = Buffer.from(bytes);
  for (let left = 1 + below(random, 8); left > 0 && out.length > 0; left--) {
    const at = below(random, out.length);
    const kind = below(random, 6);
    if (kind < 3) out[at] = below(random, 256);
    else if (kind === 3) out = out.subarray(0, at);
    else if (kind === 4) out = Buffer.concat([out.subarray(0, at), out.subarray(at, at + 32), out.subarray(at)]);
    else out = Buffer.concat([out.subarray(0, at), out.subarray(at + 1 + below(random, 16))]);
  }
  return out;
}

/** Pieces in another order, twice, not at all, or damaged. */
function shuffled(pieces: readonly Buffer[], random: Random): Buffer {
  const out = [...pieces];
  for (let left = 1 + below(random, 3); left > 0; left--) {
    const [at, to] = [below(random, out.length), below(random, out.length)];
    const one = out[at];
    if (one === undefined) continue;
    const kind = below(random, 4);
    if (kind === 0) out.splice(at, 1);
    else if (kind === 1) out.splice(to, 0, one);
    else if (kind === 2) out[at] = damaged(one, random);
    else [out[at], out[to]] = [out[to] ?? one, one];
  }
  return Buffer.concat(out);
}

/** The segments of a JPEG up to its scan, and the scan. */
function jpegSegments(bytes: Buffer): Buffer[] {
  const pieces = [bytes.subarray(0, 2)];
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at + 1] !== 0xda) {
    const end = at + 2 + bytes.readUInt16BE(at + 2);
    pieces.push(bytes.subarray(at, end));
    at = end;
  }
  return [...pieces, bytes.subarray(at)];
}

function jpegMutant(random: Random): Buffer {
  const bytes = Buffer.from(pick(random, PICTURES.slice(0, 2)));
  const frame = jpegSegments(bytes).find((segment) => segment[1] === 0xc0 || segment[1] === 0xc2);
  const kind = below(random, 4);
  if (frame !== undefined && kind === 0) frame.writeUInt16BE(pick(random, EDGES) & 0xffff, pick(random, [5, 7]));
  if (frame !== undefined && kind === 1) frame[pick(random, [4, 9, 10, 11, 12])] = below(random, 256);
  return kind === 2 ? shuffled(jpegSegments(bytes), random) : damaged(bytes, random);
}

/** Chunks with right checksums around wrong contents: what a damaged byte alone never gets past. */
function pngMutant(random: Random): Buffer {
  const bytes = png(1 + below(random, 16), 1 + below(random, 16));
  const chunks: Buffer[] = [];
  for (let at = 8; at < bytes.length; ) {
    const end = at + 12 + bytes.readUInt32BE(at);
    chunks.push(bytes.subarray(at, end));
    at = end;
  }
  const header = chunks[0] as Buffer;
  if (random() < 0.3) header.writeUInt32BE(pick(random, EDGES), pick(random, [8, 12]));
  if (random() < 0.3) header[16 + below(random, 5)] = below(random, 20);
  header.writeUInt32BE(crc32(header.subarray(4, -4)), header.length - 4);
  const whole = Buffer.concat([bytes.subarray(0, 8), shuffled(chunks, random)]);
  return random() < 0.5 ? whole : damaged(whole, random);
}

function wavMutant(random: Random): Buffer {
  const bytes = wav(tone(below(random, 200)), (head) => {
    for (let left = below(random, 3); left > 0; left--) {
      const at = pick(random, [4, 16, 20, 22, 24, 28, 32, 34, 40]);
      if (at === 4 || at === 16 || at === 24 || at === 28 || at === 40) head.writeUInt32LE(pick(random, EDGES), at);
      else head.writeUInt16LE(pick(random, [...EDGES.slice(0, 11), 3, 8, 16, 24, 32, 64, 0xfffe]), at);
    }
  });
  return random() < 0.5 ? bytes : damaged(bytes, random);
}

const ATOMS = [
  '0',
  '-0',
  '1',
  '-1.5',
  '1e39',
  '1e400',
  '5e-324',
  'null',
  'true',
  '""',
  '"\\ud800"',
  '"x"',
  'NaN',
  '01',
  '"\\u0000"',
];
const KEYS = [
  'ax',
  'ay',
  'rate_hz',
  '__proto__',
  'constructor',
  'prototype',
  '',
  'a.b',
  '\\ud800',
  'ax ',
  'length',
  'toString',
];

/** JSON by its grammar, mostly. */
function json(random: Random, depth = 0): string {
  const kind = depth > 9 ? 0 : below(random, 5);
  if (kind < 2) return pick(random, ATOMS);
  const inner = Array.from({ length: below(random, 5) }, () => json(random, depth + 1));
  if (kind === 2) return `[${inner.join(',')}]`;
  return `{${inner.map((value) => `"${pick(random, KEYS)}":${value}`).join(',')}}`;
}

function jsonMutant(random: Random): Buffer {
  const kind = below(random, 4);
  if (kind === 0) return Buffer.from(json(random));
  const list = () => `[${Array.from({ length: below(random, 6) }, () => pick(random, ATOMS.slice(0, 8))).join(',')}]`;
  if (kind === 1) return Buffer.from(`{"ax":${list()},"ay":${list()},"${pick(random, KEYS)}":${json(random, 6)}}`);
  return damaged(kind === 2 ? signal() : Buffer.from(json(random)), random);
}

function head(major: number, value: number): Buffer {
  if (value < 24) return Buffer.from([(major << 5) | value]);
  const out = Buffer.alloc(5);
  out[0] = (major << 5) | 26;
  out.writeUInt32BE(value, 1);
  return out;
}
const text = (value: string) => Buffer.concat([head(3, value.length), Buffer.from(value, 'latin1')]);

const SIMPLE = ['f6', 'f97c00', 'fa7f800000', 'fb7ff8000000000000', 'ff', 'f4', 'fa3f800000'].map((hex) =>
  Buffer.from(hex, 'hex'),
);

/** CBOR: heads that promise anything, with or without what they promise. */
function cborItem(random: Random, depth: number): Buffer {
  const major = depth > 10 ? below(random, 2) : below(random, 8);
  const said = random() < 0.1 ? pick(random, EDGES) : below(random, 5);
  const items = (count: number) => Array.from({ length: Math.min(said, count) }, () => cborItem(random, depth + 1));
  switch (major) {
    case 2:
    case 3:
      return Buffer.concat([head(major, said), Buffer.alloc(Math.min(said, 8), 'a')]);
    case 4:
      return Buffer.concat([head(4, said), ...items(5)]);
    case 5:
      return Buffer.concat([head(5, said), ...items(4).flatMap((item) => [text(pick(random, KEYS)), item])]);
    case 6:
      return Buffer.concat([head(6, 64 + below(random, 30)), cborItem(random, depth + 1)]);
    case 7:
      return pick(random, SIMPLE);
    default:
      return head(major, said);
  }
}

function cborMutant(random: Random): Buffer {
  const map = () => [head(5, 2), text('ax'), cborItem(random, 1), text('ay'), cborItem(random, 1)];
  const out = random() < 0.6 ? Buffer.concat(map()) : cborItem(random, 0);
  return random() < 0.7 ? out : damaged(out, random);
}

function csvMutant(random: Random): Buffer {
  const cells = ['1', '-2.5', '1e39', 'nan', 'inf', '', 'x', '"1"', ' 3 ', '1,5', '0x10', '１'];
  const separator = pick(random, [',', ';', '\t']);
  const line = (count: number) =>
    Array.from({ length: count }, () => pick(random, cells.slice(0, random() < 0.5 ? 2 : 12))).join(separator);
  const columns = random() < 0.8 ? 2 : below(random, 5);
  const lines = Array.from({ length: below(random, 8) }, () => line(random() < 0.9 ? columns : below(random, 5)));
  if (random() < 0.5) lines.unshift(pick(random, ['ax,ay', 'ay;ax', 'ax', '"ax","ay"', 'ax\tay\taz', '\ufeffax,ay']));
  const whole = Buffer.from(lines.join(pick(random, ['\n', '\r\n', '\r'])));
  return random() < 0.8 ? whole : damaged(whole, random);
}

const WORDS = [
  'open',
  'the',
  'door',
  'Tür',
  '門',
  '👩‍🚒',
  'e\u0301',
  '\u0000',
  '\ufeff',
  '\u202e',
  '[PAD]',
  '"',
  '\n',
  'x'.repeat(300),
];

function textMutant(random: Random): Buffer {
  const words = Array.from({ length: below(random, 12) }, () => pick(random, WORDS));
  const whole = Buffer.from(words.join(pick(random, [' ', '', '\t'])));
  return random() < 0.5 ? whole : damaged(whole, random);
}

const noise = (random: Random, length: number) => Buffer.from(Array.from({ length }, () => below(random, 256)));

/** By stream, what is sent to it. */
const GRAMMARS: readonly (readonly [stream: string, make: (random: Random) => Buffer])[] = [
  ['front', jpegMutant],
  ['front', pngMutant],
  ['front', (random) => damaged(pick(random, PICTURES.slice(2)), random)],
  ['mic', wavMutant],
  ['pump', jsonMutant],
  ['notes', textMutant],
  ['meter', cborMutant],
  ['table', csvMutant],
  ['samples', (random) => noise(random, pick(random, [0, 1, 7, 8, 16, 32, 80]))],
  ['pcm', (random) => noise(random, pick(random, [0, 1, 2, 160, 161]))],
  ['raw', (random) => noise(random, pick(random, [0, 47, 48, 49, 96]))],
];

/** @param i counts up: every grammar has its turn, and a tenth goes where another kind belongs */
export function mutant(random: Random, i: number): Mutant {
  const [own, make] = GRAMMARS[i % GRAMMARS.length] as (typeof GRAMMARS)[number];
  const stream = random() < 0.1 ? pick(random, GRAMMARS)[0] : own;
  const bytes = make(random);
  const kind = below(random, 50);
  const payload = kind === 0 ? gzipSync(bytes) : kind === 1 ? deflateSync(bytes) : bytes;
  const id = kind === 2 ? pick(random, ['k3v9-0', 'k3v9-x', '-', 'K3V9-1', 'k3v9-9007199254740993']) : undefined;
  const place = random() < 0.25 ? `${stream}-kept` : stream;
  return id === undefined ? { stream: place, payload } : { stream: place, payload, id };
}
