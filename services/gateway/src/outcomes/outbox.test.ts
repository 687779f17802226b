import { BrinkError, create, type ErrorCode, link } from '@brink/protocol';
import { createTestClock, type LinkReply, silentLogger } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { createDeadLetters } from './letters.ts';
import { Outbox, type OutboxLimits } from './outbox.ts';

const LIMITS: OutboxLimits = {
  rowsMax: 100,
  bytesMax: 10_000,
  lettersMax: 3,
  batchRowsMax: 10,
  batchBytesMax: 1000,
  batchesInFlightMax: 2,
  timeoutMs: 1000,
};

/** An outbox whose other end the test holds. */
function sending(limits: Partial<OutboxLimits> = {}) {
  const clock = createTestClock();
  const sent: { rows: string[]; commit(refused?: number[]): void; fail(error: BrinkError): void }[] = [];
  const fates: string[] = [];
  let lettersDropped = 0;
  const outbox = new Outbox(
    { ...LIMITS, ...limits },
    {
      clock,
      random: () => 0.5,
      logger: silentLogger,
      onLetterDropped: () => {
        lettersDropped += 1;
      },
      request: (_body, payloads = []) => {
        const { promise, resolve, reject } = Promise.withResolvers<LinkReply>();
        sent.push({
          rows: payloads.map((payload) => Buffer.from(payload).toString()),
          commit(refused = []) {
            const value = {
              count: payloads.length,
              refused: refused.map((index) => ({ index, failure: { code: 'E_BAD_REQUEST' } })),
            };
            resolve({
              body: { case: 'committed', value: create(link.CommittedSchema, value) },
              payloads: [],
              release: () => {},
            });
          },
          fail: reject,
        });
        return promise;
      },
    },
  );
  return {
    clock,
    sent,
    fates,
    outbox,
    add: (text: string, kept = false) => outbox.add(text, (fate) => fates.push(`${text} ${fate}`), kept),
    /** Control answers whatever comes, until `done`. */
    async answering(code: (rows: readonly string[]) => ErrorCode | undefined, done: () => boolean) {
      for (let [answered, rounds] = [0, 0]; !done() && rounds < 100; rounds++) {
        await this.settle();
        for (const batch of sent.slice(answered)) {
          answered += 1;
          const why = code(batch.rows);
          if (why === undefined) batch.commit();
          else batch.fail(new BrinkError(why, 'said the test'));
        }
        await clock.advance(5000);
      }
    },
    settle: () => new Promise((resolve) => setImmediate(() => setImmediate(resolve))),
    get lettersDropped() {
      return lettersDropped;
    },
  };
}

describe('outcomes on their way to control', () => {
  it('go in batches, a few at a time, and are done when control says committed', async () => {
    const box = sending();
    for (let i = 0; i < 25; i++) box.add(`o${i}`);
    await box.settle();
    expect(box.sent).toHaveLength(0);
    box.outbox.linkUp();
    expect(box.sent.map(({ rows }) => rows.length)).toEqual([10, 10]);
    box.sent[0]?.commit();
    await box.settle();
    expect(box.sent.map(({ rows }) => rows.length)).toEqual([10, 10, 5]);
    expect(box.fates).toHaveLength(10);
    expect(box.fates[0]).toBe('o0 committed');
    expect(box.outbox.rows).toBe(15);
  });

  it('are sent again, in their order, when the link broke before the answer', async () => {
    const box = sending();
    box.outbox.linkUp();
    for (let i = 0; i < 3; i++) box.add(`o${i}`);
    await box.settle();
    box.outbox.linkDown();
    box.sent[0]?.fail(new BrinkError('E_LINK_CLOSED', 'gone'));
    await box.settle();
    expect(box.fates).toEqual([]);
    box.outbox.linkUp();
    expect(box.sent[1]?.rows).toEqual(['o0', 'o1', 'o2']);
  });

  it('are sent again after a pause when control could not take them now', async () => {
    const box = sending();
    box.outbox.linkUp();
    box.add('o0');
    await box.settle();
    box.sent[0]?.fail(new BrinkError('E_STORAGE_FULL', 'no room'));
    await box.settle();
    expect(box.sent).toHaveLength(1);
    await box.clock.advance(100);
    expect(box.sent[1]?.rows).toEqual(['o0']);
  });

  it('are dropped by name when control refuses them for good', async () => {
    const box = sending();
    box.outbox.linkUp();
    for (let i = 0; i < 3; i++) box.add(`o${i}`);
    await box.settle();
    box.sent[0]?.commit([1]);
    await box.settle();
    expect(box.fates).toEqual(['o0 committed', 'o1 refused', 'o2 committed']);
  });

  it.each(['E_STORAGE_READONLY', 'E_STORAGE_CORRUPT', 'E_INTERNAL', 'E_BAD_REQUEST'] as const)(
    'wait while control takes none at all (%s), however long, and /readyz says why',
    async (code) => {
      const box = sending();
      box.outbox.linkUp();
      for (let i = 0; i < 15; i++) box.add(`o${i}`, i % 2 === 0);
      let rounds = 0;
      await box.answering(
        () => code,
        () => ++rounds > 60,
      );
      expect(box.fates).toEqual([]);
      expect(box.outbox.problem).toContain(code);
      await box.answering(
        () => undefined,
        () => box.fates.length === 15,
      );
      expect(new Set(box.fates)).toEqual(new Set(Array.from({ length: 15 }, (_, i) => `o${i} committed`)));
      expect([box.outbox.rows, box.outbox.problem]).toEqual([0, undefined]);
    },
  );

  it('are tried one by one when control stumbles over a batch, so that one row cannot stop the others', async () => {
    const box = sending();
    box.outbox.linkUp();
    for (const text of ['good', 'poison', 'fine']) box.add(text);
    await box.answering(
      (rows) => (rows.includes('poison') ? 'E_INTERNAL' : undefined),
      () => box.fates.length === 2,
    );
    // It failed alone, but nothing says yet that it is not control itself.
    expect(new Set(box.fates)).toEqual(new Set(['good committed', 'fine committed']));
    box.add('next');
    await box.answering(
      (rows) => (rows.includes('poison') ? 'E_INTERNAL' : undefined),
      () => box.fates.length === 4,
    );
    expect(new Set(box.fates.slice(2))).toEqual(new Set(['next committed', 'poison refused']));
  });

  it('that are in the spool are never given up for it: they step aside, and are tried again', async () => {
    const box = sending();
    box.outbox.linkUp();
    for (let i = 0; i < 9; i++) box.add(i === 4 ? 'poison' : `o${i}`, true);
    const stumbles = (rows: readonly string[]) => (rows.includes('poison') ? 'E_INTERNAL' : undefined);
    const isAside = () => box.outbox.problem?.includes('does not take 1 of them') === true;
    await box.answering(stumbles, isAside);
    for (let i = 10; i < 40; i++) box.add(`o${i}`, true);
    const from = box.sent.length;
    await box.answering(stumbles, () => box.fates.length === 38);
    expect(box.fates.every((fate) => fate.endsWith('committed'))).toBe(true);
    expect(box.sent.slice(from).filter(({ rows }) => rows.includes('poison') && rows.length > 1)).toEqual([]);
    expect(box.outbox.rows).toBe(1);
    await box.answering(
      () => undefined,
      () => box.outbox.rows === 0,
    );
    expect([box.fates.at(-1), box.outbox.problem]).toEqual(['poison committed', undefined]);
  });

  it('are bounded in number and bytes: the oldest goes, and says so', () => {
    const rows = sending({ rowsMax: 2 });
    for (let i = 0; i < 4; i++) rows.add(`o${i}`);
    expect(rows.fates).toEqual(['o0 control_down', 'o1 control_down']);
    const bytes = sending({ bytesMax: 5 });
    for (let i = 0; i < 3; i++) bytes.add(`o${i}`);
    expect(bytes.fates).toEqual(['o0 control_down']);
    expect(bytes.outbox.bytes).toBe(4);
  });

  it('do not suffer from dead letters: these have their own places, and go last', async () => {
    const box = sending();
    for (let i = 0; i < 5; i++) box.outbox.addLetter(`d${i}`);
    box.add('o0');
    box.outbox.linkUp();
    expect(box.sent[0]?.rows).toEqual(['o0', 'd2', 'd3', 'd4']);
    expect(box.lettersDropped).toBe(2);
  });

  it('are all given away before the end, or dropped and counted', async () => {
    const box = sending();
    box.outbox.linkUp();
    box.add('o0');
    const drained = box.outbox.drained(new AbortController().signal);
    await box.settle();
    box.sent[0]?.commit();
    await drained;
    box.outbox.linkDown();
    box.add('o1');
    await box.outbox.drained(AbortSignal.abort());
    box.outbox.stop();
    expect(box.fates).toEqual(['o0 committed', 'o1 control_down']);
  });
});

describe('dead letters', () => {
  it('are limited per device, and whoever behaves is not limited by whoever does not', () => {
    const out: string[] = [];
    let suppressed = 0;
    const letters = createDeadLetters(
      { burst: 2, perSecond: 1 },
      {
        outbox: { addLetter: (json) => out.push(json) },
        onSuppressed: () => {
          suppressed += 1;
        },
      },
    );
    const write = () => ({
      dead: true as const,
      device: '',
      stream: '',
      error: { code: 'E_EMPTY' as const, detail: '' },
      sha256: '',
      bytes: 0,
      received_ms: 0,
    });
    for (let i = 0; i < 10; i++) letters.add('bad', 1000, write);
    letters.add('other', 1000, write);
    expect([out.length, suppressed]).toEqual([3, 8]);
    letters.add('bad', 2000, write);
    expect(out).toHaveLength(4);
  });
});
