import type { SniffedType } from '@brink/decode';
import type { Clock, Timer } from '@brink/runtime';
import type { Unit } from '../decide/unit.ts';
import type { Admission } from '../ingest/admission.ts';
import type { Frame, Spooled } from '../ingest/frame.ts';
import type { SitePlan } from '../ingest/plan.ts';
import type { Source, Sources } from '../ingest/sources.ts';
import { type Counts, countSpooled } from '../outcomes/counts.ts';
import type { LoadedRow, SpoolContents } from './messages.ts';
import type { Spool } from './spool.ts';

/** Frames of one stream that are in memory; the others wait on the disk. */
const WINDOW = { rows: 512, bytes: 16 * 1024 * 1024 };
const AGAIN_MS = 1000;
const ROOMY = 0.75;

interface StreamRows {
  /** Every row, in the order of arrival. */
  readonly rows: Map<number, Spooled>;
  bytes: number;
  /** On their way to the disk. */
  entering: number;
  enteringBytes: number;
  /** Rows whose frames are in memory. */
  live: Set<number>;
  liveBytes: number;
  /** The last row that was looked at; those beyond are on the disk only. */
  cursor: number;
  last: number;
  /** Changes with each beginning from the front: what was loaded before is of no use then. */
  turn: number;
  loading: boolean;
}

export interface BacklogDeps {
  spool: Spool;
  clock: Clock;
  counts: Counts;
  admission: Admission;
  sources: Sources;
  onOffered(frame: Frame): void;
  onDropped(reason: 'configuration'): void;
  /** A stream that was full has room again. */
  onRoom(stream: string): void;
}

/** The rows of the spool: which are in memory, which units of them are left, and how often each was tried. */
export class Backlog {
  readonly #limits: { rowsMax: number; bytesMax: number };
  readonly #d: BacklogDeps;
  readonly #streams = new Map<string, StreamRows>();
  readonly #keys = new Set<string>();
  #plan: SitePlan | undefined;
  /** What the disk refused, to be done again. */
  #again: (() => void)[] = [];
  #timer: Timer | undefined;
  #stopped = false;

  constructor(limits: { rowsMax: number; bytesMax: number }, d: BacklogDeps) {
    this.#limits = limits;
    this.#d = d;
  }

  /** What the last process left. Nothing of it is decided before `apply`. */
  restore(contents: SpoolContents): void {
    for (const { units, ...row } of contents.rows) {
      const { id } = row;
      const left = new Set(units.map(([pipeline]) => pipeline));
      this.#add({ ...row, id, left, out: new Set(), attempts: new Map(units) });
    }
    for (const { device, stream, name, value } of contents.counters) {
      countSpooled(this.#d.counts, { device, stream }, [name], 0, value);
    }
  }

  /** A configuration: streams that it changed begin again from the front, without what is being decided. */
  apply(plan: SitePlan): void {
    const before = this.#plan;
    this.#plan = plan;
    for (const [name, of] of this.#streams) {
      const [is, was] = [plan.streams.get(name), before?.streams.get(name)];
      if (before !== undefined && JSON.stringify(is) === JSON.stringify(was)) continue;
      of.turn += 1;
      of.cursor = 0;
      of.live = new Set();
      of.liveBytes = 0;
      of.loading = false;
      void this.#pull(name);
    }
  }

  stop(): void {
    this.#stopped = true;
    this.#again = [];
    if (this.#timer !== undefined) this.#d.clock.clearTimeout(this.#timer);
    this.#plan = undefined;
  }

  /** Whether a frame is in the spool, or on its way there. */
  has(device: string, stream: string, boot: string, seq: number): boolean {
    return this.#keys.has(`${device}/${stream}/${boot}-${seq}`);
  }

  hasRoom(stream: string, bytes: number): boolean {
    const of = this.#of(stream);
    const { rowsMax, bytesMax } = this.#limits;
    const rows = of.rows.size + of.entering;
    return rows === 0 || (rows < rowsMax && of.bytes + of.enteringBytes + bytes <= bytesMax);
  }

  /** Takes room for a frame that is on its way to the disk. @returns what gives it back, to be called when it is there or failed */
  enter({ device, stream, boot, seq, bytes }: Omit<Spooled, 'id' | 'left' | 'out' | 'attempts'>): () => void {
    const of = this.#of(stream);
    const key = `${device}/${stream}/${boot}-${seq}`;
    this.#keys.add(key);
    of.entering += 1;
    of.enteringBytes += bytes;
    return () => {
      this.#keys.delete(key);
      of.entering -= 1;
      of.enteringBytes -= bytes;
    };
  }

  /** It is on the disk. It is decided from here, or when its turn comes. */
  accept(source: Source, frame: Frame, spooled: Spooled): void {
    const { stream, id, bytes } = spooled;
    const of = this.#of(stream);
    const inTurn = of.cursor === of.last && of.live.size < WINDOW.rows && of.liveBytes + bytes <= WINDOW.bytes;
    this.#add(spooled);
    if (!inTurn || this.#plan === undefined) {
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

  /** The end of one unit; after the last, the row goes. */
  settle(
    spooled: Spooled,
    pipeline: string,
    fate: 'decided' | 'expired' | 'dead' | 'dropped',
    after?: () => void,
  ): void {
    const { id, device, stream } = spooled;
    const counts = [`${pipeline}/${fate}`];
    this.#d.spool.write({ device, stream, counts, settled: { frame: id, pipeline } }, (error) => {
      if (error !== undefined) {
        // The row is still there; at the worst the next process sends the same outcome once more.
        this.#later(() => this.settle(spooled, pipeline, fate, after));
        return;
      }
      countSpooled(this.#d.counts, spooled, counts, 0);
      spooled.left.delete(pipeline);
      if (spooled.left.size === 0) this.#remove(spooled);
      after?.();
    });
  }

  /** Whether a quarter of a stream's place is free: worth asking the broker for all that waits there. */
  isRoomy(stream: string): boolean {
    const { rows, bytes, entering, enteringBytes } = this.#of(stream);
    const { rowsMax, bytesMax } = this.#limits;
    return rows.size + entering <= rowsMax * ROOMY && bytes + enteringBytes <= bytesMax * ROOMY;
  }

  /** For metrics and /readyz. */
  *streams(): Generator<{ stream: string; rows: number; bytes: number; full: boolean }> {
    for (const [stream, { rows, bytes }] of this.#streams) {
      yield { stream, rows: rows.size, bytes, full: !this.hasRoom(stream, 1) };
    }
  }

  #tries({ frame, pipeline }: Unit, attempts: number): Promise<void> | undefined {
    const { spooled } = frame;
    if (spooled === undefined || (spooled.attempts.get(pipeline.name) ?? 0) === attempts) return undefined;
    const { id, device, stream } = spooled;
    spooled.attempts.set(pipeline.name, attempts);
    const { promise, resolve } = Promise.withResolvers<void>();
    // Where the disk fails, nothing that ends can be committed either; the try itself does no harm.
    const change = { device, stream, attempts: { frame: id, pipeline: pipeline.name, attempts } };
    this.#d.spool.write(change, () => resolve());
    return promise;
  }

  async #pull(stream: string): Promise<void> {
    const of = this.#of(stream);
    const few = () => of.live.size <= WINDOW.rows / 2 && of.liveBytes <= WINDOW.bytes / 2;
    if (of.loading || this.#plan?.streams.get(stream)?.durable !== true) return;
    const { turn } = of;
    of.loading = true;
    try {
      while (of.turn === turn && of.cursor < of.last && few()) {
        const limits = { rowsMax: WINDOW.rows / 2, bytesMax: WINDOW.bytes / 2 };
        const rows = await this.#d.spool.load({ stream, after: of.cursor, ...limits });
        if (of.turn !== turn || rows.length === 0) break;
        for (const row of rows) this.#loaded(of, stream, row);
      }
    } catch {
      // The spool says why under /readyz.
      this.#later(() => void this.#pull(stream));
    }
    if (of.turn === turn) of.loading = false;
  }

  /** What failed at the disk is done again, all of it after one pause. */
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
    // Nobody asks for it now; it stays on the disk until a configuration does.
    if (spooled === undefined || typeof source === 'string') return;
    const { clock } = this.#d;
    const ageMs = Math.max(0, clock.now() - row.receivedMs);
    const frame: Frame = {
      id: { device: row.device, stream, boot: row.boot, seq: row.seq },
      plan: source.plan,
      payload: row.payload,
      type: row.type as SniffedType,
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
    const wanted = [...spooled.left].filter((pipeline) => !spooled.out.has(pipeline));
    this.#d.admission.enqueue(
      frame,
      source.lanes.filter((lane) => wanted.includes(lane.pipeline.name)),
    );
    for (const pipeline of wanted) {
      if (source.plan.pipelines.some(({ name }) => name === pipeline)) continue;
      spooled.out.add(pipeline);
      this.#d.onDropped('configuration');
      this.settle(spooled, pipeline, 'dropped');
    }
    this.#d.onOffered(frame);
  }

  #add(spooled: Spooled): void {
    const of = this.#of(spooled.stream);
    of.rows.set(spooled.id, spooled);
    of.bytes += spooled.bytes;
    of.last = spooled.id;
    this.#keys.add(`${spooled.device}/${spooled.stream}/${spooled.boot}-${spooled.seq}`);
  }

  #remove(spooled: Spooled): void {
    const { id, device, stream, boot, seq, bytes } = spooled;
    const of = this.#of(stream);
    of.rows.delete(id);
    of.bytes -= bytes;
    if (of.live.delete(id)) of.liveBytes -= bytes;
    this.#keys.delete(`${device}/${stream}/${boot}-${seq}`);
    this.#d.onRoom(stream);
    void this.#pull(stream);
  }

  #of(stream: string): StreamRows {
    let of = this.#streams.get(stream);
    if (of === undefined) {
      const memory = { live: new Set<number>(), liveBytes: 0, cursor: 0, last: 0, turn: 0, loading: false };
      of = { rows: new Map(), bytes: 0, entering: 0, enteringBytes: 0, ...memory };
      this.#streams.set(stream, of);
    }
    return of;
  }
}
