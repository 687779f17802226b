import type { Socket } from 'node:net';
import { createTestClock } from '@brink/runtime';
import { expect, test } from 'vitest';
import { createAccepts } from './accepts.ts';
import { createPace } from './pace.ts';
import { createThrottle } from './throttle.ts';

const socketFrom = (remoteAddress: string) => {
  const socket = { remoteAddress, destroyed: false, on: () => socket, destroy: () => (socket.destroyed = true) };
  return socket as unknown as Socket;
};

test('a thousand connections at once are taken up at 100 a second, all of them, another source in between', async () => {
  const clock = createTestClock();
  const takenAtMs: number[] = [];
  let otherAtMs: number | undefined;
  let delayed = 0;
  const other = socketFrom('10.0.0.2');
  const accepts = createAccepts(
    { acceptsPerSMax: 100 },
    {
      clock,
      delayed: () => (delayed += 1),
      take(socket) {
        takenAtMs.push(clock.monotonic());
        if (socket === other) otherAtMs = clock.monotonic();
      },
    },
  );
  for (let i = 0; i < 999; i++) accepts.offer(socketFrom('10.0.0.1'));
  accepts.offer(other);
  expect(takenAtMs).toHaveLength(100);
  await clock.advance(60_000);
  expect(takenAtMs).toHaveLength(1000);
  expect(delayed).toBe(900);
  for (const [i, atMs] of takenAtMs.entries()) {
    const hundredLater = takenAtMs[i + 100];
    if (hundredLater !== undefined) expect(hundredLater - atMs).toBeGreaterThanOrEqual(1000);
  }
  expect(takenAtMs.at(-1)).toBeLessThanOrEqual(10_000);
  expect(otherAtMs).toBe(1000);
});

test('connections that waited are closed with the broker, and those that gave up cost nothing', async () => {
  const clock = createTestClock();
  const taken: Socket[] = [];
  const accepts = createAccepts(
    { acceptsPerSMax: 1 },
    { clock, delayed: () => {}, take: (socket) => taken.push(socket) },
  );
  const [first, gone, waits, last] = [socketFrom('a'), socketFrom('a'), socketFrom('a'), socketFrom('a')];
  for (const socket of [first, gone, waits, last]) accepts.offer(socket);
  gone.destroy();
  await clock.advance(1000);
  expect(taken).toEqual([first, waits]);
  accepts.stop();
  expect(last.destroyed).toBe(true);
});

test('a device has its messages per second and its bytes per second, and a large frame overdraws', async () => {
  const clock = createTestClock();
  const pace = createPace({ publishesPerSMax: 10, publishBytesPerSMax: 1000 }, clock);
  for (let i = 0; i < 10; i++) {
    expect(pace.waitMs()).toBe(0);
    pace.spend(1);
  }
  expect(pace.waitMs()).toBeGreaterThan(0);
  await clock.advance(1000);
  expect(pace.waitMs()).toBe(0);
  pace.spend(5000);
  await clock.advance(3900);
  expect(pace.waitMs()).toBeGreaterThan(0);
  await clock.advance(200);
  expect(pace.waitMs()).toBe(0);
});

test('20 wrong passwords block a source for 60 s, and no other; the number of sources is bounded', async () => {
  const clock = createTestClock();
  const throttle = createThrottle({ wrongPasswordsMax: 20, throttleMs: 60_000, throttledSourcesMax: 3 }, { clock });
  for (let i = 0; i < 19; i++) throttle.failed('a');
  expect(throttle.isBlocked('a')).toBe(false);
  await clock.advance(30_000);
  throttle.failed('a');
  expect([throttle.isBlocked('a'), throttle.isBlocked('b')]).toEqual([true, false]);
  await clock.advance(59_999);
  expect(throttle.isBlocked('a')).toBe(true);
  await clock.advance(1);
  expect(throttle.isBlocked('a')).toBe(false);

  for (let i = 0; i < 19; i++) throttle.failed('slow');
  await clock.advance(60_000);
  throttle.failed('slow');
  expect(throttle.isBlocked('slow')).toBe(false);

  for (let i = 0; i < 20; i++) throttle.failed('a');
  for (const source of ['b', 'c', 'd']) throttle.failed(source);
  expect(throttle.isBlocked('a')).toBe(false);
});
