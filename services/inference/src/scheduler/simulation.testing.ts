import { BrinkError } from '@brink/protocol';
import { createRegistry, createTestClock } from '@brink/runtime';
import { createMetrics, metricsOf } from '../metrics.ts';
import type { FinishedRun, Job } from './job.ts';
import { dueOf, joinKey, rankOf } from './job.ts';
import type { BatchRunner, Lane, LanePolicy, RunEnd, RunRequest } from './lane.ts';
import { createScheduler } from './scheduler.ts';

/** A job of the simulation: its number stands in its payload, so that a runner knows whom it computes. */
export interface SimulatedJob extends Job {
  readonly id: number;
  readonly model: SimulatedModel;
  /** The graph refuses any batch that it is in. */
  readonly poison: boolean;
  waits: boolean;
  /** When its runner crashed before it came to it. */
  backAt: number;
  answers: string[];
}

export interface SimulatedModel {
  readonly name: string;
  readonly batchMax: number;
  readonly copies: number;
  readonly policy: LanePolicy;
  readonly lane: Lane;
  readonly runners: SimulatedRunner[];
}

/** What a runner was given, and how it stood then. */
export interface Dispatch {
  readonly at: number;
  readonly jobs: readonly SimulatedJob[];
  readonly ahead: boolean;
}

/**
 * Computes one batch after the other, each for as long as it is told; crashes when it is told, as a process does: its lane is
 * paused, the oldest batch is to blame, the others run again.
 */
export class SimulatedRunner implements BatchRunner {
  readonly #world: World;
  readonly #model: () => SimulatedModel;
  readonly #queue: { request: RunRequest; jobs: SimulatedJob[]; end: (end: RunEnd) => void }[] = [];
  #gone = false;

  constructor(world: World, model: () => SimulatedModel) {
    this.#world = world;
    this.#model = model;
  }

  get inFlight(): number {
    return this.#queue.length;
  }

  /** The highest that it has. */
  get rank(): number {
    return Math.max(...this.#queue.flatMap(({ jobs }) => jobs.map(rankOf)));
  }

  run(request: RunRequest): Promise<RunEnd> {
    const jobs = [...new Set(request.payloads)].map((payload) => this.#world.jobOf(payload));
    const ahead = this.#queue.length > 0;
    for (const job of jobs) job.waits = false;
    this.#world.dispatched(this.#model(), { at: this.#world.clock.monotonic(), jobs, ahead });
    return new Promise((end) => {
      this.#queue.push({ request, jobs, end });
      if (!ahead) this.#begin();
    });
  }

  #begin(): void {
    const [current] = this.#queue;
    if (current === undefined) return;
    const { ms, crashes } = this.#world.nextRun();
    this.#world.clock.setTimeout(() => {
      if (this.#gone) return;
      if (crashes) {
        this.crash();
        return;
      }
      this.#queue.shift();
      const poisoned = current.jobs.some(({ poison }) => poison);
      current.end(poisoned ? failed('E_MODEL_RUN', 'final') : ran(current.request.batch, ms));
      this.#begin();
    }, ms);
  }

  /** With or without work. Another one comes a little later. */
  crash(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#world.crashed(this.#model(), this);
    const all = this.#queue.splice(0);
    for (const [index, { jobs, end }] of all.entries()) {
      // The lane hears of one batch after the other: in this moment what comes back may be on its way still.
      if (index > 0) for (const job of jobs) Object.assign(job, { waits: true, backAt: this.#world.clock.monotonic() });
      end(failed('E_MODEL_CRASH', index === 0 ? 'attempt' : 'again'));
    }
  }
}

const ran = (batch: number, runMs: number): RunEnd => ({
  kind: 'ran',
  run: { outputs: { batch: Math.max(1, batch), tensors: new Map() }, heads: [], runMs },
});
const failed = (code: 'E_MODEL_RUN' | 'E_MODEL_CRASH', fate: 'attempt' | 'again' | 'final'): RunEnd => ({
  kind: 'failed',
  error: new BrinkError(code, 'as the simulation has it'),
  fate,
});

export type World = ReturnType<typeof createWorld>;

/** @param o nextRun: how long the run takes that begins now, and whether it ends in a crash */
export function createWorld(o: { runSlots: number; nextRun: () => { ms: number; crashes: boolean } }) {
  const clock = createTestClock();
  const metrics = createMetrics(createRegistry('test'));
  const scheduler = createScheduler({ runSlots: o.runSlots }, { clock, metrics });
  const jobs: SimulatedJob[] = [];
  const models: SimulatedModel[] = [];
  const dispatches: (Dispatch & { model: SimulatedModel })[] = [];
  const listeners: ((model: SimulatedModel, dispatch: Dispatch) => void)[] = [];

  function open(model: SimulatedModel): void {
    const runner: SimulatedRunner = new SimulatedRunner(world, () => model);
    model.runners.push(runner);
    model.lane.open(runner, model.batchMax);
  }

  const world = {
    clock,
    metrics,
    jobs,
    models,
    dispatches,
    nextRun: o.nextRun,
    jobOf: (payload: Uint8Array) => jobs[new DataView(payload.buffer).getUint32(0)] as SimulatedJob,
    onDispatch: (listener: (model: SimulatedModel, dispatch: Dispatch) => void) => listeners.push(listener),
    dispatched(model: SimulatedModel, dispatch: Dispatch): void {
      dispatches.push({ ...dispatch, model });
      for (const listener of listeners) listener(model, dispatch);
    },
    crashed(model: SimulatedModel, runner: SimulatedRunner): void {
      model.runners.splice(model.runners.indexOf(runner), 1);
      model.lane.pause(runner);
      clock.setTimeout(() => open(model), 50);
    },
    addModel(name: string, m: { batchMax?: number; copies?: number; policy?: Partial<LanePolicy> } = {}) {
      const policy = { batch_wait_ms: 0, queue_max: 64, run_ms_max: 1000, ...m.policy };
      const lane = scheduler.addLane({ name }, { metrics: metricsOf(metrics, name, 1), policy });
      const { batchMax = 4, copies = 1 } = m;
      const model: SimulatedModel = { name, batchMax, copies, policy, lane, runners: [] };
      models.push(model);
      for (let copy = 0; copy < copies; copy++) open(model);
      return model;
    },
    addJob(model: SimulatedModel, over: Partial<SimulatedJob> = {}): SimulatedJob {
      const payload = new Uint8Array(4);
      new DataView(payload.buffer).setUint32(0, jobs.length);
      const job: SimulatedJob = {
        id: jobs.length,
        model,
        poison: false,
        waits: true,
        backAt: Number.NEGATIVE_INFINITY,
        answers: [],
        priority: 5,
        shadow: false,
        client: 'a',
        deadlineAt: Number.POSITIVE_INFINITY,
        arrivedAt: clock.monotonic(),
        alone: false,
        session: '',
        heads: [],
        rows: 1,
        payloads: [payload],
        cancelled: () => false,
        done: (_run: FinishedRun, firstRow: number) => answer(job, `ran ${firstRow}`),
        failed: (error: BrinkError, attempt: boolean) => answer(job, `${error.code}${attempt ? '!' : ''}`),
        ...over,
      };
      jobs.push(job);
      model.lane.add(job);
      return job;
    },
    /** Until nothing is on its way, or `ms` have passed. */
    async drain(ms = 60_000): Promise<void> {
      for (let spent = 0; spent < ms && jobs.some(({ answers }) => answers.length === 0); spent += 50) {
        await clock.advance(50);
      }
    },
  };
  return world;
}

function answer(job: SimulatedJob, text: string): void {
  job.waits = false;
  job.answers.push(text);
}

/** What waits in a lane and could run. */
export function waitingIn(model: SimulatedModel, world: World): SimulatedJob[] {
  const now = world.clock.monotonic();
  return world.jobs.filter((job) => job.waits && job.model === model && job.deadlineAt > now && !job.cancelled());
}

/** Whether `a` must go before `b`, whoever asks. */
export function mustGoBefore(a: Job, b: Job): boolean {
  return rankOf(a) > rankOf(b) || (rankOf(a) === rankOf(b) && dueOf(a) < dueOf(b));
}

export function mayShare(a: Job, b: Job): boolean {
  return joinKey(a) !== undefined && joinKey(a) === joinKey(b) && a.session === b.session;
}
