import { createTestClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import type { DecodePool } from '../decode/pool.ts';
import type { Frame } from '../ingest/frame.ts';
import type { Masking } from '../mask/masking.ts';
import { createKeeper, type KeeperDeps } from './keeper.ts';

/** A keeper whose decode ends when the test says so, and whether the mask is still that of the frame. */
function keeperWith(isMaskedAsNow: () => boolean) {
  const decoded = Promise.withResolvers<{ kept: Uint8Array }>();
  const ended = Promise.withResolvers<void>();
  const clock = createTestClock();
  const deps: KeeperDeps = {
    clock,
    pool: { decode: () => decoded.promise, inFlight: 0, hasRoom: true } as unknown as DecodePool,
    masking: { of: () => ({ masks: [] }) } as unknown as Masking,
    keepMs: () => 10_000,
    isMaskedAsNow,
    rateHz: () => undefined,
    onGone() {},
    onSkipped: () => ended.resolve(),
    onKept: () => ended.resolve(),
  };
  const frame = {
    id: { device: 'cam-1', stream: 'front', boot: 'k3v9', seq: 1 },
    plan: { format: 'image', keepMs: 10_000, mask: undefined },
    type: 'image/png',
    payload: new Uint8Array(9),
    receivedMs: clock.now(),
  } as unknown as Frame;
  return { keeper: createKeeper({ sourceBytesMax: 1e6, bytesMax: 1e6 }, deps), frame, decoded, ended: ended.promise };
}

describe('a picture that is decoded while the masks of its stream change', () => {
  it.each([
    [false, 0],
    [true, 1],
  ])('is kept only where they are as they were (%s)', async (same, frames) => {
    const { keeper, frame, decoded, ended } = keeperWith(() => same);
    keeper.offered(frame);
    keeper.idle();
    keeper.forget(['front']);
    decoded.resolve({ kept: new Uint8Array(3) });
    await ended;
    expect(keeper.ring.between('cam-1', 'front', 0, Number.MAX_SAFE_INTEGER)).toHaveLength(frames);
    keeper.stop();
  });
});
