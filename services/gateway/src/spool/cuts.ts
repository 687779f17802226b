import { BrinkError } from '@brink/protocol';
import type { Admission } from '../ingest/admission.ts';
import { type Frame, type Spooled, unitKey, unitOf } from '../ingest/frame.ts';
import type { Lane, Piece } from '../ingest/lanes.ts';
import type { StreamPlan } from '../ingest/plan.ts';
import type { Source, Sources } from '../ingest/sources.ts';
import type { Models, ServingModel } from '../models/models.ts';
import { type Counts, countSpooled, type OnUnfinished, type UnfinishedReason } from '../outcomes/counts.ts';
import type { Chain } from '../window/chain.ts';
import { readSamples, type Samples } from '../window/samples.ts';
import { chainOf } from '../window/state.ts';
import type { Windows } from '../window/windows.ts';
import type { ChainRow, Change, SpoolContents } from './messages.ts';
import type { Settled } from './others.ts';

export interface CutsDeps {
  counts: Counts;
  admission: Pick<Admission, 'enqueueFormed'>;
  windows: Pick<Windows, 'cut'>;
  models: Pick<Models, 'known'>;
  /** Commits a change, however often the disk fails. @param done is called once, when it is there */
  write(change: Change, done: () => void): void;
  /** The end of a unit without an outcome. */
  settle(spooled: Spooled, of: Settled, fate: 'dropped'): void;
  onDropped(reason: 'every_ms' | 'configuration', of: { device: string; stream: string }): void;
  onUnfinished: OnUnfinished;
  /** Whether a boot has rows. */
  hasRows(of: BootId): boolean;
  sources: Pick<Sources, 'find'>;
  /** For tests: called by name where a crash would hurt most. */
  failpoint(name: string): void;
  /** Whether every row of a stream was looked at. */
  isLoaded(stream: string): boolean;
  /** Nothing of the row is under way; it may still be needed. */
  onQuiet(spooled: Spooled): void;
  /** Something that was not there before can be taken. */
  onOffered(frame: Frame): void;
}

export interface BootId {
  readonly device: string;
  readonly stream: string;
  readonly boot: string;
}

/** A frame that waits for its pipeline's model to be known. */
interface Waiting {
  readonly source: Source;
  readonly frame: Frame;
  readonly spooled: Spooled;
}

/**
 * Durable streams of sound and signals. Rows are cut in the order in which they came, each once: which units it has is committed
 * before any of them is settled. What is cut again after a restart gives the same units, and those that are left are decided.
 */
export class Cuts {
  readonly #d: CutsDeps;
  /** What the disk holds of the chains of each boot, by pipeline. */
  readonly #kept = new Map<string, Map<string, { mark?: Uint8Array; states?: Uint8Array }>>();
  readonly #uncut = new Map<Lane, Waiting[]>();
  /** Lanes that had rows. */
  readonly #lanes = new Map<Lane, StreamPlan>();
  /** Of rows that this process cut, by pipeline: for which inputs, and into how many units. */
  readonly #made = new WeakMap<Spooled, Map<string, { inputsKey: string; units: number }>>();
  /** Boots with rows of which nothing can come any more: a process before this one numbered them, or they are too old to be known. */
  readonly #over = new Set<string>();

  constructor(d: CutsDeps) {
    this.#d = d;
  }

  restore({ chains, rows, boots }: SpoolContents): void {
    const known = new Set(boots.map((of) => bootKey(of)));
    const withRows = new Set(rows.map((of) => bootKey(of)));
    for (const of of rows) if (!known.has(bootKey(of))) this.#over.add(bootKey(of));
    for (const { device, stream, ...chain } of chains) this.keep({ device, stream }, chain);
    for (const of of chains) if (!known.has(bootKey(of)) && !withRows.has(bootKey(of))) this.#end(of);
  }

  /** Rows that nobody completes: their boot is over, or nothing came for as long as a frame is kept. */
  sweep(nowMs: number): void {
    for (const [lane, waiting] of this.#uncut) this.#sweepUncut(lane, waiting, nowMs);
    for (const [lane, { name, frameAgeMsMax }] of this.#lanes) {
      if (!this.#d.isLoaded(name) || this.#uncut.has(lane)) continue;
      for (const chain of lane.chains.values()) {
        const why = this.#isForgotten(chain, nowMs - frameAgeMsMax);
        if (why !== undefined) this.#giveUp(lane, chain, why);
      }
    }
  }

  #isForgotten({ trail }: Chain, beforeMs: number): UnfinishedReason | undefined {
    const { first, idleSinceMs, isReleasing } = trail;
    if (first === undefined || idleSinceMs === undefined || isReleasing) return undefined;
    if (this.#over.has(bootKey(first))) return 'boot_over';
    return idleSinceMs <= beforeMs ? 'too_old' : undefined;
  }

  /** Of a model that nobody knows: what is as old as a frame may be goes, uncut. */
  #sweepUncut(lane: Lane, waiting: Waiting[], nowMs: number): void {
    const { name: pipeline } = lane.pipeline;
    const isOld = ({ frame }: Waiting) => frame.receivedMs <= nowMs - frame.plan.frameAgeMsMax;
    for (let first = waiting[0]; first !== undefined && isOld(first); first = waiting[0]) {
      const { source, frame, spooled } = first;
      const { id, device, stream } = spooled;
      waiting.shift();
      this.#d.onUnfinished('too_old', spooled, 1);
      const gone = { cut: { frame: id, pipeline, parts: [] }, released: { frames: [id], pipeline } };
      this.#d.write({ device, stream, ...gone }, () => {
        spooled.samples?.delete(pipeline);
        this.#quiet(source, frame, spooled);
      });
    }
    if (waiting.length === 0) this.#uncut.delete(lane);
  }

  /** The samples of a boot make room for others. @returns whether there are any */
  makeWay({ device, stream, boot }: BootId): boolean {
    const source = this.#d.sources.find(device, stream);
    let some = false;
    for (const lane of typeof source === 'string' ? [] : source.lanes) {
      const chain = lane.chains.get(boot);
      if (chain === undefined || chain.trail.length === 0) continue;
      this.#giveUp(lane, chain, 'no_room');
      some = true;
    }
    return some;
  }

  /** A boot that nobody remembers: what is kept of it goes, with its last row. */
  over(of: BootId): void {
    if (this.#d.hasRows(of)) this.#over.add(bootKey(of));
    else this.#end(of);
  }

  /** The last row of a boot went. */
  emptied(of: BootId): void {
    if (this.#over.delete(bootKey(of))) this.#end(of);
  }

  #end({ device, stream, boot }: BootId): void {
    const source = this.#d.sources.find(device, stream);
    for (const lane of typeof source === 'string' ? [] : source.lanes) lane.chains.delete(boot);
    if (this.#kept.delete(bootKey({ device, stream, boot })))
      this.#d.write({ device, stream, ended: { boot } }, () => {});
  }

  #giveUp(lane: Lane, chain: Chain, reason: UnfinishedReason): void {
    const { first, length } = chain.trail;
    if (first !== undefined) this.#d.onUnfinished(reason, first, length);
    chain.end();
    this.#release(lane, chain);
  }

  /** Of rows that begin again from the front: those that wait come again. */
  forget(stream: string): void {
    for (const [lane, plan] of this.#lanes) if (plan.name === stream) this.#lanes.delete(lane);
    for (const [lane, [first]] of this.#uncut) if (first?.spooled.stream === stream) this.#uncut.delete(lane);
  }

  /** Puts a lane of a durable stream where it was: before anything of this boot is taken from it. */
  resume(lane: Lane, { id, plan }: Frame): Chain {
    const known = lane.chains.get(id.boot);
    if (known?.isToBeRestored === false) return known;
    const chain = chainOf(lane, id.boot, plan);
    const kept = this.#kept.get(bootKey(id))?.get(lane.pipeline.name);
    chain.restore(kept ?? {});
    return chain;
  }

  /** A row is in memory: it is cut now, or when it is known what the model takes. */
  offer(source: Source, frame: Frame, spooled: Spooled): void {
    for (const lane of source.lanes) {
      if (spooled.samples?.has(lane.pipeline.name) !== true) continue;
      const model = this.#d.models.known(lane.pipeline.model);
      const waiting = this.#uncut.get(lane);
      if (model !== undefined && waiting === undefined) this.#cut(lane, { source, frame, spooled }, model);
      else if (waiting === undefined) this.#uncut.set(lane, [{ source, frame, spooled }]);
      else waiting.push({ source, frame, spooled });
    }
    this.#quiet(source, frame, spooled);
  }

  /** @returns streams with rows that were cut for other inputs than the model takes now */
  modelChanged(name: string): Set<string> {
    const model = this.#d.models.known(name);
    if (model === undefined) return new Set();
    for (const [lane, waiting] of [...this.#uncut]) {
      if (lane.pipeline.model !== name) continue;
      this.#uncut.delete(lane);
      for (const one of waiting) {
        this.#cut(lane, one, model);
        this.#quiet(one.source, one.frame, one.spooled);
        this.#d.onOffered(one.frame);
      }
    }
    const isOtherwise = ({ trail, inputsKey }: Chain) => {
      return trail.length > 0 && inputsKey !== '' && inputsKey !== model.inputsKey;
    };
    const lanes = [...this.#lanes].filter(([{ pipeline }]) => pipeline.model === name);
    return new Set(lanes.flatMap(([{ chains }, plan]) => ([...chains.values()].some(isOtherwise) ? [plan.name] : [])));
  }

  /** A unit's end is committed. */
  settled(lane: Lane, spooled: Spooled, part: number): void {
    const chain = lane.chains.get(spooled.boot);
    if (chain === undefined) return;
    chain.trail.settled(spooled.id, part);
    this.#release(lane, chain);
  }

  /** What a settled unit left is on the disk. */
  keep({ device, stream }: Omit<BootId, 'boot'>, { boot, pipeline, ...kept }: ChainRow): void {
    const key = bootKey({ device, stream, boot });
    const chains = this.#kept.get(key) ?? new Map<string, { mark?: Uint8Array; states?: Uint8Array }>();
    this.#kept.set(key, chains);
    chains.set(pipeline, { ...chains.get(pipeline), ...kept });
  }

  #quiet(source: Source, frame: Frame, spooled: Spooled): void {
    const waits = source.lanes.some((lane) => this.#uncut.get(lane)?.some((one) => one.spooled === spooled) === true);
    if (waits) return;
    frame.samples = undefined;
    frame.units ??= [];
    frame.onSettled?.(undefined, 0, 'committed');
    if (spooled.left.size === 0) this.#d.onQuiet(spooled);
  }

  #cut(lane: Lane, { frame, spooled }: Waiting, model: ServingModel): void {
    const { name } = lane.pipeline;
    const isNew = spooled.samples?.get(name) === 'uncut' || this.#isToBeCutAgain(spooled, name, model);
    const chain = this.resume(lane, frame);
    const formed = this.#formed(lane, frame, model);
    const { pieces, gone, out } = isNew
      ? { pieces: this.#counted(lane, formed, frame), gone: [], out: [] }
      : leftOf(name, formed, spooled);
    const { epoch, at } = chain.standing;
    const parts = [...pieces.map(({ part }) => part), ...out].sort((a, b) => a - b);
    const units = parts.map((part) => {
      return { row: spooled.id, part, epoch, from: formed[part]?.formed?.window?.from ?? -1 };
    });
    const { receivedMs } = frame;
    chain.trail.add(spooled, { epoch, at, mark: chain.mark(), isCommitted: !isNew, receivedMs }, units);
    this.#lanes.set(lane, frame.plan);
    if (isNew) this.#commit(lane, chain, spooled, { formed: formed.length, pieces, inputsKey: model.inputsKey });
    for (const part of gone) this.#drop(name, spooled, part);
    frame.units = [...(frame.units ?? []), ...parts.map((part) => ({ pipeline: lane.pipeline, part }))];
    this.#d.admission.enqueueFormed(pieces);
    if (!isNew) this.#release(lane, chain);
  }

  /** The model takes another input now, and nothing of the row has ended or is under way. */
  #isToBeCutAgain(spooled: Spooled, pipeline: string, { inputsKey }: ServingModel): boolean {
    const made = this.#made.get(spooled)?.get(pipeline);
    const parts = partsOf(spooled.left, pipeline);
    if (made === undefined || made.inputsKey === inputsKey || made.units !== parts.length) return false;
    return parts.every((part) => !spooled.out.has(unitKey(pipeline, part)));
  }

  /** A unit that is not there any more with what the model takes now. */
  #drop(pipeline: string, spooled: Spooled, part: number): void {
    spooled.out.add(unitKey(pipeline, part));
    this.#d.onDropped('configuration', spooled);
    this.#d.settle(spooled, { pipeline, part, kept: undefined }, 'dropped');
  }

  #formed(lane: Lane, frame: Frame, model: ServingModel): Piece[] {
    return this.#d.windows.cut(lane, frame, samplesOf(frame), model);
  }

  /** `every_ms` says no to all but one. */
  #counted(lane: Lane, pieces: readonly Piece[], frame: Frame): readonly Piece[] {
    const { everyMs } = lane.pipeline;
    const last = pieces.at(-1);
    if (everyMs === undefined || last === undefined) return pieces;
    const isDue = frame.receivedAt >= lane.nextAt;
    if (isDue) lane.nextAt = frame.receivedAt + everyMs;
    return isDue ? [last] : [];
  }

  /** Which units it has is committed; until then none of them is settled. */
  #commit(
    lane: Lane,
    chain: Chain,
    spooled: Spooled,
    { formed, pieces, inputsKey }: { formed: number; pieces: readonly Piece[]; inputsKey: string },
  ): void {
    const { id, device, stream } = spooled;
    const { name } = lane.pipeline;
    const parts = pieces.map(({ part }) => part);
    const again = spooled.samples?.get(name) === 'needed';
    const before = partsOf(spooled.left, name);
    for (const part of before) {
      spooled.left.delete(unitKey(name, part));
      spooled.attempts.delete(unitKey(name, part));
      this.#d.onDropped('configuration', spooled);
    }
    const made = this.#made.get(spooled) ?? new Map<string, { inputsKey: string; units: number }>();
    this.#made.set(spooled, made.set(name, { inputsKey, units: parts.length }));
    const dropped = formed - parts.length;
    const counts = [
      ...Array.from({ length: formed }, () => `${name}/formed`),
      ...Array.from({ length: dropped + before.length }, () => `${name}/dropped`),
    ];
    for (const part of parts) spooled.left.add(unitKey(name, part));
    for (let i = 0; i < dropped; i++) this.#d.onDropped('every_ms', spooled);
    spooled.samples?.set(name, 'needed');
    const waiting: (() => void)[] = [];
    spooled.cutting.set(name, waiting);
    this.#d.failpoint('cut.before_commit');
    this.#d.write({ device, stream, counts, cut: { frame: id, pipeline: name, parts, again } }, () => {
      this.#d.failpoint('cut.after_commit');
      countSpooled(this.#d.counts, spooled, counts, 0);
      spooled.cutting.delete(name);
      chain.trail.committed(id);
      for (const settle of waiting) settle();
      this.#release(lane, chain);
    });
  }

  /** Rows that nothing needs any more go, and where the chain stands behind them is kept. One such change at a time. */
  #release(lane: Lane, chain: Chain): void {
    const { trail } = chain;
    // Its rows are its heir's, which may stand further on.
    const rows = lane.isOver || trail.isReleasing ? [] : trail.releasable(chain.standing);
    const last = rows.at(-1);
    if (last === undefined) return;
    trail.isReleasing = true;
    const { name: pipeline } = lane.pipeline;
    const { device, stream, boot } = last.spooled;
    const row = { boot, pipeline, mark: last.mark };
    const gone = rows.map(({ spooled }) => spooled);
    const released = { frames: gone.map(({ id }) => id), pipeline };
    this.#d.write({ device, stream, released, chain: row }, () => {
      this.#d.failpoint('release.after_commit');
      this.keep(last.spooled, row);
      trail.released(gone.length);
      trail.isReleasing = false;
      for (const spooled of gone) {
        spooled.samples?.delete(pipeline);
        if (spooled.left.size === 0) this.#d.onQuiet(spooled);
      }
      this.#release(lane, chain);
    });
  }
}

const bootKey = ({ device, stream, boot }: BootId) => `${device}/${stream}/${boot}`;

/** Read when it came; again where it comes from the disk. It could be read then, so it can now. */
function samplesOf(frame: Frame): Samples {
  const { samples: plan } = frame.plan;
  if (plan === undefined) throw new BrinkError('E_INTERNAL', `stream "${frame.plan.name}" has no samples`);
  frame.samples ??= readSamples(plan, frame.payload, frame.type);
  return frame.samples;
}

/**
 * Of a row that was cut before, the units that are left: those to be decided, those whose window is gone, as another version cuts, and
 * those that are under way.
 */
function leftOf(name: string, formed: readonly Piece[], { left, out }: Spooled) {
  const found: { pieces: Piece[]; gone: number[]; out: number[] } = { pieces: [], gone: [], out: [] };
  for (const part of partsOf(left, name)) {
    const piece = formed[part];
    if (out.has(unitKey(name, part))) found.out.push(part);
    else if (piece === undefined) found.gone.push(part);
    else found.pieces.push(piece);
  }
  return found;
}

/** Of one pipeline, in their order. */
function partsOf(left: ReadonlySet<string>, name: string): number[] {
  const units = [...left].map(unitOf).filter(({ pipeline }) => pipeline === name);
  return units.map(({ part }) => part).sort((a, b) => a - b);
}
