import type { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { folderForTest, shiftedClock } from './folder.testing.ts';
import { readMirror } from './integrity/mirror.ts';
import { FIRST_MS, items, openLedger, outcome, published, site } from './ledger.testing.ts';

const cat = (seq: number, fields = {}) => outcome(seq, fields);
const dog = (seq: number) => outcome(seq, { result: { task: 'classification', label: 'dog', score: 0.9 } });
const id = (seq: number) => `cam-1.front.k3v9.${seq}.0.pets~flap~0`;
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'resolved',
    (error: BrinkError) => error.code,
  );
const lease = { limit: 10, leaseMs: 5000 };

async function openSite(
  rules: Parameters<typeof site>[0] = { flap: {} },
  options: Parameters<typeof openLedger>[0] = {},
) {
  const clock = shiftedClock();
  const opened = await openLedger({ clock, ...options });
  await opened.ledger.configure(published(site(rules)));
  return { ...opened, clock, state: async (seq: number) => (await opened.ledger.read.action(id(seq)))?.state };
}

describe('an action', () => {
  it('is due with its decision, and ends with its ack', async () => {
    await using opened = await openSite();
    await opened.ledger.commit(items(cat(1)));
    expect(opened.feed[0]?.actions.map((action) => [action.id, action.state])).toEqual([[id(1), 'pending']]);
    const { actions } = await opened.ledger.lease(lease);
    expect(actions.map((action) => [action.id, action.attempt])).toEqual([[id(1), 1]]);
    expect((await opened.ledger.lease(lease)).actions).toEqual([]);
    await opened.ledger.settle([{ id: id(1), attempt: 1, result: 'sent', retryMs: opened.clock.now() + 60_000 }]);
    expect(await opened.state(1)).toBe('sent');
    expect(await opened.ledger.ack('cam-1', { key: id(1), status: 200 })).toBe('foreign');
    expect(await opened.ledger.ack('feeder-1', { key: 'nothing', status: 200 })).toBe('unknown');
    expect(await opened.ledger.ack('feeder-1', { key: id(1), status: 200 })).toBe('acked');
    expect(await opened.ledger.ack('feeder-1', { key: id(1), status: 200 })).toBe('acked');
    const explained = await opened.ledger.read.explainAction(id(1));
    expect(explained).toMatchObject({
      ...{ action: { state: 'acked', attempts: 1 }, ack: { status: 200 }, attempts: [{ attempt: 1, result: 'sent' }] },
      because: {
        rule: 'flap',
        before: 'idle',
        after: 'active',
        values: { 'decision.label': 'cat', 'decision.score': 0.91 },
      },
      decision: { id: 'cam-1.front.k3v9.1.0.pets', label: 'cat' },
      model: { name: 'cifar-net', version: 3, model_sha256: 'b'.repeat(64) },
      prepared: { transform: { width: 32 } },
      frame: { sha256: 'f'.repeat(64), gateway: 'gateway-1' },
    });
  });

  it('is dead when the device refuses it', async () => {
    await using opened = await openSite();
    await opened.ledger.commit(items(cat(1)));
    await opened.ledger.lease(lease);
    expect(await opened.ledger.ack('feeder-1', { key: id(1), status: 409, error: 'jammed' })).toBe('refused');
    const action = await opened.ledger.read.action(id(1));
    expect(action).toMatchObject({
      state: 'dead',
      error: { code: 'E_ACTION_REFUSED', detail: 'feeder-1 answered 409: jammed' },
    });
    expect(await opened.ledger.retry(id(1))).toMatchObject({ state: 'pending' });
    expect((await opened.ledger.lease(lease)).actions[0]?.id).toBe(id(1));
  });

  it('an ack that came before the attempt was written down is not undone', async () => {
    await using opened = await openSite();
    await opened.ledger.commit(items(cat(1)));
    await opened.ledger.lease(lease);
    await opened.ledger.ack('feeder-1', { key: id(1), status: 200 });
    await opened.ledger.settle([{ id: id(1), attempt: 1, result: 'sent', retryMs: 0 }]);
    expect(await opened.state(1)).toBe('acked');
  });

  it('is leased again when its lease ran out, and every attempt is kept', async () => {
    await using opened = await openSite();
    await opened.ledger.commit(items(cat(1)));
    await opened.ledger.lease(lease);
    opened.clock.shift(5001);
    const again = await opened.ledger.lease(lease);
    expect(again.actions.map((action) => [action.id, action.attempt])).toEqual([[id(1), 2]]);
    const { code, detail } = { code: 'E_BROKER', detail: 'away' };
    await opened.ledger.settle([
      { id: id(1), attempt: 2, result: 'failed', code, detail, retryMs: opened.clock.now() + 100 },
    ]);
    opened.clock.shift(100);
    await opened.ledger.lease(lease);
    const attempts = (await opened.ledger.read.explainAction(id(1)))?.attempts;
    expect(attempts?.map((attempt) => attempt.result)).toEqual(['lost', 'failed', 'open']);
  });

  it('expires, with the reason of its last failure', async () => {
    await using opened = await openSite();
    await opened.ledger.commit(items(cat(1)));
    await opened.ledger.lease(lease);
    await opened.ledger.settle([
      { id: id(1), attempt: 1, result: 'failed', code: 'E_BROKER', detail: 'away', retryMs: opened.clock.now() },
    ]);
    opened.clock.shift(10_001);
    expect((await opened.ledger.lease(lease)).actions).toEqual([]);
    const action = await opened.ledger.read.action(id(1));
    expect(action).toMatchObject({
      state: 'expired',
      error: { code: 'E_ACTION_EXPIRED', detail: expect.stringContaining('E_BROKER: away') },
    });
    expect(await opened.ledger.ack('feeder-1', { key: id(1), status: 200 })).toBe('late');
    expect((await opened.ledger.read.action(id(1)))?.ack?.status).toBe(200);
  });

  it('that expired is never handed out, however many expired with it', async () => {
    const mqtt = (expires_ms: number) => [{ mqtt: { topic: 'zigbee2mqtt/lamp', payload: 'ON', expires_ms } }];
    await using opened = await openSite({ flap: { does: mqtt(1000) } });
    const cats = Array.from({ length: 520 }, (_, at) => cat(2 * at + 1, { received_ms: FIRST_MS + 2 * at }));
    const dogs = Array.from({ length: 520 }, (_, at) => ({ ...dog(2 * at + 2), received_ms: FIRST_MS + 2 * at + 1 }));
    const mixed = cats.flatMap((seen, at) => [seen, dogs[at] as typeof seen]);
    await opened.ledger.commit(items(...mixed));
    expect(await opened.ledger.read.actionCounts()).toEqual({ pending: 520 });
    opened.clock.shift(2000);
    const first = await opened.ledger.lease(lease);
    expect(first.actions).toEqual([]);
    expect(first.nextDueMs).toBeLessThanOrEqual(opened.clock.now());
    expect((await opened.ledger.lease(lease)).actions).toEqual([]);
    expect(await opened.ledger.read.actionCounts()).toEqual({ expired: 520 });
  });

  it('can be ordered and cancelled by a person', async () => {
    await using opened = await openSite({});
    const command = { device: 'feeder-1', name: 'open', args: {}, expires_ms: 1000, ack: 'required' as const };
    expect(await opened.ledger.order('order~1', { command }, 'http')).toMatchObject({
      state: 'pending',
      decision: 'http',
    });
    expect(await opened.ledger.cancel('order~1')).toMatchObject({ state: 'cancelled' });
    expect(await codeOf(opened.ledger.cancel('order~1'))).toBe('E_CONFLICT');
    expect(await codeOf(opened.ledger.cancel('order~2'))).toBe('E_NOT_FOUND');
    expect((await opened.ledger.lease(lease)).actions).toEqual([]);
    expect((await opened.ledger.read.actions({ limit: 5, state: 'cancelled' })).items).toHaveLength(1);
    expect(await opened.ledger.read.actionCounts()).toEqual({ cancelled: 1 });
  });
});

describe('the cooldown', () => {
  const cooled = { flap: { cooldown_ms: 60_000 } };

  it('counts from when its first action really left', async () => {
    await using opened = await openSite(cooled);
    await opened.ledger.commit(items(cat(1)));
    const until = async () => (await opened.ledger.read.ruleStates('flap'))[0]?.keys[0]?.cooldown_until;
    expect(await until()).toBe(new Date(FIRST_MS + 1 + 60_000).toISOString());
    opened.clock.shift(4000);
    await opened.ledger.lease(lease);
    await opened.ledger.settle([{ id: id(1), attempt: 1, result: 'sent', retryMs: opened.clock.now() + 60_000 }]);
    const movedMs = Date.parse((await until()) ?? '') - (FIRST_MS + 1 + 60_000);
    expect(movedMs).toBeGreaterThanOrEqual(4000);
    expect(movedMs).toBeLessThan(20_000);
  });

  it('counts from then where its ack is heard before it is written down as sent, and where nobody wrote it down', async () => {
    const until = async (opened: Awaited<ReturnType<typeof openSite>>) =>
      Date.parse((await opened.ledger.read.ruleStates('flap'))[0]?.keys[0]?.cooldown_until ?? '') - FIRST_MS - 60_001;
    for (const how of ['acked', 'lost'] as const) {
      await using opened = await openSite(cooled);
      await opened.ledger.commit(items(cat(1)));
      opened.clock.shift(4000);
      await opened.ledger.lease({ limit: 1, leaseMs: 1000 });
      if (how === 'acked') await opened.ledger.ack('feeder-1', { key: id(1), status: 200 });
      opened.clock.shift(1001);
      await opened.ledger.lease({ limit: 1, leaseMs: 1000 });
      expect(await until(opened), how).toBeGreaterThanOrEqual(4000);
    }
  });

  it('holds back what follows an action that was sent', async () => {
    await using opened = await openSite(cooled);
    await opened.ledger.commit(items(cat(1)));
    await opened.ledger.lease(lease);
    await opened.ledger.settle([{ id: id(1), attempt: 1, result: 'sent', retryMs: opened.clock.now() + 1000 }]);
    opened.clock.shift(10_001);
    await opened.ledger.lease(lease);
    expect(await opened.state(1)).toBe('expired');
    await opened.ledger.commit(items(dog(2), cat(3)));
    expect(await opened.state(3)).toBeUndefined();
  });

  it('is given back when the action expired without having been sent', async () => {
    await using opened = await openSite(cooled);
    await opened.ledger.commit(items(cat(1)));
    opened.clock.shift(10_001);
    await opened.ledger.lease(lease);
    expect(await opened.state(1)).toBe('expired');
    await opened.ledger.commit(items(dog(2), cat(3, { received_ms: opened.clock.now() })));
    expect(await opened.state(3)).toBe('pending');
  });
});

describe('an old trigger', () => {
  it('is recorded as suppressed, explained, and never leased', async () => {
    await using opened = await openSite({ flap: { stale_ms_max: 500 } });
    await opened.ledger.commit(items(cat(1)));
    expect((await opened.ledger.lease(lease)).actions).toEqual([]);
    expect(await opened.ledger.read.explainAction(id(1))).toMatchObject({
      action: { state: 'suppressed', error: { code: 'E_ACTION_STALE' } },
      because: { stale_ms_max: 500 },
      frame: { sha256: 'f'.repeat(64) },
    });
  });

  it('that a restart left behind unsent is suppressed; a younger one is sent', async () => {
    const folder = await folderForTest();
    const rules = {
      flap: { stale_ms_max: 30_000, does: [{ command: { device: 'feeder-1', name: 'open', expires_ms: 60_000 } }] },
    };
    {
      await using opened = await openSite(rules, { folder });
      await opened.ledger.commit(items(cat(1), dog(2), cat(20_000)));
    }
    const clock = shiftedClock(FIRST_MS + 31_000);
    await using opened = await openLedger({ folder, clock });
    expect((await opened.ledger.lease(lease)).actions.map((action) => action.id)).toEqual([id(20_000)]);
    expect((await opened.ledger.read.action(id(1)))?.state).toBe('suppressed');
    expect(opened.feed.flatMap(({ actions }) => actions.map((one) => [one.id, one.state]))).toEqual([
      [id(1), 'suppressed'],
    ]);
  });
});

it('what a person asks in vain costs those that are committed along with it nothing', async () => {
  await using opened = await openSite();
  const { ledger, folder } = opened;
  const commits = () => readMirror(folder).mirror?.commits ?? 0;
  const before = commits();
  const asked = await Promise.all([
    codeOf(ledger.commit(items(cat(1)))),
    ...[codeOf(ledger.retry('nothing')), codeOf(ledger.cancel('nothing')), codeOf(ledger.arm('nothing', undefined))],
    codeOf(ledger.commit(items(cat(2)))),
  ]);
  expect(asked).toEqual(['resolved', 'E_NOT_FOUND', 'E_NOT_FOUND', 'E_NOT_FOUND', 'resolved']);
  expect(commits() - before).toBe(1);
  expect(await opened.state(1)).toBe('pending');
});

describe('deletion by age', () => {
  it('keeps a decision as long as an action refers to it', async () => {
    const month = 31 * 86_400_000;
    await using opened = await openSite();
    await opened.ledger.commit(items(cat(1), cat(2)));
    opened.clock.shift(month);
    expect(await opened.ledger.retain(100)).toEqual({ deleted: 1 });
    await opened.ledger.lease(lease);
    expect((await opened.ledger.read.explainAction(id(1)))?.decision?.n).toBe(1);
    opened.clock.shift(month);
    expect(await opened.ledger.retain(100)).toEqual({ deleted: 2 });
    expect(await opened.state(1)).toBeUndefined();
    expect(await opened.ledger.commit(items(cat(1), cat(2)))).toEqual({ inserted: 0, duplicates: 2 });
  });
});

describe('rules in the ledger', () => {
  it('change between two decisions, or not at all', async () => {
    await using opened = await openSite();
    const wrong = published(site({ flap: { when: 'decision.lable == "cat"' } }), 'bad000000000');
    expect(await codeOf(opened.ledger.configure(wrong))).toBe('E_RULE');
    await opened.ledger.commit(items(cat(1)));
    expect(await opened.state(1)).toBe('pending');
    const dogs = published(site({ flap: { when: 'decision.label == "dog"' } }), 'd09000000000');
    await Promise.all([opened.ledger.configure(dogs), opened.ledger.commit(items(cat(2), dog(3)))]);
    expect(await opened.state(3)).toBe('pending');
    expect((await opened.ledger.read.decision('cam-1.front.k3v9.3.0.pets'))?.revision).toBe('d09000000000');
    expect((await opened.ledger.read.revisions(10)).map(({ revision }) => revision)).toContain('c7f1a2000000');
    expect((await opened.ledger.read.configuration())?.revision).toBe('d09000000000');
  });

  it('go on after a restart where they stood', async () => {
    const folder = await folderForTest();
    const rules = { flap: { for: { at_least: 2, of: 3 } } };
    {
      await using opened = await openSite(rules, { folder });
      await opened.ledger.commit(items(cat(1), dog(2)));
      expect(await opened.ledger.read.ruleStates()).toMatchObject([
        { rule: 'flap', keys: [{ key: 'cam-1', state: 'arming', holding: 1, seen: 2 }] },
      ]);
    }
    await using opened = await openLedger({ folder, clock: shiftedClock() });
    await opened.ledger.commit(items(cat(3)));
    expect((await opened.ledger.read.action(id(3)))?.state).toBe('pending');
    const because = (await opened.ledger.read.explainAction(id(3)))?.because;
    expect(because?.history).toEqual({ holding: 2, seen: 3, at_least: 2, of: 3 });
  });

  it('act by time, through a restart, each at its own due time', async () => {
    const folder = await folderForTest();
    {
      await using opened = await openSite({ flap: { for: { ms: 2000 } } }, { folder });
      await opened.ledger.commit(items(cat(1)));
    }
    await using opened = await openLedger({ folder, clock: shiftedClock(FIRST_MS + 3000) });
    await expect
      .poll(() => opened.feed.flatMap(({ actions }) => actions.map((action) => action.id)), { timeout: 15_000 })
      .toEqual([`cam-1.front.k3v9.1.0.pets~flap~cam-1~${FIRST_MS + 2001}~0`]);
  });

  it('count what they cannot evaluate, and show it', async () => {
    await using opened = await openSite({ flap: { when: 'decision.values.t > 1.0' } });
    await opened.ledger.commit(items(cat(1), cat(2)));
    expect(await opened.ledger.read.ruleStates('flap')).toMatchObject([
      { rule: 'flap', errors: 2, last_error: expect.stringContaining('No such key') },
    ]);
  });
});
