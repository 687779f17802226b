import type { Decision, Outcome } from '@brink/protocol';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { FIRST_MS, items, type OpenLedger, openLedger, outcome } from './ledger.testing.ts';
import type { DecisionQuery } from './records.ts';

// Pages by device and time against what a filter over everything gives. Most units are committed as they were received; every
// tenth one is hours late, as those of a spool are that waited for a model.

const DEVICES = ['cam-1', 'cam-2', 'cam-3'];
const LABELS = ['cat', 'dog', 'fox'];
const MINUTE_MS = 60_000;
const UNITS = 1500;

/** mulberry32 (https://gist.github.com/tommyettinger/46a574533244883189143505d203312c): a seed, the same run everywhere. */
function seeded(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), a | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const random = seeded(8);
const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;

function unit(seq: number): Outcome {
  const lateMs = random() < 0.1 ? random() * 240 * MINUTE_MS : 0;
  return outcome(seq, {
    ...{ device: pick(DEVICES), pipeline: pick(['pets', 'scene']), received_ms: FIRST_MS + seq * 9000 - lateMs },
    result: { task: 'classification', label: pick(LABELS), score: Math.round(random() * 100) / 100 },
  });
}

let opened: OpenLedger;
let all: Decision[];
beforeAll(async () => {
  opened = await openLedger();
  for (let seq = 1; seq <= UNITS; seq += 300) {
    await opened.ledger.commit(items(...Array.from({ length: 300 }, (_, at) => unit(seq + at))));
  }
  all = opened.feed.flatMap(({ decisions }) => decisions.map(({ decision }) => decision));
});
afterAll(() => opened[Symbol.asyncDispose]());

const atMs = ({ received_at }: Decision) => Date.parse(received_at);

/** What a page must hold. */
function expected(query: DecisionQuery): number[] {
  const found = all.filter(
    (decision) =>
      (['device', 'stream', 'pipeline', 'label'] as const).every(
        (key) => (query[key] ?? decision[key]) === decision[key],
      ) &&
      (decision.score ?? 0) >= (query.score_min ?? 0) &&
      atMs(decision) >= Math.ceil(query.since_ms ?? 0) &&
      atMs(decision) < (query.until_ms ?? Number.POSITIVE_INFINITY) &&
      decision.n > (query.after ?? 0),
  );
  const timed = query.since_ms !== undefined || query.until_ms !== undefined;
  if (query.after !== undefined) found.sort((a, b) => a.n - b.n);
  else if (timed) found.sort((a, b) => atMs(b) - atMs(a) || b.n - a.n);
  else found.sort((a, b) => b.n - a.n);
  return found.slice(0, query.limit).map(({ n }) => n);
}

const page = async (query: DecisionQuery) => (await opened.ledger.read.decisions(query)).items.map(({ n }) => n);
const maybe = <T>(value: () => T): T | undefined => (random() < 0.5 ? value() : undefined);

describe('a page of decisions', () => {
  it('holds what a filter over all of them gives, whatever is asked for', async () => {
    const lastMs = FIRST_MS + UNITS * 9000;
    const someTime = () => Math.round(FIRST_MS - 60 * MINUTE_MS + random() * (lastMs - FIRST_MS + 90 * MINUTE_MS));
    for (let asked = 0; asked < 200; asked++) {
      const query: DecisionQuery = {
        ...{ device: maybe(() => pick([...DEVICES, 'nobody'])), pipeline: maybe(() => pick(['pets', 'scene'])) },
        ...{ label: maybe(() => pick(LABELS)), score_min: maybe(() => Math.round(random() * 100) / 100) },
        ...{ since_ms: maybe(someTime), until_ms: maybe(someTime), after: maybe(() => Math.floor(random() * UNITS)) },
        limit: 1 + Math.floor(random() * 60),
      };
      expect(await page(query), JSON.stringify(query)).toEqual(expected(query));
    }
  });

  it('leads to the next one until there is none, and to each decision once', async () => {
    const query = { device: 'cam-2', since_ms: FIRST_MS + 60 * MINUTE_MS, until_ms: FIRST_MS + 150 * MINUTE_MS };
    const seen: number[] = [];
    let pages = 0;
    for (let after: number | undefined = 0; after !== undefined; pages++) {
      const one = await opened.ledger.read.decisions({ ...query, after, limit: 25 });
      seen.push(...one.items.map(({ n }) => n));
      after = one.next;
    }
    expect(pages).toBeGreaterThan(3);
    expect(seen).toEqual(expected({ ...query, after: 0, limit: UNITS }));
  });
});

describe('sums', () => {
  it('of each bucket are those of its decisions, for one device and for all', async () => {
    for (const device of [undefined, 'cam-1']) {
      const since_ms = FIRST_MS + 30 * MINUTE_MS;
      const until_ms = FIRST_MS + 100 * MINUTE_MS;
      const { items: buckets } = await opened.ledger.read.summary({ device, since_ms, until_ms, bucket_s: 600 });
      const mine = all.filter((decision) => device === undefined || decision.device === device);
      for (const { at, decided, labels, score } of buckets) {
        const from = Date.parse(at);
        const inside = mine.filter((one) => atMs(one) >= from && atMs(one) < Math.min(from + 600_000, until_ms));
        expect(decided).toBe(inside.length);
        const cats = inside.filter(({ label }) => label === 'cat').length;
        expect(labels.find(({ label }) => label === 'cat')?.count ?? 0).toBe(cats);
        expect(score?.max).toBe(Math.max(...inside.map((one) => one.score ?? 0)));
        expect(score?.mean).toBeCloseTo(inside.reduce((sum, one) => sum + (one.score ?? 0), 0) / inside.length, 9);
      }
      expect(buckets.reduce((sum, { decided }) => sum + decided, 0)).toBe(
        mine.filter((one) => atMs(one) >= since_ms && atMs(one) < until_ms).length,
      );
    }
  });

  it('are refused where too many buckets are asked for, or such as are no whole minutes', async () => {
    const ask = (bucket_s: number, minutes: number) =>
      opened.ledger.read.summary({ since_ms: FIRST_MS, until_ms: FIRST_MS + minutes * MINUTE_MS, bucket_s });
    await expect(ask(60, 501)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' });
    await expect(ask(90, 10)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' });
    await expect(ask(0, 10)).rejects.toMatchObject({ code: 'E_BAD_REQUEST' });
    expect((await ask(60, 500)).items.length).toBeGreaterThan(0);
  });
});
