import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { sniff } from './index.ts';
import { blackPng, picture } from './pictures.testing.ts';

it('names what the first bytes say', async () => {
  const cases: [Uint8Array, string][] = [
    [await picture(4, 4).jpeg().toBuffer(), 'image/jpeg'],
    [blackPng(4, 4), 'image/png'],
    [await picture(4, 4).webp().toBuffer(), 'image/webp'],
    [await picture(4, 4).gif().toBuffer(), 'image/gif'],
    [await picture(4, 4).tiff().toBuffer(), 'image/tiff'],
    [Buffer.from('RIFF\x24\0\0\0WAVEfmt '), 'audio/wav'],
    [Buffer.from(' {"a": 1}'), 'application/json'],
    [Buffer.from('<?xml version="1.0"?><svg width="1"/>'), 'image/svg+xml'],
    [Buffer.from('Grüß Gott\n'), 'text/plain'],
    [gzipSync('x'), 'application/gzip'],
    [zstdCompressSync('x'), 'application/zstd'],
    [Buffer.from('PK\x03\x04\x14\0'), 'application/zip'],
    [Buffer.from('BZh91AY&SY\0', 'latin1'), 'application/x-bzip2'],
    [Buffer.from('BZh9,x,y\n1,2,3'), 'text/plain'],
    [Buffer.from('fd377a585a0000', 'hex'), 'application/x-xz'],
    [Buffer.from('%PDF-1.7'), 'application/pdf'],
    [Buffer.from('OggS\0'), 'audio/ogg'],
    [Buffer.from('\0\0\0\x18ftypheic'), 'image/heic'],
    [Buffer.from('\0\0\0\x18ftypavif'), 'image/avif'],
    [Buffer.from('\0\0\0\x18ftypisom'), 'video/mp4'],
    [bitmap(), 'image/bmp'],
    [Buffer.from('BM,1\n'.repeat(9)), 'text/plain'],
    [Buffer.alloc(10), 'application/octet-stream'],
    [Buffer.alloc(0), 'application/octet-stream'],
    [Buffer.from([0xff, 0xd8]), 'application/octet-stream'],
  ];
  for (const [bytes, type] of cases) expect(sniff(bytes)).toBe(type);
});

function bitmap(): Buffer {
  const bytes = Buffer.alloc(58);
  bytes.write('BM');
  bytes.writeUInt32LE(bytes.length, 2);
  return bytes;
}
