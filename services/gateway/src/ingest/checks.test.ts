import { brotliCompressSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { typeOf } from './checks.ts';

const JPEG = Buffer.from([0xff, 0xd8, 0xff, 0xe0, 1, 2, 3]);
const PNG = Buffer.from('89504e470d0a1a0a00', 'hex');
const WAV = Buffer.from('RIFF\x24\0\0\0WAVEfmt ');
const JSON_TEXT = Buffer.from('{"ax": [1, 2]}');

type Plan = Parameters<typeof typeOf>[0];
const image = { name: 's', format: 'image' } as Plan;
const tensor = { name: 's', format: 'tensor' } as Plan;
const audio = { name: 's', format: 'audio', samples: { encoding: 'wav' } } as unknown as Plan;
const pcm = { name: 's', format: 'audio', samples: { encoding: 's16le' } } as unknown as Plan;
const signal = { name: 's', format: 'signal', samples: { encoding: 'json' } } as unknown as Plan;
const text = { name: 's', format: 'text' } as unknown as Plan;

function typed(plan: Plan, payload: Uint8Array, contentType?: string): string {
  const type = typeOf(plan, { contentType, payload });
  return type instanceof BrinkError ? type.message : type;
}

describe('the type of a frame', () => {
  const cases: [what: string, plan: Plan, payload: Uint8Array, contentType: string | undefined, type: string][] = [
    ['a picture that nothing is said of', image, JPEG, undefined, 'image/jpeg'],
    ['a picture that is what it is said to be', image, PNG, 'image/png', 'image/png'],
    ['a picture with parameters and another spelling', image, JPEG, 'IMAGE/JPG; q=1', 'image/jpeg'],
    ['a picture that is called bytes', image, PNG, 'application/octet-stream', 'image/png'],
    ['a picture as curl posts it when told nothing', image, PNG, 'application/x-www-form-urlencoded', 'image/png'],
    ['a tensor, whatever it looks like', tensor, JPEG, undefined, 'application/octet-stream'],
    ['a tensor that begins as gzip does', tensor, gzipSync('x'), undefined, 'application/octet-stream'],
    ['samples that begin as gzip does', pcm, gzipSync('x'), undefined, 'application/octet-stream'],
    ['a WAV by the encoding of the stream', audio, WAV, undefined, 'audio/wav'],
    ['a WAV by another name', audio, WAV, 'audio/x-wav', 'audio/wav'],
    ['a WAV to a stream of raw samples, by its content type', pcm, WAV, 'audio/wav', 'audio/wav'],
    ['a signal by the encoding of the stream', signal, JSON_TEXT, undefined, 'application/json'],
    ['a signal by its content type', signal, Buffer.from('1,2\n'), 'text/csv; charset=utf-8', 'text/csv'],
    ['a text', text, Buffer.from('The pump is loud'), undefined, 'text/plain'],
  ];
  it.each(cases)('%s', (_, plan, payload, contentType, type) => {
    expect(typed(plan, payload, contentType)).toBe(type);
  });
});

describe('a frame is refused by name', () => {
  const refused: [what: string, plan: Plan, payload: Uint8Array, contentType: string | undefined, said: RegExp][] = [
    [
      '30. gzip',
      image,
      gzipSync(JPEG),
      undefined,
      /^E_ENCODING: the bytes are application\/gzip; .* without compression/,
    ],
    ['a WAV to a stream of bare samples', pcm, WAV, undefined, /^E_TYPE: a WAV recording; .*s16le.* encoding: wav$/],
    ['30. a gzip bomb, which nobody unpacks', signal, gzipSync(Buffer.alloc(4 << 20)), undefined, /^E_ENCODING/],
    ['31. gzip in gzip', signal, gzipSync(gzipSync(JSON_TEXT)), undefined, /^E_ENCODING/],
    ['31. zstd', signal, zstdCompressSync(JSON_TEXT), undefined, /^E_ENCODING: the bytes are application\/zstd/],
    ['31. zip', image, Buffer.from('PK\x03\x04\x14\0'), undefined, /^E_ENCODING: the bytes are application\/zip/],
    ['31. brotli, by its content type', signal, brotliCompressSync(JSON_TEXT), 'application/x-brotli', /^E_ENCODING/],
    ['31. brotli, which has no signature', image, brotliCompressSync(JPEG), undefined, /^E_IMAGE_TYPE/],
    [
      '32. protobuf, by its content type',
      signal,
      Buffer.from('0a0412020801', 'hex'),
      'application/x-protobuf',
      /^E_ENCODING/,
    ],
    [
      'a form with a file in it',
      image,
      Buffer.from('--x\r\n'),
      'multipart/form-data; boundary=x',
      /^E_ENCODING: the content type is "multipart/,
    ],
    [
      'a picture said to be another',
      image,
      JPEG,
      'image/png',
      /^E_TYPE: the content type says image\/png, and the bytes are image\/jpeg/,
    ],
    [
      'a picture of no kind that is decoded',
      image,
      Buffer.from('GIF89a'),
      undefined,
      /^E_IMAGE_TYPE: the bytes look like image\/gif; .* takes JPEG, PNG or WebP/,
    ],
    [
      'a content type that the stream does not take',
      image,
      JPEG,
      'text/plain',
      /^E_TYPE: content type "text\/plain"; .* takes image: image\/jpeg/,
    ],
    ['a content type for a tensor', tensor, JPEG, 'image/jpeg', /^E_TYPE: .* takes tensor: application\/octet-stream/],
    [
      'a picture where a text is expected',
      text,
      JPEG,
      undefined,
      /^E_TYPE: the bytes look like image\/jpeg; .* takes text/,
    ],
  ];
  it.each(refused)('%s', (_, plan, payload, contentType, said) => {
    expect(typed(plan, payload, contentType)).toMatch(said);
  });
});
