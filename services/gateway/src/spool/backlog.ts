import type { Clock, Timer } from '@brink/runtime';
import type { Unit } from '../decide/unit.ts';
import type { Admission } from '../ingest/admission.ts';
import { type Frame, type Spooled, unitKey } from '../ingest/frame.ts';
import type { SitePlan } from '../ingest/plan.ts';
import type { Source, Sources } from '../ingest/sources.ts';
import type { Models } from '../models/models.ts';
import { type Counts, countSpooled, type OnUnfinished, type UnitFate } from '../outcomes/counts.ts';
import type { Windows } from '../window/windows.ts';
import { type BootId, Cuts } from './cuts.ts';
import { type Change, type LoadedRow, NEEDED, type SpoolContents, UNCUT } from './messages.ts';
import { dropOthers, type Settled } from './others.ts';
import { Retries } from './retries.ts';
import { hasRoom, isRoomy, type Limits, unaskedToGo, whoGoes } from './room.ts';
import { createRows, type StreamRows } from './rows.ts';
import type { Spool } from './spool.ts';

/** Frames of one stream that are in memory; the others wait on the disk. */
const WINDOW = { rows: 512, bytes: 16 * 1024 * 1024 };
const AGAIN_MS = 1000;

export interface BacklogDeps {
  spool: Spool;
  clock: Clock;
  counts: Counts;
  admission: Admission;
  sources: Sources;
  windows: Pick<Windows, 'cut'>;
  models: Pick<Models, 'known'>;
  onOffered(frame: Frame): void;
  onDropped(reason: 'configuration' | 'every_ms', of: { device: string; stream: string }): void;
  onUnfinished: OnUnfinished;
  /** For tests: called by name where a crash would hurt most. */
  failpoint(name: string): void;
  /** A stream that was full has room again. */
  onRoom(stream: string): void;
}

/** The rows of the spool: which are in memory, which units of them are left, and how often each was tried. */
export class Backlog {
  readonly #limits: Limits & { ageMsMax: number };
  readonly #d: BacklogDeps;
  readonly #rows = createRows();
  readonly #cuts: Cuts;
  readonly #retries: Retries;
  readonly #others: Parameters<typeof dropOthers>[2];
  #plan: SitePlan | undefined;
  /** Streams whose rows the disk did not give, to be asked for again. */
  #again: (() => void)[] = [];
  #timer: Timer | undefined;
  /** Streams, and which of their models take another input now. */
  readonly #toCutAgain = new Map<string, Set<string>>();
  #stopped = false;

  constructor(limits: Limits & { ageMsMax: number }, d: BacklogDeps) {
    this.#limits = limits;
    this.#d = d;
    this.#retries = new Retries(d);
    const write = (change: Change, done: () => void) => this.#write(change, done);
    const onQuiet = (spooled: Spooled) => this.#quiet(spooled);
    const settle = (spooled: Spooled, of: Settled, fate: UnitFate) => this.settle(spooled, of, fate);
    this.#others = { write, settle, onQuiet, onDropped: d.onDropped, onUnfinished: d.onUnfinished };
    const isLoaded = (stream: string) => this.#rows.of(stream).cursor === this.#rows.of(stream).last;
    this.#cuts = new Cuts({ ...d, write, settle, isLoaded, onQuiet, hasRows: this.#rows.hasBoot });
  }

  /** What the last process left. Nothing of it is decided before `apply`. */
  restore(contents: SpoolContents): void {
    for (const { units, ...row } of contents.rows) {
      const real = units.filter(([, , part]) => part >= 0);
      const attempts = new Map(real.map(([pipeline, tries, part]) => [unitKey(pipeline, part), tries]));
      const cut = units.flatMap(([pipeline, , part]) => {
        const state = part === UNCUT ? 'uncut' : part === NEEDED ? 'needed' : undefined;
        return state === undefined ? [] : [[pipeline, state] as const];
      });
      const samples = cut.length === 0 ? undefined : new Map(cut);
      this.#rows.add({ ...row, left: new Set(attempts.keys()), out: new Set(), attempts, samples, cutting: new Map() });
    }
    this.#cuts.restore(contents);
    for (const { device, stream, name, value } of contents.counters) {
      countSpooled(this.#d.counts, { device, stream }, [name], 0, value);
    }
  }

  /** A configuration: streams that it changed begin again from the front, without what is being decided. */
  apply(plan: SitePlan): void {
    const before = this.#plan;
    this.#plan = plan;
    for (const [name, of] of this.#rows.all()) {
      const [is, was] = [plan.streams.get(name), before?.streams.get(name)];
      if (before !== undefined && JSON.stringify(is) === JSON.stringify(was)) continue;
      of.unasked = new Set(is?.durable === true ? [] : of.rows.keys());
      of.sinceMs = this.#d.clock.now();
      this.#fromTheFront(name, of);
    }
  }

  #fromTheFront(stream: string, of: StreamRows): void {
    of.turn += 1;
    of.cursor = 0;
    of.live = new Set();
    of.liveBytes = 0;
    of.loading = false;
    this.#cuts.forget(stream);
    void this.#pull(stream);
  }

  /** A unit comes back: its model takes another input now. Its frame is cut again. */
  giveBack({ frame: { spooled }, pipeline, part }: Unit): void {
    spooled?.out.delete(unitKey(pipeline.name, part));
    if (spooled !== undefined) this.#cutAgain(spooled.stream, pipeline.model);
  }

  /** All that comes back in this turn of the event loop at once. */
  #cutAgain(stream: string, model: string): void {
    if (this.#toCutAgain.size === 0) {
      setImmediate(() => {
        const all = [...this.#toCutAgain];
        this.#toCutAgain.clear();
        for (const [name, models] of this.#stopped ? [] : all) {
          for (const one of models) this.#d.sources.renew(name, one);
          this.#fromTheFront(name, this.#rows.of(name));
        }
      });
    }
    this.#toCutAgain.set(stream, (this.#toCutAgain.get(stream) ?? new Set()).add(model));
  }

  /** What a model takes is known, or is another thing now. */
  modelChanged(name: string): void {
    for (const stream of this.#cuts.modelChanged(name)) this.#cutAgain(stream, name);
  }

  /** A boot that is not remembered any more. */
  bootOver(of: BootId): void {
    this.#cuts.over(of);
  }

  /** From time to time: rows that nobody completes, or asks for, any more go. */
  sweep(): void {
    const now = this.#d.clock.now();
    this.#cuts.sweep(now);
    if (this.#plan === undefined) return;
    for (const [, of] of this.#rows.all()) {
      for (const spooled of unaskedToGo(of, this.#limits, now)) {
        of.unasked.delete(spooled.id);
        dropOthers(undefined, spooled, this.#others);
      }
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#again = [];
    this.#retries.stop();
    if (this.#timer !== undefined) this.#d.clock.clearTimeout(this.#timer);
    this.#plan = undefined;
  }

  /** Whether a frame is in the spool, or on its way there. */
  has(device: string, stream: string, boot: string, seq: number): boolean {
    return this.#rows.has({ device, stream, boot, seq });
  }

  hasRoom(stream: string, bytes: number): boolean {
    return hasRoom(this.#rows.of(stream), this.#limits, this.#isQuiet(stream), bytes);
  }

  /** Nothing of it can be decided: only more samples let any of it go. */
  #isQuiet(stream: string): boolean {
    const of = this.#rows.of(stream);
    const isWindowed = this.#plan?.streams.get(stream)?.samples !== undefined;
    return isWindowed && of.live.size === 0 && of.cursor === of.last;
  }

  /** There is none for a frame. Where no row goes by itself, some make way. @param device whose frame it is */
  makeRoom(stream: string, device?: string): void {
    const of = this.#rows.of(stream);
    if (of.making || of.entering > 0 || !this.#isQuiet(stream)) return;
    for (const boot of whoGoes(of, this.#limits, device)) {
      const some = this.#cuts.makeWay({ stream, ...boot });
      of.making ||= some;
    }
  }

  /** Takes room for a frame that is on its way to the disk. @returns what gives it back, to be called when it is there or failed */
  enter(spooled: Spooled): () => void {
    return this.#rows.enter(spooled);
  }

  /** It is on the disk. It is decided from here, or when its turn comes. */
  accept(source: Source, frame: Frame, spooled: Spooled): void {
    const { stream, id, bytes } = spooled;
    const of = this.#rows.of(stream);
    const inTurn = of.cursor === of.last && of.live.size < WINDOW.rows && of.liveBytes + bytes <= WINDOW.bytes;
    this.#rows.add(spooled);
    if (this.#plan?.streams.get(stream)?.durable !== true) of.unasked.add(id);
    // Where another configuration came meanwhile, it is another source.
    if (!inTurn || this.#plan === undefined || this.#d.sources.find(spooled.device, stream) !== source) {
      void this.#pull(stream);
      return;
    }
    of.cursor = id;
    this.#offer(of, source, frame, spooled);
  }

  /** Commits that these units are about to be tried. @returns undefined where there is nothing to wait for */
  beforeTry(units: readonly Unit[]): Promise<void> | undefined {
    const writes = units.flatMap((unit) => this.#tries(unit, unit.attempts + 1) ?? []);
    return writes.length === 0 ? undefined : Promise.all(writes).then(() => {});
  }

  /** It was not tried after all: what it was sent to was away. */
  notTried(unit: Unit): void {
    void this.#tries(unit, unit.attempts);
  }

  /** The end of one unit; after the last, the row goes, unless its samples are needed. */
  settle(spooled: Spooled, of: Settled, fate: UnitFate, after?: () => void): void {
    const { pipeline, part, kept } = of;
    const waiting = spooled.cutting.get(pipeline);
    if (waiting !== undefined) {
      waiting.push(() => this.settle(spooled, of, fate, after));
      return;
    }
    const { id, device, stream, boot } = spooled;
    const counts = [`${pipeline}/${fate}`];
    const chain = kept === undefined ? undefined : { boot, pipeline, states: kept };
    const settled = { frame: id, pipeline, part };
    this.#write({ device, stream, counts, settled, ...(chain === undefined ? {} : { chain }) }, () => {
      countSpooled(this.#d.counts, spooled, counts, 0);
      if (chain !== undefined) this.#cuts.keep(spooled, chain);
      spooled.left.delete(unitKey(pipeline, part));
      if (spooled.left.size === 0) this.#quiet(spooled);
      // Another configuration may have given the stream other lanes meanwhile, which cut its rows again.
      const source = this.#d.sources.find(device, stream);
      const now = typeof source === 'string' ? undefined : source.lanes.find((one) => one.pipeline.name === pipeline);
      if (now !== undefined) this.#cuts.settled(now, spooled, part);
      after?.();
    });
  }

  /** However often the disk fails; of one stream in this order. */
  #write(change: Change, done: () => void): void {
    this.#retries.write(change, done);
  }

  /** Nothing of it is under way: it need not be in memory, and goes where nothing needs it. */
  #quiet(spooled: Spooled): void {
    const { id, stream, bytes, samples } = spooled;
    if ((samples?.size ?? 0) === 0) {
      this.#remove(spooled);
      return;
    }
    if ([...(samples?.values() ?? [])].includes('uncut')) return;
    const of = this.#rows.of(stream);
    if (of.live.delete(id)) of.liveBytes -= bytes;
    this.#d.onRoom(stream);
    void this.#pull(stream);
  }

  /** Whether it is worth asking the broker for all that waits there: much is free, or only what comes makes room. */
  isRoomy(stream: string): boolean {
    return isRoomy(this.#rows.of(stream), this.#limits) || (this.#isQuiet(stream) && this.hasRoom(stream, 1));
  }

  /** For metrics and /readyz. */
  *streams(): Generator<{ stream: string; rows: number; bytes: number; full: boolean }> {
    for (const [stream, { rows, bytes }] of this.#rows.all()) {
      yield { stream, rows: rows.size, bytes, full: !this.hasRoom(stream, 1) };
    }
  }

  #tries({ frame, pipeline, part }: Unit, attempts: number): Promise<void> | undefined {
    const { spooled } = frame;
    const key = unitKey(pipeline.name, part);
    if (spooled === undefined || (spooled.attempts.get(key) ?? 0) === attempts) return undefined;
    const { id, device, stream } = spooled;
    spooled.attempts.set(key, attempts);
    const { promise, resolve } = Promise.withResolvers<void>();
    // Where the disk fails, nothing that ends can be committed either; the try itself does no harm.
    const change = { device, stream, attempts: { frame: id, pipeline: pipeline.name, part, attempts } };
    this.#d.spool.write(change, () => resolve());
    return promise;
  }

  async #pull(stream: string): Promise<void> {
    const of = this.#rows.of(stream);
    const few = () => of.live.size <= WINDOW.rows / 2 && of.liveBytes <= WINDOW.bytes / 2;
    if (of.loading || this.#plan?.streams.get(stream)?.durable !== true) return;
    const { turn } = of;
    of.loading = true;
    try {
      while (of.turn === turn && of.cursor < of.last && few()) {
        const limits = { rowsMax: WINDOW.rows / 2, bytesMax: WINDOW.bytes / 2 };
        const { last } = of;
        const rows = await this.#d.spool.load({ stream, after: of.cursor, ...limits });
        if (of.turn !== turn) break;
        // What was there has gone meanwhile.
        if (rows.length === 0) of.cursor = last;
        for (const row of rows) this.#loaded(of, stream, row);
      }
    } catch {
      // The spool says why under /readyz.
      this.#later(() => void this.#pull(stream));
    }
    if (of.turn === turn) of.loading = false;
  }

  /** All of it after one pause. */
  #later(again: () => void): void {
    if (this.#stopped) return;
    this.#again.push(again);
    this.#timer ??= this.#d.clock.setTimeout(() => {
      this.#timer = undefined;
      for (const one of this.#again.splice(0)) one();
    }, AGAIN_MS);
  }

  #loaded(of: StreamRows, stream: string, row: LoadedRow): void {
    of.cursor = row.id;
    const spooled = of.rows.get(row.id);
    const source = this.#d.sources.find(row.device, stream);
    if (spooled === undefined) return;
    // Nobody asks for it now; it stays on the disk until a configuration does, or it is too old.
    if (typeof source === 'string') {
      of.unasked.add(row.id);
      return;
    }
    const { clock } = this.#d;
    const ageMs = Math.max(0, clock.now() - row.receivedMs);
    const frame: Frame = {
      id: { device: row.device, stream, boot: row.boot, seq: row.seq },
      plan: source.plan,
      payload: row.payload,
      type: row.type,
      at: row.at,
      receivedMs: row.receivedMs,
      receivedAt: clock.monotonic() - ageMs,
      traceparent: row.traceparent,
      formed: true,
      waiting: 0,
      onSettled: undefined,
      sha256: undefined,
      spooled,
    };
    this.#offer(of, source, frame, spooled);
  }

  #offer(of: StreamRows, source: Source, frame: Frame, spooled: Spooled): void {
    of.live.add(spooled.id);
    of.liveBytes += spooled.bytes;
    dropOthers(source.plan, spooled, this.#others);
    if (spooled.samples !== undefined) this.#cuts.offer(source, frame, spooled);
    else {
      const wanted = source.lanes.filter(({ pipeline: { name } }) => spooled.left.has(name) && !spooled.out.has(name));
      for (const lane of wanted) this.#cuts.resume(lane, frame);
      this.#d.admission.enqueue(frame, wanted);
    }
    this.#d.onOffered(frame);
  }

  #remove(spooled: Spooled): void {
    if (!this.#rows.remove(spooled)) return;
    if (!this.#rows.hasBoot(spooled)) this.#cuts.emptied(spooled);
    this.#d.onRoom(spooled.stream);
    void this.#pull(spooled.stream);
  }
}
