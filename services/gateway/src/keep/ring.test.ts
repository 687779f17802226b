import { createTestClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { type KeptFrame, Ring, type RingEnd } from './ring.ts';

/** Of a frame of 100 bytes, with what its row takes. */
const SIZE = 612;

function ringWith(limits: Partial<{ sourceBytesMax: number; bytesMax: number }> = {}) {
  const clock = createTestClock();
  const gone: RingEnd[] = [];
  const ring = new Ring(
    { sourceBytesMax: 10 * SIZE, bytesMax: 20 * SIZE, ...limits },
    { clock, keepMs: (stream) => (stream === 'front' ? 1000 : 0), onGone: (why) => gone.push(why) },
  );
  const frame = (seq: number, bytes = 100, over: Partial<KeptFrame> = {}): KeptFrame => ({
    ...{ device: 'cam-1', stream: 'front', boot: 'k3v9', seq, receivedMs: clock.now(), type: 'image/jpeg' },
    bytes: new Uint8Array(bytes),
    ...over,
  });
  const seqs = (device = 'cam-1') => ring.between(device, 'front', 0, Number.MAX_SAFE_INTEGER).map(({ seq }) => seq);
  return { clock, gone, ring, frame, seqs };
}

describe('the last seconds of a stream', () => {
  it('are what was received in them, and go by themselves', async () => {
    const { clock, gone, ring, frame, seqs } = ringWith();
    ring.add(frame(1));
    await clock.advance(600);
    ring.add(frame(2));
    expect([seqs(), ring.frames, ring.bytes]).toEqual([[1, 2], 2, 2 * SIZE]);
    await clock.advance(700);
    expect([seqs(), gone]).toEqual([[2], ['age']]);
    await clock.advance(1000);
    expect([seqs(), ring.frames, ring.bytes, ring.holds('cam-1', 'front')]).toEqual([[], 0, 0, false]);
    ring.stop();
  });

  it('are bounded in bytes of one device and of all; the oldest go first', () => {
    const { gone, ring, frame, seqs } = ringWith();
    for (let seq = 1; seq <= 12; seq++) ring.add(frame(seq));
    expect([seqs(), gone]).toEqual([
      [3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
      ['source_bytes', 'source_bytes'],
    ]);
    for (let seq = 1; seq <= 10; seq++) ring.add(frame(seq, 100, { device: 'cam-2' }));
    ring.add(frame(1, 150, { device: 'cam-3' }));
    expect([seqs().length, seqs('cam-2').length, seqs('cam-3'), ring.bytes]).toEqual([8, 10, [1], 19 * SIZE + 50]);
    expect(gone.slice(2)).toEqual(['total_bytes', 'total_bytes']);
    expect(ring.add(frame(99, 10 * SIZE))).toBe(false);
    ring.stop();
  });

  it('stand in the order of arrival, each frame once', () => {
    const { ring, frame, seqs, clock } = ringWith();
    ring.add(frame(2, 100, { receivedMs: clock.now() - 10 }));
    ring.add(frame(1, 100, { receivedMs: clock.now() - 20 }));
    expect([ring.add(frame(2)), seqs()]).toEqual([false, [1, 2]]);
    expect(ring.add(frame(3, 100, { receivedMs: clock.now() - 1001 }))).toBe(false);
    expect(ring.add(frame(4, 100, { stream: 'other', receivedMs: clock.now() - 1 }))).toBe(false);
    ring.stop();
  });
});
