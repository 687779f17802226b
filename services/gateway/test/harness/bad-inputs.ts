import { deflateSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { jpeg, png, pngWith } from './pictures.ts';

/**
 * What somebody could send, and what becomes of it.
 *
 * `refused`: at the entrance, with a dead letter and this code. `dead`: when it is decoded, every unit ends as `dead` with this code
 * (ADR 0005). `decided`: it is a frame like any other.
 */
export interface BadInput {
  readonly title: string;
  readonly stream: 'front' | 'raw' | 'mic' | 'pcm' | 'pump' | 'meter' | 'table' | 'samples' | 'notes';
  readonly payload: () => Buffer;
  readonly contentType?: string;
  readonly fate: 'refused' | 'dead' | 'decided';
  readonly code?: string;
  /** What its words must hold, so that a person knows what to do. */
  readonly says?: RegExp;
  /** Of the decision. */
  readonly quality?: 'bad';
}

const text = (value: string) => () => Buffer.from(value, 'latin1');
const hex = (value: string) => () => Buffer.from(value, 'hex');
const svg = '<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>';

type Rest = Pick<BadInput, 'contentType'>;
const refused = (
  title: string,
  stream: BadInput['stream'],
  payload: () => Buffer,
  code: string,
  says: RegExp,
  rest: Rest = {},
): BadInput => ({ title, stream, payload, fate: 'refused', code, says, ...rest });
const dead = (
  title: string,
  stream: BadInput['stream'],
  payload: () => Buffer,
  code: string,
  says: RegExp,
): BadInput => ({
  ...{ title, stream, payload, fate: 'dead', code, says },
});
const decided = (title: string, stream: BadInput['stream'], payload: () => Buffer): BadInput => ({
  ...{ title, stream, payload, fate: 'decided' },
});

/** Of 8000 Hz, 16 bits, one channel; as long as a window of the model. @param change of the 44 bytes before the samples */
export function wav(samples: Int16Array = tone(), change: (head: Buffer) => void = () => {}): Buffer {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + samples.byteLength, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(8000, 24);
  head.writeUInt32LE(16_000, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(samples.byteLength, 40);
  change(head);
  return Buffer.concat([head, Buffer.from(samples.buffer)]);
}
export const tone = (length = 80) => Int16Array.from({ length }, (_, i) => 9000 * Math.sin(i / 3));

/** Four samples of both channels: one window of the model. */
export const signal = () => Buffer.from(JSON.stringify({ ax: [1, 2, 3, 4], ay: [4, 3, 1, 1] }));

// 8 × 8, four inks (Adobe), made with sharp 0.35.
const cmyk = () =>
  Buffer.from(
    '/9j/7gAOQWRvYmUAZAAAAAAA/9sAQwAUDg8SDw0UEhASFxUUGB4yIR4cHB49LC4kMklATEtHQEZFUFpzYlBVbVZFRmSIZW13e4GCgU5gjZeMfZZzfoF8/8AAFAgACAAIBEMRAE0RAFkRAEsRAP/EABQAAQAAAAAAAAAAAAAAAAAAAAb/xAAUEAEAAAAAAAAAAAAAAAAAAAAA/9oADgRDAE0AWQBLAAA/AGYeJEb/2Q==',
    'base64',
  );

/** Stored lying on its side: EXIF says so. */
function rotated(): Buffer {
  const exif = Buffer.from('45786966000049492a0008000000010012010300010000000600000000000000', 'hex');
  const segment = Buffer.alloc(4);
  segment.writeUInt16BE(0xffe1, 0);
  segment.writeUInt16BE(exif.length + 2, 2);
  const photograph = jpeg();
  return Buffer.concat([photograph.subarray(0, 2), segment, exif, photograph.subarray(2)]);
}

const truncated = (share: number) => () => {
  const photograph = jpeg();
  return photograph.subarray(0, photograph.length * share);
};
const nested = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`;
const keys = (count: number) =>
  JSON.stringify(Object.fromEntries(Array.from({ length: count }, (_, i) => [`k${i}`, 1])));
const floats = (...values: number[]) => Buffer.from(Float32Array.from(values).buffer);

// Numbers are those of the list of bad inputs that the gateway is held against.
export const BAD_INPUTS: readonly BadInput[] = [
  ...(['front', 'raw', 'mic', 'pump', 'notes'] as const).map((stream) =>
    refused(`22. an empty payload (${stream})`, stream, text(''), 'E_EMPTY', /expected the bytes of a frame/),
  ),
  refused(
    '3 MB where 2 are allowed',
    'front',
    () => Buffer.alloc(3_000_000, 1),
    'E_TOO_LARGE',
    /at most 2000000 \(frame_bytes_max\)/,
  ),

  refused(
    '23. a sentence for a picture',
    'front',
    text('hello'),
    'E_IMAGE_TYPE',
    /look like text\/plain; .* JPEG, PNG or WebP/,
  ),
  refused(
    '23. a sentence for a signal',
    'pump',
    text('hello'),
    'E_TYPE',
    /look like text\/plain; expected application\/json/,
  ),
  refused('23. JSON that is none', 'pump', text('{hello'), 'E_DECODE', /JSON of a signal/),
  refused('23. bytes for a signal', 'pump', hex('00ff00ff'), 'E_TYPE', /look like application\/octet-stream; expected/),
  refused('23. bytes for CBOR', 'meter', hex('0102030405'), 'E_TYPE', /expected a signal in JSON, CBOR or CSV/),
  refused('23. another magic for a sound', 'mic', text('RIFX\x24\0\0\0WAVEfmt '), 'E_TYPE', /expected a WAV recording/),

  refused('24. JSON 64 levels deep', 'pump', text(nested(64)), 'E_DEPTH', /more than 8 levels deep at byte 8/),
  refused('24. 1 MB of [', 'pump', () => Buffer.alloc(1_000_000, '['), 'E_DEPTH', /more than 8 levels deep at byte 8/),
  refused(
    '24. CBOR 10,000 levels deep',
    'meter',
    () => Buffer.alloc(10_000, 0x81),
    'E_DEPTH',
    /more than 8 levels deep/,
  ),

  refused(
    '25. __proto__',
    'pump',
    text('{"ax":[1],"ay":[1],"__proto__":{"polluted":1}}'),
    'E_FORBIDDEN_KEY',
    /"__proto__" is not/,
  ),
  refused(
    '25. constructor.prototype',
    'pump',
    text('{"ax":[1],"ay":[1],"constructor":{"prototype":{"polluted":1}}}'),
    'E_FORBIDDEN_KEY',
    /"constructor"/,
  ),
  refused('25. __proto__ in CBOR', 'meter', hex('a1695f5f70726f746f5f5f8101'), 'E_FORBIDDEN_KEY', /"__proto__"/),

  refused('26. NaN, which JSON does not have', 'pump', text('{"ax":[NaN],"ay":[1]}'), 'E_DECODE', /JSON of a signal/),
  refused(
    '26. 1e400',
    'pump',
    text('{"ax":[1e400],"ay":[1]}'),
    'E_NUMBER',
    /"ax"\[0\] is Infinity; expected a finite float32/,
  ),
  refused(
    '26. 1e39, too large for a float32',
    'pump',
    text('{"ax":[1],"ay":[1e39]}'),
    'E_NUMBER',
    /"ay"\[0\] is 1e\+39/,
  ),
  refused('26. Infinity in CBOR', 'meter', hex('a262617881f97c006261798101'), 'E_NUMBER', /"ax"\[0\] is Infinity/),
  refused('26. nan in CSV', 'table', text('ax,ay\n1,nan\n'), 'E_NUMBER', /"nan" in line 2, column 2/),
  refused('26. NaN in raw samples', 'samples', () => floats(1, Number.NaN), 'E_NUMBER', /NaN at byte 4/),
  // The list says E_NUMBER; −0 is a number like any other, and 0 for every model.
  decided('26. −0', 'pump', text('{"ax":[-0,-0,1,2],"ay":[-0.0,1,2,3]}')),

  refused('28. 10,000 keys', 'pump', text(keys(10_000)), 'E_SHAPE', /10000 keys; expected at most 1024/),
  refused(
    '28. a key of 1 MB',
    'pump',
    () => Buffer.from(JSON.stringify({ ['k'.repeat(1e6)]: 1 })),
    'E_SHAPE',
    /a key of 1000000/,
  ),
  refused('28. half a character', 'pump', text('{"\\ud800":1,"ax":[1],"ay":[1]}'), 'E_SHAPE', /well-formed/),
  refused('a channel that is missing', 'pump', text('{"ax":[1]}'), 'E_SHAPE', /no "ay"; found "ax"/),
  refused(
    'channels of unequal length',
    'pump',
    text('{"ax":[1,2],"ay":[1]}'),
    'E_SHAPE',
    /"ay" has 1 samples; expected 2/,
  ),

  // Brink knows one clock, the gateway's: what a device says of its time is left out.
  decided('29. a time of 1970', 'pump', text('{"ts":0,"ax":[1,2,3,4],"ay":[1,2,3,4]}')),
  decided('29. a time of 2106', 'pump', text('{"ts":4294967296000,"ax":[1,2,3,4],"ay":[1,2,3,4]}')),

  // The list unpacks one layer of gzip; nothing is unpacked here, so that no bomb is one.
  refused(
    '30. a gzip bomb',
    'pump',
    () => gzipSync(Buffer.alloc(8 << 20)),
    'E_ENCODING',
    /application\/gzip; .* without compression/,
  ),
  refused('31. gzip in gzip', 'front', () => gzipSync(gzipSync('x')), 'E_ENCODING', /application\/gzip/),
  refused('31. zstd', 'meter', () => zstdCompressSync('x'), 'E_ENCODING', /application\/zstd/),
  refused('31. zip', 'mic', text('PK\x03\x04\x14\0\0\0\x08\0'), 'E_ENCODING', /application\/zip/),
  refused('31. brotli by its content type', 'pump', hex('8b0080'), 'E_ENCODING', /"application\/x-brotli"/, {
    contentType: 'application/x-brotli',
  }),
  refused('32. protobuf by its content type', 'meter', hex('0affffffff07'), 'E_ENCODING', /"application\/x-protobuf"/, {
    contentType: 'application/x-protobuf',
  }),
  refused(
    '32. protobuf of a length of 2^31',
    'meter',
    hex('0affffffff07'),
    'E_TYPE',
    /expected a signal in JSON, CBOR or CSV/,
  ),
  refused(
    '32. 10,000 groups of protobuf',
    'pump',
    () => Buffer.alloc(10_000, 0x0b),
    'E_TYPE',
    /expected application\/json/,
  ),
  refused(
    '32. 1,000,000 empty repeats',
    'pump',
    () => Buffer.alloc(1_000_000, '\x0a\x00', 'latin1'),
    'E_TYPE',
    /expected application\/json/,
  ),
  refused(
    'a content type that the bytes are not',
    'front',
    jpeg,
    'E_TYPE',
    /says image\/png, and the bytes are image\/jpeg/,
    { contentType: 'image/png' },
  ),
  refused('a content type that the stream does not take', 'mic', jpeg, 'E_TYPE', /takes audio: audio\/wav/, {
    contentType: 'image/jpeg',
  }),

  dead('35. a PNG of 16,000 × 16,000', 'front', () => png(16_000, 16_000, [0, 0, 0], 1), 'E_IMAGE_PIXELS', /16000/),
  dead('36. a PNG of 17,000 × 17,000', 'front', () => png(17_000, 17_000, [0, 0, 0], 1), 'E_IMAGE_PIXELS', /17000/),
  refused('37. an SVG that wants a file', 'front', text(svg), 'E_IMAGE_TYPE', /image\/svg\+xml/),
  refused('38. a GIF', 'front', text('GIF89a\x01\0\x01\0\0\0\0;'), 'E_IMAGE_TYPE', /image\/gif/),
  refused('38. a TIFF', 'front', hex('49492a0008000000'), 'E_IMAGE_TYPE', /image\/tiff/),
  refused('38. a VIPS image', 'front', hex('08f2a6b600000100'), 'E_IMAGE_TYPE', /takes JPEG, PNG or WebP/),
  refused('38. a HEIC, as phones take them', 'front', text('\0\0\0\x18ftypheic'), 'E_IMAGE_TYPE', /image\/heic/),
  ...[0.3, 0.6, 0.95].map((share) =>
    dead(`39. a JPEG cut off at ${share * 100} %`, 'front', truncated(share), 'E_IMAGE_CORRUPT', /./),
  ),
  decided('41. 1 × 1', 'front', () => png(1, 1)),
  decided('41. 65,500 × 1', 'front', () => png(65_500, 1)),
  decided('41. CMYK', 'front', cmyk),
  decided('41. 16 bits a channel', 'front', () => png(8, 8, [1, 2, 3], 16)),
  decided('41. rotated by EXIF', 'front', rotated),
  decided('41. a colour profile of 16 MB in 16 KB', 'front', () =>
    pngWith('iCCP', Buffer.concat([Buffer.from('x\0\0'), deflateSync(Buffer.alloc(16 << 20))])),
  ),
  dead('42. a tensor a byte short', 'raw', () => Buffer.alloc(47), 'E_SHAPE', /47 bytes.*48/),
  dead('42. a tensor of a picture', 'raw', jpeg, 'E_SHAPE', /48/),
  { ...decided('43. nothing but silence', 'mic', () => wav(new Int16Array(80))), quality: 'bad' },
  // The list decides about NaN, as bad; no number that is none reaches a model here.
  refused(
    '43. NaN in a WAV of floats',
    'mic',
    () => wavOfFloats(1, Number.NaN),
    'E_NUMBER',
    /sample at byte 48 is NaN/,
  ),

  refused(
    'a WAV of 0 channels',
    'mic',
    () => wav(tone(), (head) => head.writeUInt16LE(0, 22)),
    'E_DECODE',
    /0 channels .* expected 1\.\.64/,
  ),
  refused('a WAV at 0 Hz', 'mic', () => wav(tone(), (head) => head.writeUInt32LE(0, 24)), 'E_DECODE', /a rate of 0 Hz/),
  refused(
    'a WAV of 4 GB',
    'mic',
    () => wav(tone(), (head) => head.writeUInt32LE(0xfffffffe, 40)),
    'E_DECODE',
    /"data" .* says 4294967294 bytes, but 160 follow/,
  ),
  refused(
    'a WAV whose format goes on for ever',
    'mic',
    () => wav(tone(), (head) => head.writeUInt32LE(0x7fffffff, 16)),
    'E_DECODE',
    /"fmt " .* says 2147483647/,
  ),
  refused('a WAV without samples', 'mic', () => wav(new Int16Array(0)), 'E_SHAPE', /without a sample/),
  refused(
    'a WAV of half a sample',
    'mic',
    () => wav(tone(), (head) => head.writeUInt16LE(3, 32)),
    'E_DECODE',
    /3 bytes per sample/,
  ),
  refused(
    'a WAV in MP3',
    'mic',
    () => wav(tone(), (head) => head.writeUInt16LE(0x55, 20)),
    'E_DECODE',
    /format 85 .* expected PCM/,
  ),
  refused(
    'raw samples of half a sample',
    'pcm',
    () => Buffer.alloc(161),
    'E_SHAPE',
    /161 bytes; expected a multiple of 2/,
  ),

  refused('CBOR without an end', 'meter', hex('9f01'), 'E_DECODE', /byte 2/),
  refused(
    'CBOR of 2^32 numbers',
    'meter',
    hex('9b0000000100000000'),
    'E_DECODE',
    /4294967296 elements are said to follow/,
  ),
  refused('CBOR of a text of 2^63 bytes', 'meter', hex('a17b7fffffffffffffff'), 'E_DECODE', /bytes expected/),
  refused('CBOR with a text in pieces', 'meter', hex('a17f61616162ff01'), 'E_DECODE', /in pieces/),
  refused(
    'CBOR with a big number for a sample',
    'meter',
    hex('a262617881c2490100000000000000006261798101'),
    'E_DECODE',
    /expected a number/,
  ),
  refused(
    'CBOR with packed numbers that do not fit',
    'meter',
    hex('a2626178d85543000000626179d85540'),
    'E_DECODE',
    /multiple of 4 bytes/,
  ),
  refused('CBOR with the same key twice', 'meter', hex('a262617881016261788102'), 'E_DECODE', /there twice/),

  refused('CSV of a word', 'table', text('ax,ay\n1,x\n'), 'E_DECODE', /"x" in line 2, column 2/),
  refused('CSV with a line too short', 'table', text('ax,ay\n1\n'), 'E_SHAPE', /line 2 has 1 columns; expected 2/),
  refused(
    'CSV of 10,000 columns',
    'table',
    () => Buffer.from(`${'1,'.repeat(9999)}1\n`),
    'E_SHAPE',
    /10000 columns; expected at most 1024/,
  ),
  refused(
    'CSV without the column',
    'table',
    text('ax,az\n1,2\n'),
    'E_SHAPE',
    /no single column "ay"; found "ax", "az"/,
  ),

  refused('a picture for a text', 'notes', jpeg, 'E_TYPE', /look like image\/jpeg; .* takes text in UTF-8/),
  refused('a text in Latin-1', 'notes', text('T\xfcr auf'), 'E_TYPE', /octet-stream; .* takes text in UTF-8/),
  refused('a text that ends in Latin-1', 'notes', text(`${'x'.repeat(600)}\xfc.`), 'E_DECODE', /not UTF-8/),
  refused('28. half a character in a text', 'notes', hex('61eda08061'), 'E_TYPE', /takes text in UTF-8/),
  refused('33. escapes of a terminal in a text', 'notes', text('\x1b[2Jdoor'), 'E_TYPE', /takes text in UTF-8/),
  refused('a text of 20 KB', 'notes', text('door '.repeat(4000)), 'E_TOO_LARGE', /20000 bytes .* at most 16384/),
  decided('a text of 16 KB without a space', 'notes', text('x'.repeat(16_384))),
  decided('a text of nothing but spaces', 'notes', text('   ')),
];

function wavOfFloats(...values: number[]): Buffer {
  const whole = wav(new Int16Array(0), (head) => {
    head.writeUInt16LE(3, 20);
    head.writeUInt32LE(32_000, 28);
    head.writeUInt16LE(4, 32);
    head.writeUInt16LE(32, 34);
    head.writeUInt32LE(values.length * 4, 40);
  });
  return Buffer.concat([whole, floats(...values)]);
}
