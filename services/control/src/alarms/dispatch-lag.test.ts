import { createTestClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import type { AttemptOutcome, LeasedAction } from '../ledger/records.ts';
import { timeDispatches } from './dispatch-lag.ts';

test('each action is timed once, when it first leaves, from the time of what led to it', async () => {
  const clock = createTestClock();
  const seen: number[] = [];
  let leased: Partial<LeasedAction>[] = [];
  const lease = () => Promise.resolve({ actions: leased as LeasedAction[], nextDueMs: undefined });
  const timed = timeDispatches(
    { lease, settle: () => Promise.resolve() },
    { clock, observe: (seconds) => seen.push(seconds) },
  );
  const round = async (id: string, attempt: number, result: AttemptOutcome['result']) => {
    leased = [{ id, attempt, at_ms: started }];
    await timed.lease({ limit: 1, leaseMs: 1000 });
    await clock.advance(500);
    await timed.settle([{ id, attempt, result } as AttemptOutcome]);
  };
  const started = clock.now();
  await round('failed first', 1, 'failed');
  await round('failed first', 2, 'sent');
  await round('failed first', 3, 'acked');
  await round('refused', 1, 'dead');
  await round('at once', 1, 'acked');
  expect(seen).toEqual([1, 2.5]);
});
