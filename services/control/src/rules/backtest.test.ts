import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Backtest, Outcome } from '@brink/protocol';
import { systemClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { saveArming } from '../ledger/arming.ts';
import { FIRST_MS, items, openLedger, outcome, published, site } from '../ledger/ledger.testing.ts';
import { savePublished } from '../ledger/revisions.ts';
import { decisionOf } from '../ledger/rows.ts';
import { openStore, openStoreForReading, type Store } from '../ledger/store.ts';
import { type BacktestLimits, runBacktest } from './backtest.ts';
import { createBacktests } from './backtests.ts';
import type { BacktestOrder } from './order.ts';

const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
/** Each is several commits to the disk. */
const LIVE = LONG ? 300 : 80;

type Rules = Parameters<typeof site>[0];
type Published = BacktestOrder['before'];

/** A store with decisions in it, as a ledger leaves it. */
async function storedSite(rules: Rules, change: (site: Published) => void = () => {}) {
  const folder = await mkdtemp(join(tmpdir(), 'brink-backtest-'));
  const store = await openStore(folder);
  const active = published(site(rules));
  change(active);
  savePublished(store, active, { nowMs: FIRST_MS - 3_600_000 });
  const lanes = new Map<string, number>();
  return {
    ...{ folder, store, active },
    /** @param n of the first; numbers that are left out are rows that were not kept, or are gone */
    see(outcomes: readonly Outcome[], n = 1): void {
      store.db.exec('BEGIN');
      for (const [at, one] of outcomes.entries()) insert(store, lanes, one, n + at);
      store.db.exec('COMMIT');
    },
    backtest: (then: Rules, order: Partial<BacktestOrder> = {}, limits: BacktestLimits = {}): Backtest =>
      runBacktest(store, orderOf(active, then, order), { timerGraceMs: 0, ...limits }),
    async [Symbol.asyncDispose]() {
      store.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

function insert(store: Store, lanes: Map<string, number>, one: Outcome, n: number): void {
  const name = `${one.device} ${one.stream} ${one.pipeline}`;
  const lane = lanes.get(name) ?? lanes.size + 1;
  if (!lanes.has(name)) {
    store
      .sql('INSERT INTO lane (id, device, stream, pipeline) VALUES (?, ?, ?, ?)')
      .run(lane, one.device, one.stream, one.pipeline);
  }
  lanes.set(name, lane);
  const { label = null, score = null, ...rest } = decisionOf(one, n, 'c7f1a2000000');
  store
    .sql(
      `INSERT INTO decision (n, lane, boot, seq, part, outcome, label, score, received_ms, body, evidence)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{}')`,
    )
    .run(
      ...([n, lane, one.boot, one.seq, one.part, one.outcome, label, score, one.received_ms] as const),
      JSON.stringify({ ...rest, ...(label === null ? {} : { label }), ...(score === null ? {} : { score }) }),
    );
}

const orderOf = (before: BacktestOrder['before'], rules: Rules, order: Partial<BacktestOrder> = {}): BacktestOrder => ({
  ...{ before, after: published(site(rules), 'aaaaaaaaaaaa'), sinceMs: FIRST_MS - 1000 },
  ...{ untilMs: FIRST_MS + 3_600_000, listed: 500, ...order },
});

const sees = (seq: number, atMs: number, label: string, score = 0.9, device = 'cam-1') =>
  outcome(seq, {
    device,
    received_ms: FIRST_MS + atMs,
    result: { task: 'classification', label, score, classes: [{ label, score }] },
  });

/** mulberry32: numbers that are the same in every run. */
function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

function someDay(count: number): Outcome[] {
  const next = random(7);
  let atMs = 0;
  return Array.from({ length: count }, (_, at) => {
    atMs += Math.floor(next() * 700);
    const device = next() < 0.5 ? 'cam-1' : 'cam-2';
    return sees(at + 1, atMs, next() < 0.6 ? 'cat' : 'dog', Number(next().toFixed(3)), device);
  });
}

const shut = { command: { device: 'feeder-1', name: 'shut', args: {}, expires_ms: 10_000, ack: 'required' as const } };
const WORKING: Rules = {
  counted: { for: { at_least: 2, of: 3 }, cooldown_ms: 4000, on_release: [shut] },
  held: { for: { ms: 500 }, release: { when: 'decision.label == "dog"', ms: 300 }, on_release: [shut] },
  plain: { when: 'decision.score > 0.95' },
};

const firingsOf = ({ differences }: Backtest) =>
  differences.flatMap(({ rule, phase, key, at, decision, actions }) =>
    actions.map(() => `${rule} ${phase} ${key} ${at} ${decision}`),
  );

describe('a backtest of the rules as they are', () => {
  it('gives exactly the actions that were recorded live', async () => {
    let nowMs = FIRST_MS;
    await using live = await openLedger({
      clock: { ...systemClock, now: () => nowMs, monotonic: () => nowMs },
      timerGraceMs: 0,
    });
    await live.ledger.configure(published(site(WORKING)));
    for (const one of someDay(LIVE)) {
      nowMs = Math.max(nowMs, one.received_ms + one.latency_ms);
      await live.ledger.commit(items(one));
      // As the dispatcher does: what is due leaves at once.
      const { actions } = await live.ledger.lease({ limit: 100, leaseMs: 5000 });
      if (actions.length === 0) continue;
      await live.ledger.settle(actions.map(({ id, attempt }) => ({ id, attempt, result: 'sent' as const })));
    }
    const actions = await allActions(live);
    expect(actions.length).toBeGreaterThan(LIVE / 5);
    // Against no rules at all everything is new.
    const order = orderOf(published(site({}), 'bbbbbbbbbbbb'), WORKING, { untilMs: nowMs });
    const store = openStoreForReading(live.folder);
    const backtest = runBacktest(store, order, { timerGraceMs: 0 });
    store.close();
    expect(backtest.unlisted).toBe(0);
    expect(firingsOf(backtest).sort()).toEqual(actions.sort());
    expect(backtest.rules.map(({ rule, change }) => [rule, change])).toEqual([
      ['counted', 'added'],
      ['held', 'added'],
      ['plain', 'added'],
    ]);
    expect(backtest).toMatchObject({ complete: true, decisions: LIVE, approximate: [] });
  });

  it('finds no difference', async () => {
    await using stored = await storedSite(WORKING);
    stored.see(someDay(100));
    const { rules, differences, unlisted } = stored.backtest(WORKING);
    expect([differences, unlisted]).toEqual([[], 0]);
    expect(rules.map(({ rule, change, fires, silent }) => [rule, change, fires, silent])).toEqual(
      ['counted', 'held', 'plain'].map((rule) => [rule, 'same', 0, 0]),
    );
    expect(rules.every(({ before, after, same }) => before > 0 && before === after && after === same)).toBe(true);
  });

  it('reads the same whatever the windows are', async () => {
    await using stored = await storedSite(WORKING);
    stored.see(someDay(60));
    const bare = { before: published(site({}), 'bbbbbbbbbbbb') };
    const whole = { ...stored.backtest(WORKING, bare), took_ms: 0 };
    for (const windowRows of [1, 7, 59]) {
      expect({ ...stored.backtest(WORKING, bare, { windowRows }), took_ms: 0 }).toEqual(whole);
    }
  });
});

async function allActions({ ledger }: Awaited<ReturnType<typeof openLedger>>): Promise<string[]> {
  const { items: records } = await ledger.read.actions({ limit: 500 });
  const explained = await Promise.all(records.map(({ id }) => ledger.read.explainAction(id)));
  return explained.map((one) => {
    const { rule, phase, key, decision } = one?.action ?? {};
    return `${rule} ${phase} ${key} ${one?.because?.at} ${decision}`;
  });
}

describe('a backtest of a changed rule', () => {
  it('says what would fire, what would no longer, and what would do something else', async () => {
    await using stored = await storedSite({ flap: {}, other: { when: 'true' } });
    stored.see([sees(1, 0, 'cat', 0.9), sees(2, 100, 'dog'), sees(3, 200, 'cat', 0.65), sees(4, 300, 'dog')]);
    stored.see([sees(5, 400, 'cat', 0.5), sees(6, 500, 'dog')], 5);
    const stricter = stored.backtest({
      flap: { when: 'decision.label == "cat" && decision.score >= 0.8' },
      other: { when: 'true' },
    });
    expect(stricter.rules).toHaveLength(1);
    expect(stricter.rules[0]).toMatchObject({
      rule: 'flap',
      change: 'changed',
      before: 2,
      after: 1,
      same: 1,
      silent: 1,
    });
    expect(stricter.differences).toMatchObject([{ difference: 'silent', decision: 'cam-1.front.k3v9.3.0.pets' }]);

    const looser = stored.backtest({ flap: { when: 'decision.label == "cat"' }, other: { when: 'true' } });
    expect(looser.differences).toMatchObject([
      { difference: 'fires', decision: 'cam-1.front.k3v9.5.0.pets', actions: [{ command: { name: 'open' } }] },
    ]);

    const larger = { command: { device: 'feeder-1', name: 'open', args: { portion: 3 } } };
    const other = stored.backtest({ flap: { does: [larger] }, other: { when: 'true' } });
    expect(other.rules[0]).toMatchObject({ before: 2, after: 2, same: 0, differs: 2 });
    expect(other.differences[0]).toMatchObject({
      difference: 'differs',
      actions: [{ command: { args: { portion: 3 } } }],
      before: [{ command: { args: { portion: 2 } } }],
    });
  });

  it('names rules that came and went', async () => {
    await using stored = await storedSite({ flap: {} });
    stored.see([sees(1, 0, 'cat')]);
    const { rules, differences } = stored.backtest({ fresh: { when: 'decision.label == "cat"' } });
    expect(rules.map(({ rule, change, before, after }) => [rule, change, before, after])).toEqual([
      ['flap', 'removed', 1, 0],
      ['fresh', 'added', 0, 1],
    ]);
    expect(differences.map(({ difference, rule }) => `${difference} ${rule}`)).toEqual(['fires fresh', 'silent flap']);
  });

  it('takes what came before `since` as warm-up', async () => {
    await using stored = await storedSite({ flap: { cooldown_ms: 30_000 } });
    stored.see([sees(1, 0, 'cat'), sees(2, 100, 'dog'), sees(3, 20_000, 'cat'), sees(4, 20_100, 'dog')]);
    const without = { flap: { cooldown_ms: 0 } };
    const { rules } = stored.backtest(without, { sinceMs: FIRST_MS + 10_000 });
    // The first one is still cooling at the third: a run that begins at `since` would let it fire.
    expect(rules[0]).toMatchObject({ before: 0, after: 1, fires: 1 });
  });

  it('lets time pass where nothing comes, up to `until`', async () => {
    await using stored = await storedSite({});
    stored.see([sees(1, 0, 'cat'), sees(2, 5000, 'dog', 0.9, 'cam-2')]);
    const then = { held: { for: { ms: 500 } }, silent: { when: undefined, absent_ms: 60_000 } };
    const { differences } = stored.backtest(then, { untilMs: FIRST_MS + 62_000 });
    expect(differences.map(({ rule, key, at }) => [rule, key, Date.parse(at) - FIRST_MS])).toEqual([
      ['held', 'cam-1', 500],
      ['silent', 'cam-1', 60_000],
    ]);
  });

  it('counts evaluations that fail, and triggers that were too old', async () => {
    await using stored = await storedSite({ flap: {} });
    stored.see([sees(1, 60_000, 'cat', 0.9, 'cam-2'), sees(2, 0, 'cat', 0.9)]);
    const { rules } = stored.backtest({ flap: { when: 'decision.values["x"] > 1.0 || decision.label == "cat"' } });
    expect(rules[0]).toMatchObject({ before: 1, after: 1, suppressed: 1 });
    const failing = stored.backtest({ flap: { when: 'decision.values["x"] > 1.0' } });
    expect(failing.rules[0]).toMatchObject({ after: 0, errors: 2 });
    expect(failing.rules[0]?.last_error).toContain('when');
  });

  it('counts all differences, and lists as many as are wanted', async () => {
    await using stored = await storedSite({ flap: { when: 'false' } });
    stored.see(Array.from({ length: 40 }, (_, at) => sees(at + 1, at * 10, at % 2 ? 'dog' : 'cat')));
    const backtest = stored.backtest({ flap: {} }, { listed: 5 });
    expect([backtest.rules[0]?.fires, backtest.differences.length, backtest.unlisted]).toEqual([20, 5, 15]);
  });
});

describe('what may be wrong with the answer is said', () => {
  const approximateOf = (backtest: Backtest) =>
    backtest.approximate.map(({ rule, pipeline, why }) => [rule ?? pipeline ?? '', why.split(';')[0]]);

  it('where a pipeline did not keep every decision', async () => {
    await using stored = await storedSite({ flap: {} }, ({ configuration }) => {
      Object.assign(configuration.streams['front']?.pipelines['pets'] ?? {}, { keep: 'changes' });
    });
    stored.see([sees(1, 0, 'cat')]);
    stored.see([sees(4, 30, 'dog')], 4);
    const backtest = stored.backtest({ flap: { when: 'true' } });
    expect(approximateOf(backtest)).toEqual([['pets', 'not every decision of it is kept (keep: "changes")']]);
    expect(backtest.decisions).toBe(2);
  });

  it('where an earlier configuration, active in that time, did not', async () => {
    await using stored = await storedSite({ flap: {} }, ({ configuration }) => {
      Object.assign(configuration.streams['front']?.pipelines['pets'] ?? {}, { keep: { every_ms: 1000 } });
    });
    stored.see([sees(1, 0, 'cat')]);
    const now = published(site({ flap: {} }), 'cccccccccccc');
    savePublished(stored.store, now, { nowMs: FIRST_MS + 1000 });
    stored.see([sees(2, 5000, 'cat')], 2);
    const of = (order: Partial<BacktestOrder>) =>
      runBacktest(stored.store, orderOf(now, { flap: { when: 'true' } }, order)).approximate.map(
        ({ pipeline }) => pipeline,
      );
    expect(of({})).toEqual(['pets']);
    expect(of({ sinceMs: FIRST_MS + 4000 })).toEqual([]);
  });

  it('where older decisions are gone', async () => {
    await using stored = await storedSite({ flap: {} });
    stored.see([sees(1, 10_000, 'cat')], 900);
    const why = 'older decisions are no longer kept';
    expect(approximateOf(stored.backtest({ flap: { when: 'true' } }))).toEqual([['', why]]);
    expect(stored.backtest({ flap: { when: 'true' } }, { sinceMs: FIRST_MS + 10_000 }).approximate).toEqual([]);
  });

  it('where a rule is set aside, or a pipeline has no decision', async () => {
    await using stored = await storedSite({ flap: {} });
    expect(approximateOf(stored.backtest({ flap: { when: 'true' } }))).toEqual([
      ['pets', 'no decision of it is stored'],
    ]);
    stored.see([sees(1, -2000, 'cat')]);
    saveArming(stored.store, 'flap', { state: 'disarmed', sinceMs: FIRST_MS, by: 'ann' });
    expect(approximateOf(stored.backtest({ flap: { when: 'true' } }))).toEqual([['flap', 'it is or was disarmed']]);
  });

  it('where it ended early', async () => {
    await using stored = await storedSite({ flap: {} });
    stored.see(Array.from({ length: 10 }, (_, at) => sees(at + 1, at * 10, 'cat')));
    const many = stored.backtest({ flap: { when: 'true' } }, {}, { decisionsMax: 4 });
    expect(many).toMatchObject({ complete: false, decisions: 4, error: 'more than 4 decisions' });
    expect(many.through).toBe(new Date(FIRST_MS + 30).toISOString());
    const late = stored.backtest({ flap: { when: 'true' } }, {}, { timeMsMax: -1 });
    expect(late).toMatchObject({ complete: false, error: 'it took longer than its limit' });
  });
});

/** Before each window that is read: a commit by another connection, and whether a checkpoint then gets all of it. */
async function checkpoints(inOneTransaction: boolean): Promise<boolean[]> {
  const count = LONG ? 300_000 : 2000;
  await using stored = await storedSite({ flap: {} });
  stored.see(someDay(count));
  // A second writer, or one that waits, would be refused at once.
  stored.store.db.exec('PRAGMA busy_timeout = 0');
  const reader = openStoreForReading(stored.folder);
  const whole: boolean[] = [];
  let n = count;
  const store: Store = {
    ...reader,
    sql(text) {
      if (text.includes('FROM decision WHERE n >')) {
        n += 1;
        stored.see([sees(n, 1e9, 'cat')], n);
        const { log, checkpointed } = stored.store.sql('PRAGMA wal_checkpoint(PASSIVE)').get() ?? {};
        whole.push(log === checkpointed);
      }
      return reader.sql(text);
    },
  };
  if (inOneTransaction) reader.db.exec('BEGIN; SELECT count(*) FROM lane');
  const order = orderOf(stored.active, { flap: { when: 'true' } }, { untilMs: FIRST_MS + count * 700 });
  const { complete, decisions } = runBacktest(store, order, { windowRows: count / 10 });
  reader.close();
  expect([complete, decisions]).toEqual([true, count]);
  return whole.slice(1);
}

describe('the WAL, while a backtest reads,', () => {
  it('can be checkpointed after each of its statements, and commits go on', async () => {
    const whole = await checkpoints(false);
    expect(whole.length).toBeGreaterThan(5);
    expect(whole).not.toContain(false);
  });

  it('would grow all the while, if it read in one transaction', async () => {
    expect(await checkpoints(true)).not.toContain(true);
  });
});

describe('a backtest in its thread', () => {
  it('is one at a time, and ends when nobody waits', async () => {
    await using stored = await storedSite({ flap: {} });
    stored.see(someDay(50));
    const backtests = createBacktests({ folder: stored.folder }, { clock: systemClock });
    const order = orderOf(stored.active, { flap: { when: 'true' } });
    const running = backtests.run(order, new AbortController().signal);
    expect(() => backtests.admit()).toThrow('E_BUSY');
    await expect(backtests.run(order, new AbortController().signal)).rejects.toMatchObject({ code: 'E_BUSY' });
    expect((await running).decisions).toBe(50);

    const gone = new AbortController();
    const left = backtests.run(order, gone.signal);
    gone.abort();
    await expect(left).rejects.toMatchObject({ code: 'E_CANCELLED' });
    backtests.admit();
  });

  it('hands on what the store says', async () => {
    await using stored = await storedSite({ flap: {} });
    const backtests = createBacktests({ folder: `${stored.folder}/nowhere` }, { clock: systemClock });
    const order = orderOf(stored.active, { flap: {} });
    await expect(backtests.run(order, new AbortController().signal)).rejects.toMatchObject({
      code: 'E_STORAGE_READONLY',
    });
  });
});
