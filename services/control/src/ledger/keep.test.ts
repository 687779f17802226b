import type { Configuration, KeepConfig, Outcome } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { folderForTest, shiftedClock } from './folder.testing.ts';
import { FIRST_MS, items, openLedger, outcome, published, site } from './ledger.testing.ts';

const DAY_MS = 86_400_000;
const rule = (when: string, rest: Record<string, unknown> = {}) => ({ flap: { when, ...rest } });
const never = rule('decision.score > 2.0');

function keeping(keep: KeepConfig, rules: Record<string, Record<string, unknown>> = never): Configuration {
  const configuration = site(rules);
  const { front } = configuration.streams;
  if (front?.pipelines.pets === undefined) throw new Error('the site of the tests has pets');
  front.pipelines.pets.keep = keep;
  return configuration;
}

const labelled = (seq: number, label: string, fields: Partial<Outcome> = {}) =>
  outcome(seq, { result: { task: 'classification', label, score: 0.9 }, ...fields });
type Opened = Awaited<ReturnType<typeof openLedger>>;
const rows = async ({ ledger }: Opened) =>
  (await ledger.read.decisions({ limit: 500 })).items.map(({ frames }) => frames.last).reverse();

describe('a pipeline that keeps changes', () => {
  it('keeps rows where something changed; numbers, counts, sums and the feed know every decision', async () => {
    await using opened = await openLedger({ clock: shiftedClock() });
    const { ledger } = opened;
    await ledger.configure(published(keeping('changes')));
    const labels = ['cat', 'cat', 'dog', 'dog', 'dog', 'cat'];
    await ledger.commit(items(...labels.map((label, at) => labelled(at + 1, label))));
    expect(await rows(opened)).toEqual([1, 3, 6]);
    expect(opened.feed.flatMap(({ decisions }) => decisions.map(({ decision }) => decision.n))).toEqual([
      1, 2, 3, 4, 5, 6,
    ]);
    expect(await ledger.read.counts()).toMatchObject([{ decided: 6, duplicate: 0 }]);
    const { items: sums } = await ledger.read.summary({
      since_ms: FIRST_MS,
      until_ms: FIRST_MS + 60_000,
      bucket_s: 60,
    });
    expect(sums).toMatchObject([
      {
        decided: 6,
        labels: [
          { label: 'cat', count: 3 },
          { label: 'dog', count: 3 },
        ],
      },
    ]);
    expect(ledger.stats).toMatchObject({ rows: 3, unkept: 3 });
    // Whoever posted the frame over HTTP gets its decision all the same.
    expect((await ledger.read.decision('cam-1.front.k3v9.2.0.pets'))?.label).toBe('cat');
  });

  it('commits no unit twice, kept or not, in this life or the next; and numbers go on', async () => {
    const folder = await folderForTest();
    const all = items(...Array.from({ length: 2000 }, (_, at) => labelled(at + 1, 'cat', { part: at % 3 })));
    {
      await using opened = await openLedger({ folder, clock: shiftedClock() });
      await opened.ledger.configure(published(keeping('changes')));
      expect(await opened.ledger.commit(all)).toEqual({ inserted: 2000, duplicates: 0 });
      expect(await opened.ledger.commit(all)).toEqual({ inserted: 0, duplicates: 2000 });
      expect(await rows(opened)).toEqual([1]);
    }
    await using opened = await openLedger({ folder, clock: shiftedClock() });
    expect(await opened.ledger.commit(all)).toEqual({ inserted: 0, duplicates: 2000 });
    // What changed last is known as well, and another part of a frame that was seen is another unit.
    await opened.ledger.commit(items(labelled(2001, 'cat'), labelled(1, 'cat', { part: 7 }), labelled(2002, 'dog')));
    expect(await rows(opened)).toEqual([1, 2002]);
    expect((await opened.ledger.read.decisions({ limit: 1 })).items[0]?.n).toBe(2003);
    // As it is with a configuration that keeps all again.
    await opened.ledger.configure(published(keeping('all'), 'd00000000000'));
    expect(await opened.ledger.commit(all)).toEqual({ inserted: 0, duplicates: 2000 });
  });

  it('keeps what is known about its units beyond their age', async () => {
    const clock = shiftedClock();
    await using opened = await openLedger({ clock });
    await opened.ledger.configure(published(keeping('changes')));
    const all = items(...[1, 2, 3, 5].map((seq) => labelled(seq, 'cat')));
    await opened.ledger.commit(all);
    clock.shift(31 * DAY_MS);
    await opened.ledger.retain(100);
    expect(await rows(opened)).toEqual([]);
    expect(await opened.ledger.commit(all)).toEqual({ inserted: 0, duplicates: 4 });
    expect(await opened.ledger.commit(items(labelled(4, 'cat')))).toEqual({ inserted: 1, duplicates: 0 });
  });
});

describe('what is not kept', () => {
  it('is seen by rules before, and stays where an action refers to it, as long as the action', async () => {
    const clock = shiftedClock();
    await using opened = await openLedger({ clock });
    const { ledger } = opened;
    await ledger.configure(published(keeping('changes', rule('decision.score > 0.95'))));
    const score = (seq: number, value: number) =>
      labelled(seq, 'cat', { result: { task: 'classification', label: 'cat', score: value } });
    await ledger.commit(items(score(1, 0.9), score(2, 0.9), score(3, 0.99), score(4, 0.9)));
    expect(await rows(opened)).toEqual([1, 3]);
    const [action] = (await ledger.read.actions({ limit: 10 })).items;
    expect((await ledger.read.explainAction(action?.id ?? ''))?.frame?.sha256).toBe('f'.repeat(64));
    await ledger.retain(100);
    expect(await rows(opened)).toEqual([1, 3]);
    await ledger.cancel(action?.id ?? '');
    clock.shift(31 * DAY_MS);
    await ledger.retain(100);
    expect(await rows(opened)).toEqual([]);
    expect(await ledger.commit(items(score(3, 0.99)))).toEqual({ inserted: 0, duplicates: 1 });
  });

  it('stays while a rule would act on it when its timer fires, and goes when it no longer would', async () => {
    const clock = shiftedClock();
    await using opened = await openLedger({ clock });
    const { ledger } = opened;
    const held = keeping({ every_ms: 3_600_000 }, rule('decision.label == "cat"', { for: { ms: 5000 } }));
    await ledger.configure(published(held));
    await ledger.commit(items(labelled(1, 'dog'), labelled(2, 'cat'), labelled(3, 'cat')));
    // 2 was what the timer would fire on until 3 came.
    expect(await rows(opened)).toEqual([1, 2, 3]);
    await ledger.retain(100);
    expect(await rows(opened)).toEqual([1, 3]);
    await ledger.commit(items(labelled(4, 'dog')));
    await ledger.retain(100);
    expect(await rows(opened)).toEqual([1]);
    expect(await ledger.commit(items(labelled(2, 'cat'), labelled(3, 'cat')))).toMatchObject({ duplicates: 2 });
  });
});
