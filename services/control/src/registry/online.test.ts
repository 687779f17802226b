import { createTestClock, silentLogger } from '@brink/runtime';
import { expect, test } from 'vitest';
import { openLedger } from '../ledger/ledger.testing.ts';
import { createOnline } from './online.ts';

test('a device that does not come back with the broker is unknown; what the broker kept says nothing of when it was seen', async () => {
  const clock = createTestClock();
  await using open = await openLedger({ clock });
  const online = createOnline({ settleMs: 1000 }, { ledger: open.ledger, clock, logger: silentLogger });
  const device = (name: string) => open.ledger.read.device(name);
  const settled = async () => {
    await open.ledger.putDevice('cam-1', {});
  };
  online.connected();
  for (const name of ['cam-1', 'cam-2', 'cam-3']) online.heard(name, 'online', false);
  await settled();
  const seen = (await device('cam-1'))?.last_seen;
  expect(seen).toBe(new Date(clock.now()).toISOString());
  await clock.advance(1000);

  // The broker was away: one device says that it is there, of one the broker had kept that it is off, the third is gone.
  await clock.advance(60_000);
  online.connected();
  online.heard('cam-1', 'online', true);
  online.heard('cam-2', 'offline', true);
  await settled();
  expect(await device('cam-1')).toMatchObject({ state: 'online', last_seen: seen });
  expect(await device('cam-3')).toMatchObject({ state: 'online', last_seen: seen });
  await clock.advance(1000);
  await expect.poll(async () => (await device('cam-3'))?.state).toBe('unknown');
  expect(await device('cam-3')).toMatchObject({ last_seen: seen });
  expect((await device('cam-1'))?.state).toBe('online');
  expect((await device('cam-2'))?.state).toBe('offline');
  online.heard('cam-3', 'online', false);
  await settled();
  expect((await device('cam-3'))?.last_seen).toBe(new Date(clock.now()).toISOString());
  await online.stop();
});
