import { Readable } from 'node:stream';
import { expect, it } from 'vitest';
import { createBodyReader } from './body.ts';

const stream = (...chunks: number[]) => Readable.from(chunks.map((bytes) => Buffer.alloc(bytes)));

it('holds no more than it may, whoever sends it, and takes more when something is released', async () => {
  const reader = createBodyReader({ bodyBytesMax: 100, heldBytesMax: 150 });
  const first = await reader.read(stream(60, 40), {});
  expect([first.bytes.length, reader.held]).toEqual([100, 100]);
  await expect(reader.read(stream(40, 40), {})).rejects.toMatchObject({ code: 'E_BUSY' });
  expect(reader.held).toBe(100);
  first.release();
  first.release();
  expect(reader.held).toBe(0);
  expect((await reader.read(stream(40, 40), {})).bytes.length).toBe(80);
});

it('refuses what is too long by what is said of it, else as soon as it is', async () => {
  const reader = createBodyReader({ bodyBytesMax: 100, heldBytesMax: 1000 });
  await expect(reader.read(stream(), { 'content-length': '101' })).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
  await expect(reader.read(stream(60, 60), {})).rejects.toMatchObject({ code: 'E_TOO_LARGE' });
  expect(reader.held).toBe(0);
});

it('lets go of what came when the client hangs up in the middle', async () => {
  const reader = createBodyReader({ bodyBytesMax: 100, heldBytesMax: 1000 });
  async function* broken() {
    yield Buffer.alloc(10);
    throw new Error('aborted');
  }
  await expect(reader.read(Readable.from(broken()), {})).rejects.toMatchObject({ code: 'E_CANCELLED' });
  expect(reader.held).toBe(0);
});
