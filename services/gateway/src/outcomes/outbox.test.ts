import { BrinkError, create, link } from '@brink/protocol';
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
    add: (text: string) => outbox.add(text, (fate) => fates.push(`${text} ${fate}`)),
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

  it('are tried one by one when control stumbles over a batch, so that one row cannot stop the others', async () => {
    const box = sending();
    box.outbox.linkUp();
    for (const text of ['good', 'poison', 'fine']) box.add(text);
    for (let answered = 0; box.fates.length < 3; ) {
      await box.settle();
      for (const batch of box.sent.slice(answered)) {
        answered += 1;
        if (batch.rows.includes('poison')) batch.fail(new BrinkError('E_INTERNAL', 'a bug'));
        else batch.commit();
      }
      await box.clock.advance(5000);
    }
    expect(box.fates).toEqual(['good committed', 'poison refused', 'fine committed']);
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
