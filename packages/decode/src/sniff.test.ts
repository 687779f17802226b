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
    [Buffer.alloc(10), 'application/octet-stream'],
    [Buffer.alloc(0), 'application/octet-stream'],
    [Buffer.from([0xff, 0xd8]), 'application/octet-stream'],
  ];
  for (const [bytes, type] of cases) expect(sniff(bytes)).toBe(type);
});
