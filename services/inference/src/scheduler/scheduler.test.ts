import { BrinkError } from '@brink/protocol';
import { createRegistry, createTestClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { createMetrics, metricsOf } from '../metrics.ts';
import type { FinishedRun, Job } from './job.ts';
import type { BatchRunner, LanePolicy, RunEnd } from './lane.ts';
import { createScheduler } from './scheduler.ts';

interface Call {
  readonly model: string;
  /** First byte of each unit. */
  readonly units: number[];
  readonly batch: number;
  end(end?: RunEnd): Promise<void>;
}

const RAN: RunEnd = { kind: 'ran', run: { outputs: { batch: 0, tensors: new Map() }, heads: [], runMs: 1 } };
const POLICY: LanePolicy = { batch_wait_ms: 0, queue_max: 64, run_ms_max: 1000 };

/** A scheduler whose runners end their runs when they are told to. */
function startScheduler(runSlots = 1) {
  const clock = createTestClock();
  const metrics = createMetrics(createRegistry('test'));
  const scheduler = createScheduler({ runSlots }, { clock, metrics });
  const calls: Call[] = [];
  const answers: string[] = [];
  const refusals: BrinkError[] = [];

  function addModel(model: string, o: { batchMax?: number; policy?: Partial<LanePolicy> } = {}) {
    const newRunner = (): BatchRunner => ({
      run: ({ payloads, batch }) =>
        new Promise((resolve) => {
          calls.push({
            model,
            batch,
            units: payloads.map((payload) => payload[0] ?? -1),
            async end(end = RAN) {
              resolve(end);
              await clock.advance(0);
            },
          });
        }),
    });
    const runner = newRunner();
    const lane = scheduler.addLane(
      { name: model },
      { metrics: metricsOf(metrics, model, 1), policy: { ...POLICY, ...o.policy } },
    );
    lane.open(runner, o.batchMax ?? 4);
    const add = (unit: number, over: Partial<Job> = {}) =>
      lane.add({
        priority: 5,
        deadlineAt: Number.POSITIVE_INFINITY,
        arrivedAt: clock.monotonic(),
        alone: false,
        shadow: false,
        client: 'c',
        session: '',
        heads: [],
        rows: 1,
        payloads: [Uint8Array.of(unit)],
        cancelled: () => false,
        done: (_run: FinishedRun, index: number) => answers.push(`${model}${unit}=${index}`),
        failed: (error: BrinkError, attempt: boolean) => {
          refusals.push(error);
          answers.push(`${model}${unit} ${error.code}${attempt ? '!' : ''}`);
        },
        ...over,
      });
    return { lane, runner, newRunner, add, remove: () => scheduler.removeLane(lane) };
  }

  return {
    clock,
    calls,
    answers,
    refusals,
    metrics,
    addModel,
    ran: () => calls.map(({ model, units }) => `${model}:${units.join(',')}`),
  };
}

describe('scheduler', () => {
  it('puts what arrives together into one batch and fills batches exactly, whoever asked', async () => {
    const { clock, calls, answers, addModel, ran } = startScheduler();
    const a = addModel('a');
    for (let unit = 0; unit < 3; unit++) a.add(unit);
    await clock.advance(0);
    expect(ran()).toEqual(['a:0,1,2']);
    for (let unit = 3; unit < 13; unit++) a.add(unit);
    await clock.advance(0);
    // A second, whole batch goes ahead; the rest waits for the first to end.
    expect(ran()).toEqual(['a:0,1,2', 'a:3,4,5,6']);
    await calls[0]?.end();
    expect(ran()).toEqual(['a:0,1,2', 'a:3,4,5,6', 'a:7,8,9,10']);
    await calls[1]?.end();
    await calls[2]?.end();
    expect(ran().at(-1)).toBe('a:11,12');
    await calls[3]?.end();
    expect(answers).toHaveLength(13);
    expect(answers.slice(3, 7)).toEqual(['a3=0', 'a4=1', 'a5=2', 'a6=3']);
  });

  it('does not send a partial batch ahead: it could still fill', async () => {
    const { clock, addModel, ran } = startScheduler();
    const a = addModel('a');
    a.add(0);
    await clock.advance(0);
    a.add(1);
    a.add(2);
    await clock.advance(0);
    expect(ran()).toEqual(['a:0']);
  });

  it('runs by priority, then deadline, then arrival, within a model and between models', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const [a, b, c] = [addModel('a', { batchMax: 2 }), addModel('b', { batchMax: 1 }), addModel('c', { batchMax: 1 })];
    a.add(0);
    await clock.advance(1);
    b.add(1, { priority: 1 });
    a.add(2, { priority: 5 });
    await clock.advance(1);
    c.add(3, { priority: 5, deadlineAt: clock.monotonic() + 500 });
    c.add(4, { priority: 9 });
    a.add(5, { priority: 5, deadlineAt: clock.monotonic() + 100 });
    await clock.advance(0);
    for (let i = 0; i < calls.length; i++) await calls[i]?.end();
    expect(ran()).toEqual(['a:0', 'c:4', 'a:5,2', 'c:3', 'b:1']);
  });

  it('runs no more models at once than there are slots', async () => {
    const { clock, calls, addModel, ran } = startScheduler(2);
    for (const name of ['a', 'b', 'c']) addModel(name).add(0);
    await clock.advance(0);
    expect(ran()).toEqual(['a:0', 'b:0']);
    await calls[1]?.end();
    expect(ran()).toEqual(['a:0', 'b:0', 'c:0']);
  });

  it('begins one run beside what is of lower rank, and no second one', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const [low, high, higher] = [addModel('low'), addModel('high'), addModel('higher')];
    low.add(0, { priority: 5, shadow: true });
    await clock.advance(1);
    high.add(1, { priority: 5 });
    await clock.advance(1);
    expect(ran()).toEqual(['low:0', 'high:1']);
    higher.add(2, { priority: 9 });
    low.add(3, { priority: 5, shadow: true });
    await clock.advance(1);
    expect(ran()).toEqual(['low:0', 'high:1']);
    // The one that ends leaves the other one at work: there is one slot, and only what is above that goes beside it.
    await calls[0]?.end();
    expect(ran()).toEqual(['low:0', 'high:1', 'higher:2']);
    await calls[2]?.end();
    expect(ran()).toEqual(['low:0', 'high:1', 'higher:2']);
    await calls[1]?.end();
    expect(ran()).toEqual(['low:0', 'high:1', 'higher:2', 'low:3']);
  });

  it('sends nothing ahead while another model waits for the slot', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const [a, b] = [addModel('a', { batchMax: 1 }), addModel('b', { batchMax: 1 })];
    a.add(0);
    await clock.advance(1);
    b.add(1);
    await clock.advance(1);
    a.add(2);
    await clock.advance(1);
    expect(ran()).toEqual(['a:0']);
    await calls[0]?.end();
    expect(ran()).toEqual(['a:0', 'b:1']);
  });

  it('takes the slot from a run that hangs, so that other models go on', async () => {
    const { clock, addModel, ran } = startScheduler();
    const [a, b] = [addModel('a'), addModel('b')];
    a.add(0);
    await clock.advance(0);
    b.add(1);
    await clock.advance(400);
    expect(ran()).toEqual(['a:0']);
    await clock.advance(200);
    expect(ran()).toEqual(['a:0', 'b:1']);
  });

  it('refuses at queue_max, the oldest of the lowest priority first', async () => {
    const { clock, answers, addModel } = startScheduler();
    const a = addModel('a', { policy: { queue_max: 2 } });
    a.lane.pause(a.runner);
    a.add(0, { priority: 5 });
    await clock.advance(1);
    a.add(1, { priority: 5 });
    a.add(2, { priority: 5 });
    expect(answers).toEqual(['a0 E_BUSY']);
    a.add(3, { priority: 4 });
    expect(answers).toEqual(['a0 E_BUSY', 'a3 E_BUSY']);
    a.add(4, { priority: 6 });
    expect(answers).toEqual(['a0 E_BUSY', 'a3 E_BUSY', 'a1 E_BUSY']);
  });

  it('makes room by dropping what is expired before it sheds', async () => {
    const { clock, answers, addModel } = startScheduler();
    const a = addModel('a', { policy: { queue_max: 1 } });
    a.lane.pause(a.runner);
    a.add(0, { deadlineAt: clock.monotonic() + 10 });
    await clock.advance(10);
    a.add(1);
    expect(answers).toEqual(['a0 E_EXPIRED']);
  });

  it('does not compute what is expired or given up', async () => {
    const { clock, calls, answers, addModel, ran } = startScheduler();
    const a = addModel('a');
    a.add(0);
    await clock.advance(0);
    let gone = false;
    a.add(1, { deadlineAt: clock.monotonic() + 5 });
    a.add(2, { cancelled: () => gone });
    a.add(3);
    gone = true;
    await clock.advance(5);
    await calls[0]?.end();
    expect(ran()).toEqual(['a:0', 'a:3']);
    expect(answers.slice(0, 2)).toEqual(['a1 E_EXPIRED', 'a2 E_CANCELLED']);
  });

  it('waits batch_wait_ms for a fuller batch, and no longer when it is full', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const a = addModel('a', { batchMax: 3, policy: { batch_wait_ms: 10 } });
    a.add(0);
    await clock.advance(9);
    expect(ran()).toEqual([]);
    await clock.advance(2);
    expect(ran()).toEqual(['a:0']);
    await calls[0]?.end();
    for (const unit of [1, 2, 3]) a.add(unit);
    await clock.advance(0);
    expect(ran()).toEqual(['a:0', 'a:1,2,3']);
  });

  it('runs a unit that was tried before alone', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const a = addModel('a');
    a.add(0);
    a.add(1, { alone: true });
    a.add(2);
    await clock.advance(0);
    for (let i = 0; i < calls.length; i++) await calls[i]?.end();
    expect(ran()).toEqual(['a:0,2', 'a:1']);
  });

  it('counts an attempt for the batch that crashed, none for the one behind it, which runs again', async () => {
    const { clock, calls, answers, addModel, ran } = startScheduler();
    const a = addModel('a', { batchMax: 1 });
    a.add(0);
    a.add(1);
    await clock.advance(0);
    expect(ran()).toEqual(['a:0', 'a:1']);
    const error = new BrinkError('E_MODEL_CRASH', 'gone');
    a.lane.pause(a.runner);
    await calls[0]?.end({ kind: 'failed', error, fate: 'attempt' });
    await calls[1]?.end({ kind: 'failed', error, fate: 'again' });
    expect(answers).toEqual(['a0 E_MODEL_CRASH!']);
    a.lane.open(a.runner, 1);
    await clock.advance(0);
    expect(ran()).toEqual(['a:0', 'a:1', 'a:1']);
    await calls[2]?.end();
    expect(answers).toEqual(['a0 E_MODEL_CRASH!', 'a1=0']);
  });

  it('tries the units of a batch that the graph refuses one by one', async () => {
    const { clock, calls, answers, addModel, ran } = startScheduler();
    const a = addModel('a');
    for (const unit of [0, 1, 2]) a.add(unit);
    await clock.advance(0);
    const failed: RunEnd = {
      kind: 'failed',
      error: new BrinkError('E_MODEL_RUN', 'index out of range'),
      fate: 'final',
    };
    await calls[0]?.end(failed);
    await calls[1]?.end();
    await calls[2]?.end(failed);
    await calls[3]?.end();
    expect(ran()).toEqual(['a:0,1,2', 'a:0', 'a:1', 'a:2']);
    expect(answers).toEqual(['a0=0', 'a1 E_MODEL_RUN', 'a2=0']);
  });

  it('answers everything that waits, and all that comes, when the model is closed', async () => {
    const { clock, answers, addModel } = startScheduler();
    const a = addModel('a');
    a.lane.pause(a.runner);
    a.add(0);
    a.lane.close(new BrinkError('E_MODEL_NOT_READY', 'a 1 is failed'));
    a.add(1);
    await clock.advance(0);
    expect(answers).toEqual(['a0 E_MODEL_NOT_READY', 'a1 E_MODEL_NOT_READY']);
  });

  it('gives each copy of a model batches of its own, as far as there are slots', async () => {
    const { clock, calls, addModel, ran } = startScheduler(2);
    const a = addModel('a', { batchMax: 2 });
    for (let copy = 0; copy < 2; copy++) a.lane.open(a.newRunner(), 2);
    for (let unit = 0; unit < 7; unit++) a.add(unit);
    await clock.advance(0);
    // Two slots: two batches run, the third copy has none. So a whole batch goes ahead, to a copy that is at work.
    expect(ran()).toEqual(['a:0,1', 'a:2,3', 'a:4,5']);
    await calls[0]?.end();
    await calls[1]?.end();
    expect(ran()).toEqual(['a:0,1', 'a:2,3', 'a:4,5', 'a:6']);
  });

  it('lets a model go on with its other copies when one of them is gone', async () => {
    const { clock, calls, answers, addModel, ran } = startScheduler(2);
    const a = addModel('a', { batchMax: 1 });
    const second = a.newRunner();
    a.lane.open(second, 1);
    a.add(0);
    a.add(1);
    await clock.advance(0);
    a.lane.pause(second);
    await calls[1]?.end({ kind: 'failed', error: new BrinkError('E_MODEL_CRASH', 'gone'), fate: 'attempt' });
    a.add(2);
    await clock.advance(0);
    await calls[0]?.end();
    expect(ran()).toEqual(['a:0', 'a:1', 'a:2']);
    expect(answers).toEqual(['a1 E_MODEL_CRASH!', 'a0=0']);
  });

  it('stacks requests that are alike, fills the batch with what fits, and runs one that is too large by itself', async () => {
    const { clock, calls, answers, addModel, ran } = startScheduler();
    const a = addModel('a');
    const native = (rows: number, join = 'f32 4'): Partial<Job> => ({ session: 'native', rows, join });
    a.add(0, native(2));
    a.add(1, native(9));
    a.add(2, native(1, 'f32 5'));
    a.add(3, native(1));
    a.add(4, { session: 'native', rows: 1 });
    a.add(5, native(1));
    a.add(6, { session: 'native', rows: 0 });
    await clock.advance(0);
    for (let i = 0; i < calls.length; i++) await calls[i]?.end();
    expect(ran()).toEqual(['a:0,3,5', 'a:1', 'a:2', 'a:4', 'a:6']);
    expect(calls.map(({ batch }) => batch)).toEqual([4, 9, 1, 1, 0]);
    expect(answers.slice(0, 3)).toEqual(['a0=0', 'a3=2', 'a5=3']);
  });

  it('computes shadows only when nothing else wants the slot, and never sends them ahead', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const [a, b] = [addModel('a', { batchMax: 1 }), addModel('b', { batchMax: 1 })];
    for (const unit of [0, 1, 2]) a.add(unit, { shadow: true, priority: 9 });
    await clock.advance(0);
    expect(ran()).toEqual(['a:0']);
    b.add(3, { priority: 0 });
    a.add(4, { priority: 0 });
    await clock.advance(0);
    for (let i = 0; i < calls.length; i++) await calls[i]?.end();
    expect(ran()).toEqual(['a:0', 'b:3', 'a:4', 'a:1', 'a:2']);
  });

  it('lets clients take turns within a batch and over batches', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const a = addModel('a');
    for (let unit = 0; unit < 8; unit++) a.add(unit, { client: 'flood' });
    a.add(8, { client: 'b' });
    a.add(9, { client: 'b' });
    a.add(10, { client: 'c' });
    await clock.advance(0);
    for (let i = 0; i < calls.length; i++) await calls[i]?.end();
    expect(ran()).toEqual(['a:0,8,10,1', 'a:9,2,3,4', 'a:5,6,7']);
  });

  it('takes deadlines to be alike that differ by less than an eighth of the time that was given', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const a = addModel('a', { batchMax: 1 });
    a.lane.pause(a.runner);
    for (const unit of [0, 1]) {
      a.add(unit, { client: 'flood', deadlineAt: clock.monotonic() + 200 });
      await clock.advance(1);
    }
    a.add(2, { client: 'b', deadlineAt: clock.monotonic() + 200 });
    a.add(3, { client: 'flood', deadlineAt: clock.monotonic() + 100 });
    a.lane.open(a.runner, 1);
    await clock.advance(0);
    for (let i = 0; i < calls.length; i++) await calls[i]?.end();
    expect(ran()).toEqual(['a:3', 'a:0', 'a:2', 'a:1']);
  });

  it('refuses those who have most: one client that fills the queue keeps nobody else out', async () => {
    const { answers, addModel } = startScheduler();
    const a = addModel('a', { policy: { queue_max: 4 } });
    a.lane.pause(a.runner);
    for (let unit = 0; unit < 4; unit++) a.add(unit, { client: 'flood' });
    a.add(4, { client: 'b' });
    a.add(5, { client: 'flood' });
    a.add(6, { client: 'flood', shadow: true });
    a.add(7, { client: 'c' });
    a.add(8, { client: 'flood' });
    expect(answers).toEqual(['a0 E_BUSY', 'a1 E_BUSY', 'a6 E_BUSY', 'a2 E_BUSY', 'a3 E_BUSY']);
    // A shadow goes before anything else does, whoever it belongs to.
    a.lane.setPolicy({ ...POLICY, queue_max: 5 });
    a.add(9, { client: 'd', shadow: true });
    a.add(10, { client: 'flood', priority: 0 });
    expect(answers.slice(5)).toEqual(['a9 E_BUSY']);
  });

  it('says with a refusal when the queue will be empty, as fast as it was emptied so far', async () => {
    const { clock, calls, refusals, addModel } = startScheduler();
    const a = addModel('a', { batchMax: 1, policy: { queue_max: 2 } });
    const fill = () => {
      for (let unit = 0; unit < 6; unit++) a.add(unit);
    };
    fill();
    expect(refusals.at(-1)?.retryAfterMs).toBe(1000);
    await clock.advance(40);
    await calls[0]?.end();
    await clock.advance(40);
    await calls[1]?.end();
    fill();
    // One more runs than wait; each took 40 ms.
    expect(refusals.at(-1)?.retryAfterMs).toBeGreaterThanOrEqual(40);
    expect(refusals.at(-1)?.retryAfterMs).toBeLessThanOrEqual(120);
  });

  it('sends nothing ahead while others may come: theirs would wait for two batches', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const [a, b] = [addModel('a', { batchMax: 1 }), addModel('b', { batchMax: 1 })];
    b.add(0);
    await clock.advance(0);
    await calls[0]?.end();
    for (const unit of [1, 2, 3]) a.add(unit, { priority: 1 });
    await clock.advance(990);
    expect(ran()).toEqual(['b:0', 'a:1']);
    await calls[1]?.end();
    expect(ran()).toEqual(['b:0', 'a:1', 'a:2']);
    // A second later nobody is expected any more.
    await clock.advance(20);
    a.add(4, { priority: 1 });
    await clock.advance(0);
    expect(ran()).toEqual(['b:0', 'a:1', 'a:2', 'a:3']);
  });

  it('does so though others wait that would go after it: shadows and lower priorities cost nobody throughput', async () => {
    const { clock, addModel, ran } = startScheduler();
    const [a, b] = [addModel('a', { batchMax: 1 }), addModel('b', { batchMax: 1 })];
    for (const unit of [0, 1, 2]) a.add(unit);
    b.add(3, { shadow: true, priority: 9 });
    b.add(4, { priority: 4 });
    await clock.advance(0);
    expect(ran()).toEqual(['a:0', 'a:1']);
  });

  it('sends no low priority ahead in a model that was asked for something of a higher one just now', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const a = addModel('a', { batchMax: 1 });
    a.add(0, { priority: 8 });
    for (const unit of [1, 2, 3]) a.add(unit, { priority: 1 });
    await clock.advance(0);
    await calls[0]?.end();
    expect(ran()).toEqual(['a:0', 'a:1']);
    a.add(4, { priority: 8 });
    await clock.advance(0);
    await calls[1]?.end();
    expect(ran()).toEqual(['a:0', 'a:1', 'a:4']);
  });

  it('answers what expires in time, though no runner takes anything', async () => {
    const { clock, answers, addModel } = startScheduler();
    const a = addModel('a');
    a.lane.pause(a.runner);
    a.add(0, { deadlineAt: clock.monotonic() + 30 });
    a.add(1);
    await clock.advance(150);
    expect(answers).toEqual(['a0 E_EXPIRED']);
  });

  it('waits for a fuller batch no longer than the first unit can wait', async () => {
    const { clock, calls, addModel, ran } = startScheduler();
    const a = addModel('a', { batchMax: 3, policy: { batch_wait_ms: 500 } });
    a.add(0, { deadlineAt: clock.monotonic() + 100 });
    await clock.advance(99);
    expect(ran()).toEqual([]);
    await clock.advance(1);
    expect(ran()).toEqual([]);
    a.add(1, { deadlineAt: clock.monotonic() + 100 });
    a.add(2);
    a.add(3);
    await clock.advance(20);
    await calls[0]?.end();
    a.add(4, { deadlineAt: clock.monotonic() + 100 });
    await clock.advance(90);
    // Three rows took 20 ms the last time.
    expect(ran()).toEqual(['a:1,2,3', 'a:4']);
  });

  it('counts what became of every request, and for how long', async () => {
    const { clock, calls, addModel, metrics } = startScheduler();
    const a = addModel('a', { policy: { queue_max: 2 } });
    for (const unit of [0, 1, 2]) a.add(unit);
    await clock.advance(0);
    await clock.advance(10);
    await calls[0]?.end();
    const { stats } = a.lane;
    expect(stats.success).toEqual({ count: 2, ns: 20e6 });
    expect(stats.fail).toEqual({ count: 1, ns: 0 });
    expect(stats.compute_infer).toEqual({ count: 2, ns: 2e6 });
    expect(stats.compute_input).toEqual({ count: 2, ns: 18e6 });
    expect([...stats.batches.keys()]).toEqual([2]);
    expect([stats.inferenceCount, stats.executionCount]).toEqual([2, 1]);
    const requests = (await metrics.requests.get()).values.map(({ labels, value }) => `${labels.reason} ${value}`);
    expect(requests).toEqual(['E_BUSY 1', 'ok 2']);
    a.lane.pause(a.runner);
    expect((await metrics.restarts.get()).values[0]?.value).toBe(1);
    a.remove();
    expect((await metrics.requests.get()).values).toEqual([]);
    expect((await metrics.copies.get()).values).toEqual([]);
  });

  it('answers the others of a batch when one stumbles over its result', async () => {
    const { clock, calls, answers, addModel } = startScheduler();
    const a = addModel('a');
    a.add(0, {
      done: () => {
        throw new BrinkError('E_MODEL_OUTPUT', 'not a number');
      },
    });
    a.add(1);
    await clock.advance(0);
    await calls[0]?.end();
    expect(answers).toEqual(['a0 E_MODEL_OUTPUT', 'a1=1']);
  });
});
