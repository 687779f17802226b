import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import type { BrinkError } from '@brink/protocol';
import { silentLogger, systemClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { folderForTest, shiftedClock } from './folder.testing.ts';
import { deadLetter, FIRST_MS, items, openLedger, outcome, published, site } from './ledger.testing.ts';
import { createLedger } from './ledger.ts';

const DAY_MS = 86_400_000;
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'resolved',
    (error: BrinkError) => error.code,
  );

describe('one outcome per unit', () => {
  /** The same batch three times, at once and one after the other. @returns how many decisions there are */
  async function sendThrice(testing: { dropUniqueKey?: boolean }): Promise<number> {
    await using opened = await openLedger({ testing });
    const batch = items(outcome(1), outcome(2), outcome(2, { part: 1 }), outcome(3, { pipeline: 'scene' }));
    await Promise.all([opened.ledger.commit(batch), opened.ledger.commit(batch)]);
    await opened.ledger.commit(batch);
    const { items: decisions } = await opened.ledger.read.decisions({ limit: 500 });
    return decisions.length;
  }

  it('a batch that is sent again is answered as committed, and is there once', async () => {
    expect(await sendThrice({})).toBe(4);
  });

  it('the negative control: without the unique key it is there three times', async () => {
    expect(await sendThrice({ dropUniqueKey: true })).toBe(12);
  });

  it('says what was new, tells the feed once, and counts the rest', async () => {
    await using opened = await openLedger();
    expect(await opened.ledger.commit(items(outcome(1), outcome(2)))).toEqual({ inserted: 2, duplicates: 0 });
    expect(await opened.ledger.commit(items(outcome(2), outcome(3)))).toEqual({ inserted: 1, duplicates: 1 });
    expect(opened.feed.flatMap((committed) => committed.decisions.map(({ decision }) => decision.n))).toEqual([
      1, 2, 3,
    ]);
    const counts = await opened.ledger.read.counts();
    expect(counts).toEqual([
      { device: 'cam-1', stream: 'front', pipeline: 'pets', decided: 3, expired: 0, dead: 0, duplicate: 1 },
    ]);
  });

  it('holds after its row was deleted by age, and swallows no number that was never there', async () => {
    const clock = shiftedClock();
    await using opened = await openLedger({ clock });
    await opened.ledger.commit(items(outcome(1), outcome(2), outcome(4)));
    clock.shift(31 * DAY_MS);
    expect(await opened.ledger.retain(100)).toEqual({ deleted: 3 });
    expect((await opened.ledger.read.decisions({ limit: 10 })).items).toEqual([]);
    expect(await opened.ledger.commit(items(outcome(1), outcome(2), outcome(3), outcome(4)))).toEqual({
      inserted: 1,
      duplicates: 3,
    });
    const [again] = (await opened.ledger.read.decisions({ limit: 10 })).items;
    expect([again?.id, again?.n]).toEqual(['cam-1.front.k3v9.3.0.pets', 4]);
  });

  it('holds across a restart, and numbers go on', async () => {
    const folder = await folderForTest();
    const clock = shiftedClock();
    {
      await using opened = await openLedger({ folder, clock });
      await opened.ledger.commit(items(outcome(1), outcome(2)));
      clock.shift(31 * DAY_MS);
      await opened.ledger.retain(100);
    }
    await using opened = await openLedger({ folder, clock });
    expect(await opened.ledger.commit(items(outcome(1), outcome(9)))).toEqual({ inserted: 1, duplicates: 1 });
    expect((await opened.ledger.read.decisions({ limit: 1 })).items[0]?.n).toBe(3);
  });
});

describe('a commit', () => {
  it('is one of many in a transaction, in order of arrival', async () => {
    await using opened = await openLedger({ groupMs: 5 });
    const sent = Array.from({ length: 300 }, (_, index) => opened.ledger.commit(items(outcome(index + 1))));
    await Promise.all(sent);
    expect(opened.ledger.stats.groups).toBeLessThan(30);
    const seqs = opened.feed.flatMap((committed) => committed.decisions.map(({ decision }) => decision.frames.last));
    expect(seqs).toEqual(Array.from({ length: 300 }, (_, index) => index + 1));
  });

  it('gives the feed the decision that is read later, as text too', async () => {
    await using opened = await openLedger();
    await opened.ledger.configure(published(site()));
    await opened.ledger.commit(items(outcome(1)));
    const [first] = opened.feed[0]?.decisions ?? [];
    expect(JSON.parse(first?.json ?? '')).toEqual(first?.decision);
    expect(await opened.ledger.read.decision('cam-1.front.k3v9.1.0.pets')).toEqual(first?.decision);
    expect(first?.decision).toMatchObject({
      n: 1,
      label_text: '猫',
      revision: 'c7f1a2000000',
      received_at: '2026-11-22T16:00:00.001Z',
    });
  });

  it('is refused when too many wait', async () => {
    await using opened = await openLedger({ queueMax: 10, groupMs: 5 });
    const sent = Array.from({ length: 12 }, (_, index) => codeOf(opened.ledger.commit(items(outcome(index + 1)))));
    expect((await Promise.all(sent)).slice(-2)).toEqual(['E_BUSY', 'E_BUSY']);
    expect(opened.ledger.stats).toMatchObject({ committed: 10, refusedBusy: 2, queued: 0 });
  });

  it('is refused before start and after stop', async () => {
    const ledger = createLedger({ folder: await folderForTest() }, { logger: silentLogger, clock: systemClock });
    expect(await codeOf(ledger.commit(items(outcome(1))))).toBe('E_UNAVAILABLE');
    await ledger.start(new AbortController().signal);
    const last = ledger.commit(items(outcome(1)));
    await ledger.stop();
    expect(await last).toEqual({ inserted: 1, duplicates: 0 });
    expect(await codeOf(ledger.commit(items(outcome(2))))).toBe('E_UNAVAILABLE');
    expect(await codeOf(ledger.read.counts())).toBe('E_UNAVAILABLE');
  });

  it('that is bad harms no other of its group', async () => {
    await using opened = await openLedger({ groupMs: 5 });
    const bad = items(outcome(2)).map((item) => ({ ...item, json: '{"torn' }));
    const sent = [items(outcome(1)), bad, items(outcome(3))].map((batch) => codeOf(opened.ledger.commit(batch)));
    expect(await Promise.all(sent)).toEqual(['resolved', 'E_INTERNAL', 'resolved']);
    expect((await opened.ledger.read.decisions({ limit: 10 })).items.map(({ n }) => n)).toEqual([2, 1]);
    const told = opened.feed.flatMap(({ decisions }) => decisions.map(({ decision }) => decision.n));
    expect(told).toEqual([1, 2]);
  });
});

describe('a full disk', () => {
  it('refuses the batch whole, serves reads, and takes the batch again once there is room', async () => {
    const clock = shiftedClock();
    await using opened = await openLedger({ clock, testing: { pagesMax: 120 } });
    let seq = 0;
    let refused: BrinkError | undefined;
    const batch = () => items(...Array.from({ length: 20 }, () => outcome(++seq)));
    let last: ReturnType<typeof batch> = [];
    while (refused === undefined && seq < 20_000) {
      last = batch();
      refused = await opened.ledger.commit(last).then(
        () => undefined,
        (error: BrinkError) => error,
      );
    }
    expect([refused?.code, refused?.retryable]).toEqual(['E_STORAGE_FULL', true]);
    expect(opened.ledger.problem).toContain('E_STORAGE_FULL');
    const [newest] = (await opened.ledger.read.decisions({ limit: 1 })).items;
    expect(newest?.frames.last).toBe(seq - 20);
    expect((await opened.ledger.read.counts())[0]?.decided).toBe(seq - 20);
    expect(opened.feed.at(-1)?.decisions.at(-1)?.decision.frames.last).toBe(seq - 20);

    clock.shift(31 * DAY_MS);
    await opened.ledger.retain(seq);
    expect(await opened.ledger.commit(last)).toEqual({ inserted: 20, duplicates: 0 });
    expect(opened.ledger.problem).toBeUndefined();
    expect((await opened.ledger.read.decisions({ limit: 1 })).items[0]?.n).toBe(seq);
  });
});

describe('a thread that ends', () => {
  it('fails what was under way, is started again, and nothing that was committed is lost', async () => {
    await using opened = await openLedger({ testing: { exitOnDevice: 'bomb' } });
    await opened.ledger.commit(items(outcome(1)));
    const lost = [opened.ledger.deviceStatus('bomb', 'online'), opened.ledger.commit(items(outcome(2)))];
    expect(await Promise.all(lost.map(codeOf))).toEqual(['E_UNAVAILABLE', 'E_UNAVAILABLE']);
    expect(opened.ledger.problem).toContain('thread ended');
    await expect.poll(() => opened.ledger.problem, { timeout: 10_000 }).toBeUndefined();
    expect(await opened.ledger.commit(items(outcome(1), outcome(2)))).toEqual({ inserted: 1, duplicates: 1 });
    expect((await opened.ledger.read.decisions({ limit: 10 })).items).toHaveLength(2);
  });
});

describe('a start', () => {
  const start = async (folder: string) => {
    const ledger = createLedger({ folder }, { logger: silentLogger, clock: systemClock });
    return ledger.start(new AbortController().signal).then(
      () => ledger.stop(),
      (error: BrinkError) => {
        throw error;
      },
    );
  };

  it('refuses a store that a newer program wrote, and touches nothing', async () => {
    const folder = await folderForTest();
    await start(folder);
    const db = new DatabaseSync(join(folder, 'ledger.db'));
    db.exec('PRAGMA user_version = 999');
    db.close();
    await expect(start(folder)).rejects.toMatchObject({
      code: 'E_STORAGE_NEWER',
      detail: expect.stringContaining('schema 999'),
    });
  });

  it('refuses a file that is no database, and one that is not its own', async () => {
    const folder = await folderForTest();
    await writeFile(join(folder, 'ledger.db'), 'x'.repeat(10_000));
    await expect(start(folder)).rejects.toMatchObject({ code: 'E_STORAGE_CORRUPT' });
    const foreign = await folderForTest();
    const db = new DatabaseSync(join(foreign, 'ledger.db'));
    db.exec('CREATE TABLE something (a)');
    db.close();
    await expect(start(foreign)).rejects.toMatchObject({
      code: 'E_STORAGE_CORRUPT',
      detail: expect.stringContaining('not a ledger'),
    });
  });

  it('refuses a folder that cannot be written', async () => {
    await expect(start('/proc/self')).rejects.toMatchObject({ code: 'E_STORAGE_READONLY' });
  });
});

describe('dead letters', () => {
  it('are kept once, listed newest first, and counted by code', async () => {
    await using opened = await openLedger();
    const second = deadLetter({ seq: 8, error: { code: 'E_TOO_LARGE', detail: '10 MB; expected at most 1 MiB' } });
    await opened.ledger.commit([deadLetter(), second]);
    expect(await opened.ledger.commit([deadLetter(), second])).toEqual({ inserted: 0, duplicates: 2 });
    const page = await opened.ledger.read.dead({ limit: 10 });
    expect(page.items.map((letter) => [letter.id, letter.seq, letter.error.code])).toEqual([
      ['2', 8, 'E_TOO_LARGE'],
      ['1', 7, 'E_IMAGE_CORRUPT'],
    ]);
    expect(await opened.ledger.read.deadLetter('1')).toEqual(page.items[1]);
    expect(await opened.ledger.read.deadCounts()).toEqual([
      { code: 'E_IMAGE_CORRUPT', count: 1 },
      { code: 'E_TOO_LARGE', count: 1 },
    ]);
  });
});

describe('what is read', () => {
  it('can be filtered and paged', async () => {
    await using opened = await openLedger();
    const dog = { task: 'classification' as const, label: 'dog', score: 0.5 };
    await opened.ledger.commit(
      items(
        ...[outcome(1), outcome(2, { result: dog }), outcome(3, { device: 'cam-2' }), outcome(4, { stream: 'back' })],
        outcome(5, { outcome: 'expired', result: undefined, error: { code: 'E_EXPIRED', detail: 'late' } }),
      ),
    );
    const ns = async (query: Record<string, unknown>) =>
      (await opened.ledger.read.decisions({ limit: 500, ...query })).items.map(({ n }) => n);
    expect(await ns({})).toEqual([5, 4, 3, 2, 1]);
    expect(await ns({ device: 'cam-1' })).toEqual([5, 4, 2, 1]);
    expect(await ns({ device: 'cam-1', stream: 'front' })).toEqual([5, 2, 1]);
    expect(await ns({ pipeline: 'none' })).toEqual([]);
    expect(await ns({ label: 'cat' })).toEqual([4, 3, 1]);
    expect(await ns({ score_min: 0.6 })).toEqual([4, 3, 1]);
    expect(await ns({ outcome: 'expired' })).toEqual([5]);
    expect(await ns({ since_ms: FIRST_MS + 2, until_ms: FIRST_MS + 4 })).toEqual([3, 2]);
    expect(await ns({ after: 3 })).toEqual([4, 5]);
    expect(await opened.ledger.read.decisions({ after: 0, limit: 2, pipeline: 'pets' })).toMatchObject({ next: 2 });
    expect(await codeOf(opened.ledger.read.decisions({ limit: 501 }))).toBe('E_BAD_REQUEST');
    expect(await codeOf(opened.ledger.read.decision('nonsense'))).toBe('E_BAD_REQUEST');
    expect(await opened.ledger.read.decision('cam-1.front.k3v9.99.0.pets')).toBeUndefined();
  });

  it('explains a decision back to its frame', async () => {
    await using opened = await openLedger({ clock: shiftedClock() });
    await opened.ledger.configure(published(site()));
    await opened.ledger.commit(items(outcome(1)));
    const explained = await opened.ledger.read.explainDecision('cam-1.front.k3v9.1.0.pets');
    expect(explained?.evidence.frame.sha256).toBe('f'.repeat(64));
    expect(explained?.actions).toEqual([{ id: 'cam-1.front.k3v9.1.0.pets~flap~0', rule: 'flap', state: 'pending' }]);
  });
});

describe('devices', () => {
  it('appear with their first frame, and are known by status, registration and credentials', async () => {
    await using opened = await openLedger({ clock: shiftedClock() });
    await opened.ledger.commit(items(outcome(1)));
    await opened.ledger.deviceStatus('cam-1', 'online');
    await opened.ledger.putDevice('cam-1', { note: 'by the door' });
    await opened.ledger.putDevice('feeder-1', { registered: true });
    expect(await opened.ledger.read.devices()).toMatchObject([
      { name: 'cam-1', state: 'online', registered: false, note: 'by the door' },
      { name: 'feeder-1', state: 'unknown', registered: true },
    ]);
    expect(await codeOf(opened.ledger.putDevice('+', {}))).toBe('E_NAME');
    expect(await opened.ledger.deleteDevice('feeder-1')).toBe(true);
    expect(await opened.ledger.deleteDevice('feeder-1')).toBe(false);
  });
});
