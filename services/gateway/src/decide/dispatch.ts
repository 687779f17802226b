import { BrinkError, type ErrorCode, type link } from '@brink/protocol';
import type { Clock, LinkPeer, Timer } from '@brink/runtime';
import type { DecodePool } from '../decode/pool.ts';
import type { Admission } from '../ingest/admission.ts';
import { dueAt, type Frame } from '../ingest/frame.ts';
import type { PipelinePlan } from '../ingest/plan.ts';
import type { Models, ServingModel } from '../models/models.ts';
import { createPreparer, type Preparer } from './prepare.ts';
import { answersOf, decideBody, failureOf } from './request.ts';
import { createUnit, type Ending, type Unit, type UnitAnswer } from './unit.ts';

export interface DispatchDeps {
  clock: Clock;
  admission: Admission;
  models: Models;
  pool: DecodePool;
  request: LinkPeer['request'];
  /** Pipelines for which this frame still waits. */
  pipelinesWaiting(frame: Frame): PipelinePlan[];
  /** Called once per unit. */
  onEnd(unit: Unit, ending: Ending): void;
  onAttempt(stage: 'decode' | 'run'): void;
  /** These units are about to be handed to a child process. @returns what has to be waited for, if anything */
  beforeTry(units: readonly Unit[]): Promise<void> | undefined;
  /** A unit came back unharmed: what had it, or should have had it, was away. */
  notTried(unit: Unit): void;
  onDecide(units: number): void;
}

/** What one model has of ours. */
interface ModelWork {
  readonly name: string;
  /** Prepared units in their order; those with attempts go alone. */
  ready: Unit[];
  /** Units that are being prepared: in the decode pool or on their way there. */
  preparing: number;
  /** Units in a Decide that is not answered yet. */
  deciding: number;
  /** Set while inference cannot take units now. */
  pause: Timer | undefined;
}

const ATTEMPTS_MAX = 3;
/** After a refusal that may pass (model not ready, queue full, time). */
const PAUSE_MS = 50;
/** A Decide must fit a frame of the link with room to spare. */
const DECIDE_BYTES_MAX = 8 * 1024 * 1024;
/** How exactly "too old" is kept while nothing else happens. */
const SWEEP_MS = 100;

// What the end of a decode child looks like: the unit was handed over and may be to blame.
const DECODE_ATTEMPT: ReadonlySet<ErrorCode> = new Set(['E_CRASHED', 'E_TIMEOUT']);

/**
 * From waiting frames to outcomes: takes frames while a model has room (BATCHES_IN_FLIGHT, so that the runner never
 * waits), has them prepared, and sends what is ready for one model in one Decide. It never waits
 * to fill one: units that became ready in the same turn of the event loop go together, that is all.
 *
 * A unit ends exactly once, in `onEnd`. While inference is away units wait, and expire by their age; that costs no attempt.
 */
export class Dispatch {
  readonly #d: DispatchDeps;
  readonly #decideTimeoutMs: number;
  readonly #preparer: Preparer;
  readonly #works = new Map<string, ModelWork>();
  readonly #dirty = new Set<ModelWork>();
  /** Every unit that was formed and has not ended. */
  readonly #live = new Set<Unit>();
  #scheduled = false;
  #sweeping: Timer | undefined;

  constructor(config: { decideTimeoutMs: number }, d: DispatchDeps) {
    this.#d = d;
    this.#decideTimeoutMs = config.decideTimeoutMs;
    this.#preparer = createPreparer({ pool: d.pool, alsoWanted: (frame) => this.#alsoWanted(frame) });
  }

  start(): void {
    this.#sweeping = this.#d.clock.setTimeout(() => this.#sweep(), SWEEP_MS);
  }

  /** A frame came in; it may be taken at once. */
  offered(frame: Frame): void {
    for (const { model } of frame.plan.pipelines) this.#pump(model);
  }

  /** The model can take units again, or wants them prepared differently. */
  modelChanged(name: string): void {
    this.#pump(name);
  }

  /** The decode pool has room again. */
  roomInPool(): void {
    for (const name of this.#d.admission.models()) this.#pump(name);
  }

  /** Gives up what has not ended. @returns those units */
  stop(): Unit[] {
    const { clock } = this.#d;
    if (this.#sweeping !== undefined) clock.clearTimeout(this.#sweeping);
    for (const work of this.#works.values()) {
      if (work.pause !== undefined) clock.clearTimeout(work.pause);
      work.ready = [];
    }
    const left = [...this.#live];
    this.#live.clear();
    return left;
  }

  /** Units that were taken and have not ended. */
  get inFlight(): number {
    return this.#live.size;
  }
  get ready(): number {
    return this.#sum((work) => work.ready.length);
  }
  get preparing(): number {
    return this.#sum((work) => work.preparing);
  }
  get deciding(): number {
    return this.#sum((work) => work.deciding);
  }

  /** Takes what waits, as long as there is room. */
  #pump(name: string): void {
    const work = this.#workOf(name);
    const model = this.#d.models.current(name);
    if (model === undefined || work.pause !== undefined) return;
    while (hasRoom(work, model)) {
      const now = this.#d.clock.monotonic();
      const taken = this.#d.admission.take(name, now, this.#d.pool.hasRoom);
      if (taken === undefined) break;
      const unit = this.#form(taken.frame, taken.pipeline, now);
      if (now >= dueAt(unit.frame, unit.pipeline)) this.#expire(unit);
      else if (unit.attempts >= ATTEMPTS_MAX) this.#exhausted(unit, 'the gateway ended while it had it');
      else this.#prepare(work, unit, model);
    }
    if (work.ready.length > 0) this.#later(work);
  }

  #form(frame: Frame, pipeline: PipelinePlan, now: number): Unit {
    const unit = createUnit(frame, pipeline, now);
    this.#live.add(unit);
    return unit;
  }

  #prepare(work: ModelWork, unit: Unit, model: ServingModel): void {
    if (unit.frame.plan.format === 'image') void this.#preparePicture(work, unit, model);
    else if (this.#prepareTensor(unit, model)) work.ready.push(unit);
  }

  /** @returns whether it is ready; if not, the unit has ended */
  #prepareTensor(unit: Unit, model: ServingModel): boolean {
    try {
      unit.prepared = this.#preparer.tensor(unit, model);
      return true;
    } catch (reason) {
      this.#dead(unit, BrinkError.from(reason));
      return false;
    }
  }

  async #preparePicture(work: ModelWork, unit: Unit, model: ServingModel): Promise<void> {
    work.preparing += 1;
    try {
      const committed = this.#d.beforeTry([unit]);
      if (committed !== undefined) await committed;
      unit.prepared = await this.#preparer.picture(unit, model);
      if (this.#live.has(unit)) work.ready.push(unit);
    } catch (reason) {
      const error = BrinkError.from(reason);
      if (!DECODE_ATTEMPT.has(error.code)) this.#dead(unit, error);
      else if (this.#mayTryAgain(unit, 'decode', error)) {
        void this.#preparePicture(work, unit, this.#d.models.current(work.name) ?? model);
      }
    } finally {
      work.preparing -= 1;
      this.#later(work);
      this.#pump(work.name);
    }
  }

  /** Counts an attempt. @returns false where it was the last one: the unit has ended */
  #mayTryAgain(unit: Unit, stage: 'decode' | 'run', error: BrinkError): boolean {
    unit.attempts += 1;
    this.#d.onAttempt(stage);
    if (unit.attempts < ATTEMPTS_MAX) return this.#live.has(unit);
    this.#exhausted(unit, `the last ended with ${error.code}: ${error.detail}`);
    return false;
  }

  #exhausted(unit: Unit, why: string): void {
    this.#dead(unit, new BrinkError('E_ATTEMPTS', `${unit.attempts} attempts, ${why}`));
  }

  /** Everything that becomes ready in this turn of the event loop goes in one Decide. */
  #later(work: ModelWork): void {
    this.#dirty.add(work);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      const works = [...this.#dirty];
      this.#dirty.clear();
      for (const one of works) this.#flush(one);
    });
  }

  #flush(work: ModelWork): void {
    while (work.ready.length > 0 && work.pause === undefined) {
      const model = this.#d.models.current(work.name);
      if (model === undefined) return;
      const batch = this.#nextBatch(work, model);
      if (batch.length > 0) void this.#decide(work, model, batch);
    }
  }

  /** Up to the best batch of units of one priority; a unit with an attempt behind it goes alone. */
  #nextBatch(work: ModelWork, model: ServingModel): Unit[] {
    const now = this.#d.clock.monotonic();
    const unitsMax = Math.min(model.batchBest, Math.max(1, Math.floor(DECIDE_BYTES_MAX / model.head.bytes)));
    const batch: Unit[] = [];
    const rest: Unit[] = [];
    for (const unit of work.ready) {
      if (batch.length >= unitsMax || !goesWith(unit, batch[0])) rest.push(unit);
      else if (now >= dueAt(unit.frame, unit.pipeline)) this.#expire(unit);
      else if (unit.prepared?.model.passportSha256 === model.passportSha256) batch.push(unit);
      // The model changed after the unit was prepared.
      else if (unit.frame.plan.format === 'image') void this.#preparePicture(work, unit, model);
      else if (this.#prepareTensor(unit, model)) batch.push(unit);
    }
    work.ready = rest;
    return batch;
  }

  async #decide(work: ModelWork, model: ServingModel, units: readonly Unit[]): Promise<void> {
    const { clock, request, onDecide } = this.#d;
    work.deciding += units.length;
    onDecide(units.length);
    let answers: readonly UnitAnswer[] | BrinkError;
    try {
      const committed = this.#d.beforeTry(units);
      if (committed !== undefined) await committed;
      const tensors = units.map((unit) => unit.prepared?.tensor as Uint8Array);
      const options = { timeoutMs: this.#decideTimeoutMs };
      answers = answersOf(await request(decideBody(model, units, clock.monotonic()), tensors, options), units);
    } catch (reason) {
      answers = BrinkError.from(reason);
    }
    work.deciding -= units.length;
    const back = units.filter((unit, i) => {
      const answer = answers instanceof BrinkError ? answers : (answers[i] as UnitAnswer);
      return this.#settle(work, model, unit, answer);
    });
    work.ready.unshift(...back);
    this.#pump(work.name);
  }

  /** @returns whether the unit is to be sent again; if not, it has ended */
  #settle(work: ModelWork, model: ServingModel, unit: Unit, answer: UnitAnswer | BrinkError): boolean {
    if (!(answer instanceof BrinkError)) {
      const { failure, attempt } = answer.said;
      if (failure === undefined) {
        this.#end(unit, { outcome: 'decided', answer });
        return false;
      }
      if (attempt) return this.#mayTryAgain(unit, 'run', failureOf(failure));
    }
    const error = answer instanceof BrinkError ? answer : failureOf(answer.said.failure as link.Failure);
    if (error.retryable || error.code === 'E_MODEL_UNKNOWN') {
      this.#pauseFor(work, model, error);
      this.#d.notTried(unit);
      return this.#live.has(unit);
    }
    if (error.code === 'E_EXPIRED') this.#expire(unit, error.detail);
    else this.#dead(unit, error);
    return false;
  }

  /** An outage or a change at inference: its units go back unharmed, and their age is the limit. */
  #pauseFor(work: ModelWork, model: ServingModel, error: BrinkError): void {
    if (error.code === 'E_PASSPORT_CHANGED') this.#d.models.doubt(model);
    work.pause ??= this.#d.clock.setTimeout(() => {
      work.pause = undefined;
      this.#pump(work.name);
    }, PAUSE_MS);
  }

  /** The one way out. A unit that was given up at the stop may still be answered; that comes too late. */
  #end(unit: Unit, ending: Ending): void {
    if (this.#live.delete(unit)) this.#d.onEnd(unit, ending);
  }

  #dead(unit: Unit, error: BrinkError): void {
    this.#end(unit, { outcome: 'dead', error, version: this.#versionOf(unit) });
  }

  #expire(unit: Unit, why?: string): void {
    const { models } = this.#d;
    const name = unit.pipeline.model;
    const limit = Math.round(dueAt(unit.frame, unit.pipeline) - unit.frame.receivedAt);
    const reason = why ?? (models.current(name) === undefined ? models.whyNot(name) : 'the model was busy');
    const error = new BrinkError('E_EXPIRED', `not computed within ${limit} ms: ${reason}`);
    this.#end(unit, { outcome: 'expired', error, version: this.#versionOf(unit) });
  }

  #versionOf(unit: Unit): number {
    return unit.prepared?.model.version ?? this.#d.models.versionOf(unit.pipeline.model);
  }

  #sweep(): void {
    const now = this.#d.clock.monotonic();
    for (const { frame, pipeline } of this.#d.admission.takeExpired(now))
      this.#expire(this.#form(frame, pipeline, now));
    const isOld = (unit: Unit) => now >= dueAt(unit.frame, unit.pipeline);
    for (const work of this.#works.values()) {
      const old = work.ready.filter(isOld);
      if (old.length === 0) continue;
      work.ready = work.ready.filter((unit) => !isOld(unit));
      for (const unit of old) this.#expire(unit);
    }
    this.#sweeping = this.#d.clock.setTimeout(() => this.#sweep(), SWEEP_MS);
  }

  /** Models that could take a unit of this frame at once, so that one decode serves them too. */
  #alsoWanted(frame: Frame): ServingModel[] {
    const wanted: ServingModel[] = [];
    for (const { model: name } of this.#d.pipelinesWaiting(frame)) {
      const model = this.#d.models.current(name);
      if (model !== undefined && hasRoom(this.#workOf(name), model)) wanted.push(model);
    }
    return wanted;
  }

  #workOf(name: string): ModelWork {
    let work = this.#works.get(name);
    if (work === undefined) {
      work = { name, ready: [], preparing: 0, deciding: 0, pause: undefined };
      this.#works.set(name, work);
    }
    return work;
  }

  #sum(read: (work: ModelWork) => number): number {
    let sum = 0;
    for (const work of this.#works.values()) sum += read(work);
    return sum;
  }
}

/**
 * Batches in flight per model: one runs, one lies in the runner's socket, one is on its way there and one on its way back. With two
 * a late gateway leaves the runner idle; `npm run bench -- loop` shows what it costs.
 */
const BATCHES_IN_FLIGHT = 4;
/** Each copy of the model takes batches of its own. */
const hasRoom = (work: ModelWork, model: ServingModel) =>
  work.ready.length + work.deciding < BATCHES_IN_FLIGHT * model.batchBest * model.copies;

function goesWith(unit: Unit, head: Unit | undefined): boolean {
  if (head === undefined) return true;
  return head.attempts === 0 && unit.attempts === 0 && head.pipeline.priority === unit.pipeline.priority;
}
