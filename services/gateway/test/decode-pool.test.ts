import { fileURLToPath } from 'node:url';
import type { BrinkError } from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { expect, it } from 'vitest';
import { createDecodePool, type DecodePool } from '../src/decode/pool.ts';
import { jpeg, png } from './harness/pictures.ts';
import { until } from './harness/site.ts';

const FRAGILE = fileURLToPath(new URL('./harness/fragile-child.ts', import.meta.url));
const TARGET = { width: 2, height: 2, fit: 'stretch', pad: 0, kernel: 'bilinear', colour: 'rgb' } as const;

async function startPool(
  o: { children?: number; deadlineMs?: number; memoryBytesMax?: number; module?: string } = {},
): Promise<DecodePool & AsyncDisposable> {
  const pool = createDecodePool(
    {
      ...{ children: o.children ?? 1, deadlineMs: o.deadlineMs ?? 5000, pixelsMax: 1_000_000, instance: 'gateway-1' },
      memoryBytesMax: o.memoryBytesMax ?? 512 * 2 ** 20,
    },
    {
      logger: silentLogger,
      clock: systemClock,
      random: () => 0,
      onRoom: () => {},
      ...(o.module === undefined ? {} : { module: o.module }),
    },
  );
  await pool.start(new AbortController().signal);
  return Object.defineProperty(pool, Symbol.asyncDispose, { value: () => pool.stop() }) as DecodePool & AsyncDisposable;
}

const codeOf = (decode: Promise<unknown>) =>
  decode.then(
    () => 'decoded',
    (error: BrinkError) => error.code,
  );
const decode = (pool: DecodePool, word: string, alone = false) =>
  codeOf(pool.decode(Buffer.from(word), [TARGET], alone));

it('a picture is decoded in a child, for every target', async () => {
  await using pool = await startPool();
  const decoded = await pool.decode(jpeg(), [TARGET, { ...TARGET, width: 5, height: 3, colour: 'grey' }], false);
  expect(decoded.pictures.map(({ pixels }) => pixels.length)).toEqual([12, 15]);
  expect(decoded.type).toBe('image/jpeg');
  expect(await codeOf(pool.decode(Buffer.from('nonsense'), [TARGET], false))).toBe('E_IMAGE_TYPE');
});

it('a child that crashes costs what was in it an attempt; the next picture finds a new child', async () => {
  await using pool = await startPool({ module: FRAGILE });
  expect(await Promise.all([decode(pool, 'crash'), decode(pool, 'beside')])).toEqual(['E_CRASHED', 'E_CRASHED']);
  await until(() => pool.hasRoom);
  expect(await decode(pool, 'after')).toBe('decoded');
});

it('a child that hangs is ended at the deadline', async () => {
  await using pool = await startPool({ module: FRAGILE, deadlineMs: 200 });
  expect(await decode(pool, 'hang')).toBe('E_TIMEOUT');
  await until(() => pool.hasRoom);
  expect(await decode(pool, 'after')).toBe('decoded');
});

it('what is tried again runs alone, so that it takes nothing along', async () => {
  await using pool = await startPool({ module: FRAGILE });
  const first = decode(pool, 'good');
  const again = decode(pool, 'crash', true);
  const behind = decode(pool, 'good', false);
  expect(pool.hasRoom).toBe(false);
  expect(await Promise.all([first, again, behind])).toEqual(['decoded', 'E_CRASHED', 'decoded']);
});

it('with two children, one that crashes leaves the pictures of the other alone', async () => {
  await using pool = await startPool({ module: FRAGILE, children: 2 });
  expect(await Promise.all([decode(pool, 'crash'), decode(pool, 'good')])).toEqual(['E_CRASHED', 'decoded']);
});

it.skipIf(process.platform !== 'linux')(
  'a child that takes more memory than it may is ended; its neighbour decodes on',
  async () => {
    await using pool = await startPool({ module: FRAGILE, children: 2, memoryBytesMax: 64 * 2 ** 20 });
    const bomb = decode(pool, 'grow');
    const beside = await Promise.all(Array.from({ length: 5 }, () => decode(pool, 'good')));
    expect(beside.filter((word) => word === 'decoded').length).toBeGreaterThanOrEqual(4);
    expect(await bomb).toBe('E_CRASHED');
    await until(() => pool.hasRoom);
    expect(await decode(pool, 'after')).toBe('decoded');
  },
);

it.skipIf(process.platform !== 'linux')(
  'a picture within the limits is decoded in that memory, whatever is done to it',
  async () => {
    await using pool = await startPool({ memoryBytesMax: 512 * 2 ** 20 });
    const masks = [[0, 0, 0.5, 0.5]];
    const eight = { ...TARGET, width: 8, height: 8 };
    for (const bytes of [jpeg(), png(1000, 1000)]) {
      const { kept, pictures } = await pool.decode(bytes, [eight], false, {
        masks,
        denoise: { median: 3 },
        keepQuality: 80,
      });
      expect(kept?.subarray(0, 2)).toEqual(new Uint8Array([0xff, 0xd8]));
      expect([...pictures[0]!.pixels.subarray(0, 3)]).toEqual([0, 0, 0]);
      expect(pictures[0]!.pixels.at(-1)).toBeGreaterThan(0);
    }
  },
);
