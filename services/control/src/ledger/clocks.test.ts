import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@brink/runtime';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { clockSetWhileDown } from './clock-at-start.ts';
import { FIRST_MS, items, openLedger, outcome, published, site } from './ledger.testing.ts';

const DAY_MS = 86_400_000;
const HOUR_MS = 3_600_000;
const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
const SETTINGS = [
  ['a day on', DAY_MS],
  ['a day back', -DAY_MS],
  ...(LONG ? ([['ten years on', 3653 * DAY_MS] as const, ['ten years back', -3653 * DAY_MS] as const] as const) : []),
] as const;

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'brink-clocks-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** `set` moves the wall clock alone, `pass` lets time go by. */
function twoClocks() {
  let setMs = FIRST_MS + 1000 - Date.now();
  let passedMs = 0;
  return {
    ...systemClock,
    now: () => Date.now() + setMs + passedMs,
    monotonic: () => performance.now() + passedMs,
    set(ms: number): void {
      setMs += ms;
    },
    pass(ms: number): void {
      passedMs += ms;
    },
  };
}

const lease = { limit: 10, leaseMs: 5000 };
const alarm = [{ command: { device: 'siren-1', name: 'sound', expires_ms: 30_000, ack: 'required' } }];
const dog = { task: 'classification' as const, label: 'dog', score: 0.9 };

describe.each(SETTINGS)('a clock that is set %s', (_, byMs) => {
  it('fires no rule early, holds none up, expires no action, and deletes nothing by age', async () => {
    const clock = twoClocks();
    await using opened = await openLedger({ folder, clock, timerGraceMs: 0, retainDays: 1 });
    const { ledger } = opened;
    const silent = { does: alarm, when: undefined, absent_ms: 20_000 };
    await ledger.configure(
      published(
        site({ flap: { does: alarm, cooldown_ms: 60_000 }, held: { does: alarm, for: { ms: 10_000 } }, silent }),
      ),
    );
    await ledger.commit(items(outcome(1, { received_ms: clock.now() })));
    clock.set(byMs);
    // One that was on its way with the old time, and one with the new.
    await ledger.commit(items(outcome(2, { received_ms: clock.now() - byMs })));
    await ledger.commit(items(outcome(3, { received_ms: clock.now() })));
    const fired = async () => (await ledger.read.actions({ limit: 10 })).items.map(({ rule }) => rule);
    expect(await fired()).toEqual(['flap']);
    expect(await ledger.retain(100)).toEqual({ deleted: 0 });
    const { actions } = await ledger.lease(lease);
    expect(actions.map(({ attempt }) => attempt)).toEqual([1]);
    const leftMs = (actions[0]?.expires_ms ?? 0) - clock.now();
    expect(leftMs).toBeGreaterThan(20_000);
    expect(leftMs).toBeLessThanOrEqual(30_000);
    clock.pass(11_000);
    await ledger.commit(items(outcome(4, { received_ms: clock.now() })));
    expect(await fired()).toEqual(['held', 'flap']);
    clock.pass(20_000);
    await ledger.lease(lease);
    expect((await ledger.read.action(actions[0]?.id ?? ''))?.state).toBe('expired');
  });
});

describe('a clock that was set while control was down', () => {
  const before = {
    ...{ commits: 1, n: 1, hash: '', turn: 1, promised: 1, covered: 1 },
    ...{ at_ms: FIRST_MS, up_ms: HOUR_MS, machine: 'a' },
  };

  it('is told from time that passed, as long as the machine ran', () => {
    const at = (nowMs: number, upMs: number, machine = 'a') => clockSetWhileDown(before, nowMs, { machine, upMs });
    expect(at(FIRST_MS + HOUR_MS, 2 * HOUR_MS)).toBe(0);
    expect(at(FIRST_MS + HOUR_MS + DAY_MS, 2 * HOUR_MS)).toBe(DAY_MS);
    expect(at(FIRST_MS - DAY_MS, HOUR_MS + 1000)).toBe(-DAY_MS - 1000);
    // Another start: a year may have passed, but time does not go back.
    expect(at(FIRST_MS + 365 * DAY_MS, 1000, 'b')).toBe(0);
    expect(at(FIRST_MS - DAY_MS, 1000, 'b')).toBe(-DAY_MS);
    expect(clockSetWhileDown(undefined, FIRST_MS, { machine: 'a', upMs: 0 })).toBe(0);
  });

  it('moves deadlines along', async () => {
    const clock = twoClocks();
    const machine = () => ({ machine: '', upMs: 0 });
    const { ledger } = await openLedger({ folder, clock, machine });
    await ledger.configure(published(site({ flap: { does: alarm }, held: { does: alarm, for: { ms: 10_000 } } })));
    await ledger.commit(items(outcome(1, { received_ms: clock.now() })));
    await ledger.stop();
    clock.set(-DAY_MS);
    await using opened = await openLedger({ folder, clock, machine });
    const { actions } = await opened.ledger.lease(lease);
    expect(actions).toHaveLength(1);
    expect((actions[0]?.expires_ms ?? 0) - clock.now()).toBeLessThanOrEqual(30_000);
    const due = (await opened.ledger.read.ruleStates('held'))[0]?.keys[0]?.due ?? '';
    expect(Date.parse(due) - clock.now()).toBeLessThanOrEqual(10_000);
  });
});

it('a clock that was set on is doubted after a restart too: nothing is deleted by age on its word', async () => {
  const clock = twoClocks();
  const machine = () => ({ machine: 'a', upMs: Math.round(clock.monotonic()) });
  const { ledger } = await openLedger({ folder, clock, machine, retainDays: 1 });
  await ledger.configure(published(site({})));
  await ledger.commit(items(outcome(1, { received_ms: clock.now() })));
  clock.set(100 * DAY_MS);
  await ledger.look();
  await ledger.stop();
  clock.pass(HOUR_MS);
  await using opened = await openLedger({ folder, clock, retainDays: 1 });
  expect(await opened.ledger.retain(100)).toEqual({ deleted: 0 });
  clock.pass(DAY_MS);
  expect(await opened.ledger.retain(100)).toEqual({ deleted: 1 });
});

it('time that passes is no clock that was set', async () => {
  const clock = twoClocks();
  await using opened = await openLedger({ folder, clock });
  const { ledger } = opened;
  await ledger.configure(published(site({ flap: { does: alarm } })));
  await ledger.commit(items(outcome(1, { received_ms: clock.now() })));
  clock.pass(DAY_MS);
  await ledger.commit(items(outcome(2, { received_ms: clock.now(), result: dog })));
  await ledger.lease(lease);
  expect((await ledger.read.actions({ limit: 10 })).items.map(({ state }) => state)).toEqual(['expired']);
});

it('negative control: where deadlines do not move along, a clock that is set a day on fires what had ten seconds to go', async () => {
  const clock = twoClocks();
  await using opened = await openLedger({ folder, clock, timerGraceMs: 0, testing: { ignoreClock: true } });
  const { ledger } = opened;
  await ledger.configure(published(site({ held: { does: alarm, for: { ms: 10_000 } } })));
  await ledger.commit(items(outcome(1, { received_ms: clock.now() })));
  clock.set(DAY_MS);
  await ledger.commit(items(outcome(2, { received_ms: clock.now() })));
  expect((await ledger.read.actions({ limit: 10 })).items.map(({ rule }) => rule)).toContain('held');
});
