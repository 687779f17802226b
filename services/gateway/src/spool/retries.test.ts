import { BrinkError } from '@brink/protocol';
import { createTestClock } from '@brink/runtime';
import { expect, it } from 'vitest';
import type { Change } from './messages.ts';
import { Retries } from './retries.ts';

/** A disk that says yes or no when the test asks it to. */
function disk() {
  const waiting: { change: Change; done: (error: BrinkError | undefined) => void }[] = [];
  const committed: string[] = [];
  const clock = createTestClock();
  const retries = new Retries({ clock, spool: { write: (change, done) => void waiting.push({ change, done }) } });
  const answer = (error?: BrinkError) => {
    for (const { change, done } of waiting.splice(0)) {
      if (error === undefined) committed.push(`${change.stream} ${change.settled?.frame}`);
      done(error);
    }
  };
  const settle = (stream: string, frame: number, done = () => {}) =>
    retries.write({ device: 'dev-1', stream, settled: { frame, pipeline: 'bits', part: 0 } }, done);
  return {
    clock,
    committed,
    settle,
    retries,
    yes: () => answer(),
    no: () => answer(new BrinkError('E_STORAGE_FULL', 'full')),
  };
}

it('what the disk refused is committed before what came after it in its stream, and once', async () => {
  const { clock, committed, settle, yes, no } = disk();
  let done = 0;
  settle('imu', 1, () => (done += 1));
  settle('imu', 2);
  no();
  settle('imu', 3);
  settle('other', 4);
  yes();
  expect(committed).toEqual(['other 4']);
  await clock.advance(1000);
  settle('imu', 5);
  no();
  await clock.advance(1000);
  yes();
  expect(committed).toEqual(['other 4', 'imu 1', 'imu 2', 'imu 3', 'imu 5']);
  expect(done).toBe(1);
});

it('nothing is written after the end', async () => {
  const { clock, committed, settle, retries, yes, no } = disk();
  settle('imu', 1);
  no();
  retries.stop();
  await clock.advance(5000);
  yes();
  expect(committed).toEqual([]);
});
