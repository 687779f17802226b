import { BrinkError, type ErrorCode, isErrorCode, type link } from '@brink/protocol';
import type { Clock, LinkPeer, Timer } from '@brink/runtime';
import type { DecodePool } from '../decode/pool.ts';
import type { Admission } from '../ingest/admission.ts';
import { dueAt, type Frame } from '../ingest/frame.ts';
import type { PipelinePlan } from '../ingest/plan.ts';
import type { Models, ServingModel } from '../models/models.ts';
import { createPreparer, type Preparer } from './prepare.ts';
import { createUnit, type Ending, type Unit } from './unit.ts';

/** What one model has of ours. */
interface ModelWork {
  readonly name: string;
  /** Prepared units in their order; those with attempts go alone. */
  ready: Unit[];
  /** Units that are being prepared: in the decode pool or on their way there. */
  preparing: number;
  /** Units in a Decide that is not answered yet. */
  deciding: number;
  /** Set while inference said that it cannot take units now. */
  pause: Timer | undefined;
}

export const ATTEMPTS_MAX = 3;
/** After a refusal that may pass (model not ready, queue full, time). */
const PAUSE_MS = 50;
/** A Decide must fit a frame of the link with room to spare. */
const DECIDE_BYTES_MAX = 8 * 1024 * 1024;
/** How exactly "too old" is kept while nothing else happens. */
const SWEEP_MS = 100;

// What a decode child's or a runner's end looks like: the unit was handed over and may be to blame.
const DECODE_ATTEMPT: ReadonlySet<ErrorCode> = new Set(['E_CRASHED', 'E_TIMEOUT']);

/**
 * From waiting frames to outcomes: takes frames while a model has room (twice its best batch, so that the runner always
 * has the next one in its socket), has them prepared, and sends what is ready for one model in one Decide. It never waits
 * to fill one: units that became ready in the same turn of the event loop go together, that is all.
 *
 * A unit ends exactly once, in `onEnd`. While inference is away units wait, and expire by their age; that costs no attempt.
 */
export function createDispatch(
  config: { decideTimeoutMs: number },
  d: {
    clock: Clock;
    admission: Admission;
    models: Models;
    pool: DecodePool;
    request: LinkPeer['request'];
    /** Lanes of the same frame that still wait, by their pipelines. */
    pipelinesWaiting(frame: Frame): PipelinePlan[];
    onEnd(unit: Unit, ending: Ending): void;
    onAttempt(stage: 'decode' | 'run'): void;
    onDecide(units: number): void;
  },
) {
  const works = new Map<string, ModelWork>();
  const dirty = new Set<ModelWork>();
  /** Every unit that was formed and has not ended. */
  const live = new Set<Unit>();
  const preparer: Preparer = createPreparer({ pool: d.pool, alsoWanted });
  let scheduled = false;
  let sweeping: Timer | undefined;

  function workOf(name: string): ModelWork {
    let work = works.get(name);
    if (work === undefined) {
      work = { name, ready: [], preparing: 0, deciding: 0, pause: undefined };
      works.set(name, work);
    }
    return work;
  }

  const hasRoom = (work: ModelWork, model: ServingModel) => work.ready.length + work.deciding < 2 * model.batchBest;

  function alsoWanted(frame: Frame): ServingModel[] {
    const wanted: ServingModel[] = [];
    for (const { model: name } of d.pipelinesWaiting(frame)) {
      const model = d.models.current(name);
      if (model !== undefined && hasRoom(workOf(name), model)) wanted.push(model);
    }
    return wanted;
  }

  /** Takes what waits, as long as there is room. */
  function pump(name: string): void {
    const work = workOf(name);
    const model = d.models.current(name);
    if (model === undefined || work.pause !== undefined) return;
    while (hasRoom(work, model)) {
      const now = d.clock.monotonic();
      const taken = d.admission.take(name, now, d.pool.hasRoom);
      if (taken === undefined) break;
      const unit = form(taken.frame, taken.pipeline, now);
      if (now >= dueAt(unit.frame, unit.pipeline)) expire(unit);
      else prepare(work, unit, model);
    }
    if (work.ready.length > 0) later(work);
  }

  function form(frame: Frame, pipeline: PipelinePlan, now: number): Unit {
    const unit = createUnit(frame, pipeline, now);
    live.add(unit);
    return unit;
  }

  function prepare(work: ModelWork, unit: Unit, model: ServingModel): void {
    if (unit.frame.plan.format === 'image') {
      void preparePicture(work, unit, model);
      return;
    }
    try {
      unit.prepared = preparer.tensor(unit, model);
      work.ready.push(unit);
      later(work);
    } catch (reason) {
      dead(unit, BrinkError.from(reason));
    }
  }

  async function preparePicture(work: ModelWork, unit: Unit, model: ServingModel): Promise<void> {
    work.preparing += 1;
    try {
      unit.prepared = await preparer.picture(unit, model);
      work.ready.push(unit);
      later(work);
    } catch (reason) {
      const error = BrinkError.from(reason);
      if (!DECODE_ATTEMPT.has(error.code)) dead(unit, error);
      else if (attempted(unit, 'decode', error)) void preparePicture(work, unit, d.models.current(work.name) ?? model);
    } finally {
      work.preparing -= 1;
      pump(work.name);
    }
  }

  /** @returns whether it may be tried again; if not, the unit has ended */
  function attempted(unit: Unit, stage: 'decode' | 'run', error: BrinkError): boolean {
    unit.attempts += 1;
    d.onAttempt(stage);
    if (unit.attempts < ATTEMPTS_MAX) return true;
    dead(
      unit,
      new BrinkError('E_ATTEMPTS', `${unit.attempts} attempts, the last ended with ${error.code}: ${error.detail}`),
    );
    return false;
  }

  /** Everything that becomes ready in this turn of the event loop goes in one Decide. */
  function later(work: ModelWork): void {
    dirty.add(work);
    if (scheduled) return;
    scheduled = true;
    setImmediate(() => {
      scheduled = false;
      const now = [...dirty];
      dirty.clear();
      for (const one of now) flush(one);
    });
  }

  function flush(work: ModelWork): void {
    while (work.ready.length > 0 && work.pause === undefined) {
      const model = d.models.current(work.name);
      if (model === undefined) return;
      const batch = nextBatch(work, model);
      if (batch.length > 0) void decide(work, model, batch);
    }
  }

  /** Up to the best batch of units of one priority; a unit with an attempt behind it goes alone. */
  function nextBatch(work: ModelWork, model: ServingModel): Unit[] {
    const now = d.clock.monotonic();
    const unitsMax = Math.min(model.batchBest, Math.max(1, Math.floor(DECIDE_BYTES_MAX / model.head.bytes)));
    const batch: Unit[] = [];
    const rest: Unit[] = [];
    for (const unit of work.ready) {
      const [head] = batch;
      const fits =
        head === undefined ||
        (head.attempts === 0 && unit.attempts === 0 && head.pipeline.priority === unit.pipeline.priority);
      if (!fits || batch.length >= unitsMax) rest.push(unit);
      else if (now >= dueAt(unit.frame, unit.pipeline)) expire(unit);
      else if (unit.prepared?.model.passportSha256 !== model.passportSha256) prepareAgain(work, unit, model, rest);
      else batch.push(unit);
    }
    work.ready = rest;
    return batch;
  }

  /** The model changed after the unit was prepared. */
  function prepareAgain(work: ModelWork, unit: Unit, model: ServingModel, ready: Unit[]): void {
    if (unit.frame.plan.format === 'image') {
      void preparePicture(work, unit, model);
      return;
    }
    try {
      unit.prepared = preparer.tensor(unit, model);
      ready.push(unit);
    } catch (reason) {
      dead(unit, BrinkError.from(reason));
    }
  }

  async function decide(work: ModelWork, model: ServingModel, units: readonly Unit[]): Promise<void> {
    work.deciding += units.length;
    d.onDecide(units.length);
    let results: readonly link.UnitResult[] | BrinkError;
    try {
      const tensors = units.map((unit) => unit.prepared?.tensor as Uint8Array);
      const { body } = await d.request(decideBody(model, units, d.clock.monotonic()), tensors, {
        timeoutMs: config.decideTimeoutMs,
      });
      results =
        body.case === 'decided' && body.value.results.length === units.length
          ? body.value.results
          : wrongAnswer(units, body.case);
    } catch (reason) {
      results = BrinkError.from(reason);
    }
    work.deciding -= units.length;
    const back = units.filter((unit, i) =>
      settle(work, unit, results instanceof BrinkError ? results : (results[i] as link.UnitResult)),
    );
    if (back.length > 0) work.ready = [...back, ...work.ready];
    pump(work.name);
  }

  /** @returns whether the unit is to be sent again; if not, it has ended */
  function settle(work: ModelWork, unit: Unit, result: link.UnitResult | BrinkError): boolean {
    if (!(result instanceof BrinkError) && result.failure === undefined) {
      end(unit, { outcome: 'decided', result });
      return false;
    }
    const error = result instanceof BrinkError ? result : failureOf(result);
    if (!(result instanceof BrinkError) && result.attempt) return attempted(unit, 'run', error);
    if (error.retryable || error.code === 'E_MODEL_UNKNOWN') {
      pauseFor(work, error);
      return true;
    }
    if (error.code === 'E_EXPIRED') expire(unit, error.detail);
    else dead(unit, error);
    return false;
  }

  /** An outage or a change at inference: its units go back unharmed, and their age is the limit. */
  function pauseFor(work: ModelWork, error: BrinkError): void {
    if (error.code === 'E_PASSPORT_CHANGED') d.models.doubt(work.name);
    work.pause ??= d.clock.setTimeout(() => {
      work.pause = undefined;
      pump(work.name);
    }, PAUSE_MS);
  }

  /** The one way out. A unit that was given up at the stop may still be answered; that comes too late. */
  function end(unit: Unit, ending: Ending): void {
    if (live.delete(unit)) d.onEnd(unit, ending);
  }

  function dead(unit: Unit, error: BrinkError): void {
    end(unit, { outcome: 'dead', error, version: versionOf(unit) });
  }

  function expire(unit: Unit, why?: string): void {
    const model = d.models.current(unit.pipeline.model);
    const limit = Math.round(dueAt(unit.frame, unit.pipeline) - unit.frame.receivedAt);
    const reason = why ?? (model === undefined ? d.models.whyNot(unit.pipeline.model) : 'the model was busy');
    const error = new BrinkError('E_EXPIRED', `not computed within ${limit} ms: ${reason}`);
    end(unit, { outcome: 'expired', error, version: versionOf(unit) });
  }

  const versionOf = (unit: Unit) => unit.prepared?.model.version ?? d.models.versionOf(unit.pipeline.model);

  function sweep(): void {
    const now = d.clock.monotonic();
    for (const { frame, pipeline } of d.admission.takeExpired(now)) expire(form(frame, pipeline, now));
    for (const work of works.values()) {
      if (work.ready.length === 0) continue;
      const fresh = work.ready.filter((unit) => now < dueAt(unit.frame, unit.pipeline));
      const old = work.ready.filter((unit) => now >= dueAt(unit.frame, unit.pipeline));
      work.ready = fresh;
      for (const unit of old) expire(unit);
    }
    sweeping = d.clock.setTimeout(sweep, SWEEP_MS);
  }

  const each = (read: (work: ModelWork) => number) => [...works.values()].reduce((sum, work) => sum + read(work), 0);

  return {
    start(): void {
      sweeping = d.clock.setTimeout(sweep, SWEEP_MS);
    },
    /** A frame came in; it may be taken at once. */
    offered(frame: Frame): void {
      for (const { model } of frame.plan.pipelines) pump(model);
    },
    /** The model can take units again, or others. */
    modelChanged: pump,
    /** The decode pool has room again. */
    roomInPool(): void {
      for (const name of d.admission.models()) pump(name);
    },
    /** Units that were taken and have not ended. */
    get inFlight() {
      return live.size;
    },
    get ready() {
      return each((work) => work.ready.length);
    },
    get preparing() {
      return each((work) => work.preparing);
    },
    get deciding() {
      return each((work) => work.deciding);
    },
    /** Gives up what has not ended. @returns those units */
    stop(): Unit[] {
      if (sweeping !== undefined) d.clock.clearTimeout(sweeping);
      for (const work of works.values()) {
        if (work.pause !== undefined) d.clock.clearTimeout(work.pause);
        work.pause = undefined;
        work.ready = [];
      }
      const left = [...live];
      live.clear();
      return left;
    },
  };
}

export type Dispatch = ReturnType<typeof createDispatch>;

function decideBody(model: ServingModel, units: readonly Unit[], now: number) {
  const { name, dtype, shape } = model.head;
  const inputs = [{ name, dtype, shape: [...shape] }];
  return {
    case: 'decide' as const,
    value: {
      model: model.name,
      version: model.version,
      passportSha256: model.passportSha256,
      priority: units[0]?.pipeline.priority ?? 0,
      units: units.map((unit) => ({
        id: unit.id,
        deadlineMs: remainingMs(unit, now),
        inputs,
        attempts: unit.attempts,
      })),
    },
  };
}

/** Of `deadline_ms`; 0 where the pipeline has none. */
function remainingMs({ frame, pipeline }: Unit, now: number): number {
  if (pipeline.deadlineMs === undefined) return 0;
  return Math.max(1, Math.floor(frame.receivedAt + pipeline.deadlineMs - now));
}

function failureOf({ failure }: link.UnitResult): BrinkError {
  const { code = '', detail = '' } = failure ?? {};
  return isErrorCode(code) ? new BrinkError(code, detail) : new BrinkError('E_INTERNAL', `${code}: ${detail}`);
}

function wrongAnswer(units: readonly Unit[], answer: string | undefined): BrinkError {
  return new BrinkError(
    'E_INTERNAL',
    `inference answered "${answer}" to ${units.length} units; expected one result each`,
  );
}
