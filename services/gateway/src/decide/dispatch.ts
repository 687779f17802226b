import { BrinkError, type link } from '@brink/protocol';
import type { Clock, LinkPeer, Timer } from '@brink/runtime';
import type { DecodePool } from '../decode/pool.ts';
import type { Admission } from '../ingest/admission.ts';
import { dueAt, type Frame } from '../ingest/frame.ts';
import type { PipelinePlan } from '../ingest/plan.ts';
import type { Keeper } from '../keep/keeper.ts';
import type { Masking } from '../mask/masking.ts';
import type { Models, ServingModel } from '../models/models.ts';
import { decideSteps } from '../steps/steps.ts';
import { failureOf } from './failure.ts';
import { createLive, type Live, mostOfLane } from './live.ts';
import { createPreparer, type Preparer } from './prepare.ts';
import { answersOf, decideBody, failedAnswer, isDecodeAttempt } from './request.ts';
import type { Ending, Unit, UnitAnswer } from './unit.ts';
import { createWorks, goesWith, hasRoom, type ModelWork } from './work.ts';

export interface DispatchDeps {
  clock: Clock;
  admission: Admission;
  models: Models;
  pool: DecodePool;
  masking: Masking;
  keeper: Pick<Keeper, 'qualityFor' | 'decoded'>;
  request: LinkPeer['request'];
  /** Pipelines for which this frame still waits. */
  pipelinesWaiting(frame: Frame): PipelinePlan[];
  /** Called once per unit. */
  onEnd(unit: Unit, ending: Ending): void;
  /** Called instead, where its window was cut for another version of the model. */
  onMiscut(unit: Unit): void;
  onAttempt(stage: 'decode' | 'run'): void;
  /** These units are about to be handed to a child process. @returns what has to be waited for, if anything */
  beforeTry(units: readonly Unit[]): Promise<void> | undefined;
  /** A unit came back unharmed: what had it, or should have had it, was away. */
  notTried(unit: Unit): void;
  onDecide(units: number): void;
}

const ATTEMPTS_MAX = 3;
/** After a refusal that may pass (model not ready, queue full, time). */
const PAUSE_MS = 50;
/** A Decide must fit a frame of the link with room to spare. */
const DECIDE_BYTES_MAX = 8 * 1024 * 1024;
/** How exactly "too old" is kept while nothing else happens. */
const SWEEP_MS = 100;

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
  readonly #works = createWorks();
  readonly #dirty = new Set<ModelWork>();
  readonly #live: Live;
  #scheduled = false;
  #sweeping: Timer | undefined;

  constructor(config: { decideTimeoutMs: number }, d: DispatchDeps) {
    this.#d = d;
    this.#decideTimeoutMs = config.decideTimeoutMs;
    this.#preparer = createPreparer({ ...d, alsoWanted: (frame) => this.#alsoWanted(frame) });
    this.#live = createLive({ ...d, onReleased: ({ pipeline }) => this.#pump(pipeline.model) });
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
    for (const work of this.#works.all()) {
      if (work.pause !== undefined) clock.clearTimeout(work.pause);
      work.ready = [];
    }
    return this.#live.stop();
  }

  /** Units that were taken and have not ended. */
  get inFlight(): number {
    return this.#live.size;
  }
  get ready(): number {
    return this.#works.sum((work) => work.ready.length);
  }
  get preparing(): number {
    return this.#works.sum((work) => work.preparing);
  }
  get deciding(): number {
    return this.#works.sum((work) => work.deciding);
  }

  /** Takes what waits, as long as there is room. */
  #pump(name: string): void {
    const work = this.#works.of(name);
    const model = this.#d.models.current(name);
    if (model === undefined || work.pause !== undefined) return;
    while (hasRoom(work, model)) {
      const now = this.#d.clock.monotonic();
      const piece = this.#d.admission.take(name, now, this.#d.pool.hasRoom, mostOfLane(model));
      if (piece === undefined) break;
      const unit = this.#live.form(piece, now, model);
      if (now >= dueAt(unit.frame, unit.pipeline)) this.#live.expire(unit);
      else if (unit.attempts >= ATTEMPTS_MAX) this.#live.exhausted(unit, 'the gateway ended while it had it');
      else this.#prepare(work, unit, model);
    }
    if (work.ready.length > 0) this.#later(work);
  }

  #prepare(work: ModelWork, unit: Unit, model: ServingModel): void {
    if (unit.frame.plan.format === 'image') void this.#preparePicture(work, unit, model);
    else if (this.#prepareTensor(unit, model)) work.ready.push(unit);
  }

  /** @returns whether it is ready; if not, the unit has ended */
  #prepareTensor(unit: Unit, model: ServingModel): boolean {
    if (unit.formed !== undefined && unit.formed.inputsKey !== model.inputsKey) {
      this.#live.miscut(unit);
      return false;
    }
    try {
      unit.prepared = this.#preparer.tensor(unit, model);
      return true;
    } catch (reason) {
      this.#live.dead(unit, BrinkError.from(reason));
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
      if (error.code === 'E_EXPIRED') this.#live.expire(unit, error.detail);
      else if (!isDecodeAttempt(error)) this.#live.dead(unit, error);
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
    this.#live.exhausted(unit, `the last ended with ${error.code}: ${error.detail}`);
    return false;
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
    const unitsMax = Math.min(model.batchBest, Math.max(1, Math.floor(DECIDE_BYTES_MAX / model.bytes)));
    const batch: Unit[] = [];
    const rest: Unit[] = [];
    for (const unit of work.ready) {
      if (batch.length >= unitsMax || !goesWith(unit, batch[0])) rest.push(unit);
      else if (now >= dueAt(unit.frame, unit.pipeline)) this.#live.expire(unit);
      else if (unit.prepared?.model.passportSha256 === model.passportSha256) batch.push(unit);
      // The model changed after the unit was prepared.
      else if (unit.frame.plan.format === 'image') void this.#preparePicture(work, unit, model);
      else if (this.#prepareTensor(unit, model)) batch.push(unit);
    }
    work.ready = rest;
    return batch;
  }

  async #decide(work: ModelWork, model: ServingModel, units: readonly Unit[]): Promise<void> {
    const { onDecide } = this.#d;
    work.deciding += units.length;
    onDecide(units.length);
    let answers: readonly UnitAnswer[] | BrinkError;
    try {
      const committed = this.#d.beforeTry(units);
      if (committed !== undefined) await committed;
      for (const unit of units) unit.sent += 1;
      answers = await this.#ask(model, units);
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

  /** One request for all of them; where the model is made of others, as many as each needs. */
  async #ask(model: ServingModel, units: readonly Unit[]): Promise<readonly UnitAnswer[] | BrinkError> {
    const { clock, request } = this.#d;
    const timeoutMs = this.#decideTimeoutMs;
    if (model.steps !== undefined) {
      const d = { clock, request, timeoutMs, crops: this.#preparer.crops };
      return Promise.all(units.map((unit) => decideSteps(unit, model, d).catch(failedAnswer)));
    }
    const tensors = units.flatMap((unit) => unit.prepared?.tensors ?? []);
    return answersOf(await request(decideBody(model, units, clock.monotonic()), tensors, { timeoutMs }), units);
  }

  /** @returns whether the unit is to be sent again; if not, it has ended */
  #settle(work: ModelWork, model: ServingModel, unit: Unit, answer: UnitAnswer | BrinkError): boolean {
    if (!(answer instanceof BrinkError)) {
      const { failure, attempt } = answer.said;
      if (failure === undefined) {
        this.#live.decided(unit, answer);
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
    if (error.code === 'E_EXPIRED') this.#live.expire(unit, error.detail);
    else this.#live.dead(unit, error);
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

  #sweep(): void {
    const now = this.#d.clock.monotonic();
    for (const piece of this.#d.admission.takeExpired(now)) this.#live.expire(this.#live.form(piece, now));
    const isOld = (unit: Unit) => now >= dueAt(unit.frame, unit.pipeline);
    for (const work of this.#works.all()) {
      const old = work.ready.filter(isOld);
      if (old.length === 0) continue;
      work.ready = work.ready.filter((unit) => !isOld(unit));
      for (const unit of old) this.#live.expire(unit);
    }
    this.#sweeping = this.#d.clock.setTimeout(() => this.#sweep(), SWEEP_MS);
  }

  /** Models that could take a unit of this frame at once, so that one decode serves them too. */
  #alsoWanted(frame: Frame): ServingModel[] {
    const wanted: ServingModel[] = [];
    for (const { model: name } of this.#d.pipelinesWaiting(frame)) {
      const model = this.#d.models.current(name);
      if (model !== undefined && hasRoom(this.#works.of(name), model)) wanted.push(model);
    }
    return wanted;
  }
}
