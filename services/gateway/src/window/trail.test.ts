import { describe, expect, it } from 'vitest';
import type { Spooled } from '../ingest/frame.ts';
import { Trail } from './trail.ts';

const mark = new Uint8Array();
const spooled = (id: number) => ({ id }) as Spooled;

/** Rows of ten samples each, in one epoch; units by the row that completes them and their first sample. */
function trailOf(rows: number, units: Record<number, number[]> = {}, epoch = 1) {
  const trail = new Trail();
  for (let id = 1; id <= rows; id++) {
    const after = { epoch, at: id * 10, mark, isCommitted: true, receivedMs: id };
    trail.add(
      spooled(id),
      after,
      (units[id] ?? []).map((from, part) => ({ row: id, part, epoch, from })),
    );
  }
  return trail;
}
const idsOf = (rows: ReturnType<Trail['releasable']>) => rows.map((row) => row.spooled.id);

describe('rows that a pipeline looks at', () => {
  it('go when no later window needs them', () => {
    const trail = trailOf(4);
    expect(idsOf(trail.releasable({ epoch: 1, at: 40, needed: 9 }))).toEqual([]);
    expect(idsOf(trail.releasable({ epoch: 1, at: 40, needed: 25 }))).toEqual([1, 2]);
    // Another epoch has begun: none of them says anything to it.
    expect(idsOf(trail.releasable({ epoch: 2, at: 0, needed: 0 }))).toEqual([1, 2, 3, 4]);
  });

  it('stay while a unit that looks at them is not settled, and go in their order', () => {
    const trail = trailOf(4, { 2: [5], 4: [15, 25] });
    const now = { epoch: 1, at: 40, needed: 40 };
    expect(idsOf(trail.releasable(now))).toEqual([]);
    // The one behind it is settled first.
    trail.settled(4, 0);
    expect(idsOf(trail.releasable(now))).toEqual([]);
    trail.settled(2, 0);
    expect(idsOf(trail.releasable(now))).toEqual([1, 2]);
    trail.released(2);
    trail.settled(4, 1);
    expect(idsOf(trail.releasable(now))).toEqual([3, 4]);
  });

  it('stay until their cut is on the disk', () => {
    const trail = trailOf(1);
    trail.add(spooled(2), { epoch: 1, at: 20, mark, isCommitted: false, receivedMs: 2 }, []);
    const now = { epoch: 1, at: 20, needed: 20 };
    expect(idsOf(trail.releasable(now))).toEqual([1]);
    trail.committed(2);
    expect(idsOf(trail.releasable(now))).toEqual([1, 2]);
  });

  it('are held by what says why they could not be used', () => {
    const trail = trailOf(1, { 1: [-1] });
    expect(idsOf(trail.releasable({ epoch: 2, at: 0, needed: 100 }))).toEqual([]);
    expect(trail.idleSinceMs).toBeUndefined();
    trail.settled(1, 0);
    expect(trail.idleSinceMs).toBe(1);
  });
});
