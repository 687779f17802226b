import { hash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError, isName, type link, RECORDING_FRAMES_MAX, type Recording } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import type { StreamPlan } from '../ingest/plan.ts';
import { filesOf, writeWhole } from './files.ts';
import type { KeptFrame, Ring } from './ring.ts';
import { createShelf, type Shelf } from './shelf.ts';

export interface RecorderConfig {
  readonly dir: string;
  readonly gateway: string;
  /** Of all recordings, and of one. */
  readonly bytesMax: number;
  readonly oneBytesMax: number;
  readonly ageMsMax: number;
}

export interface RecorderDeps {
  clock: Clock;
  logger: Logger;
  ring: Pick<Ring, 'between' | 'holds'>;
  plan(stream: string): StreamPlan | undefined;
  onEnd(state: Recording['state']): void;
  onRemoved(why: 'age' | 'bytes'): void;
}

interface Active {
  recording: Recording;
  readonly fromMs: number;
  readonly untilMs: number;
  /** Frames in their order; those that are written stay for the sound that they are part of. */
  readonly frames: KeptFrame[];
  bytes: number;
  /** It has as much as one may have. */
  full: boolean;
  timer: Timer | undefined;
  /** Everything that is written, one after the other. */
  writing: Promise<void>;
}

const ACTIVE_MAX = 32;
/** A picture that has to be masked comes into the ring that much later than it was received, at most. */
const GRACE_MS = 500;
const TIDY_MS = 3_600_000;
const SPAN_MS_MAX = 600_000;

/**
 * Recordings: what the ring has of the last seconds of a stream, and what comes in the next ones, as files that are named by their
 * content, with a manifest. A manifest never names a file that is not whole.
 */
export class Recorder {
  readonly shelf: Shelf;
  readonly #config: RecorderConfig;
  readonly #d: RecorderDeps;
  readonly #active = new Map<string, Active>();
  /** Of those that have ended: what is still being written. */
  readonly #ending = new Set<Promise<void>>();
  #tidying: Timer | undefined;

  constructor(config: RecorderConfig, d: RecorderDeps) {
    this.#config = config;
    this.#d = d;
    this.shelf = createShelf(config, d);
  }

  get active(): number {
    return this.#active.size;
  }

  /** What the last process left is looked through. */
  async start(): Promise<void> {
    await this.shelf.open();
    await this.#tidy();
  }

  /** Those that are not finished are cut. */
  async stop(): Promise<void> {
    for (const one of [...this.#active.values()]) void this.#end(one, 'cut');
    await Promise.all(this.#ending);
    if (this.#tidying !== undefined) this.#d.clock.clearTimeout(this.#tidying);
  }

  /**
   * Begins a recording. Resolves when what the ring has is on disk; the same again changes nothing.
   * @throws BrinkError E_NOT_FOUND where nothing of this stream is kept here, E_BUSY, E_BAD_REQUEST, E_STORAGE_FULL
   */
  async record(request: link.Record): Promise<Pick<link.Recorded, 'recording' | 'frames'>> {
    const asked = askedOf(request);
    const id = recordingIdOf(asked.id);
    const onDisk = this.#active.has(id) ? undefined : await this.shelf.read(id);
    const known = this.#active.get(id)?.recording ?? onDisk;
    if (known !== undefined) return { recording: id, frames: known.frames.length };
    const { plan: planOf, ring, clock } = this.#d;
    const plan = planOf(asked.stream);
    if (plan === undefined || plan.keepMs === 0 || !ring.holds(asked.device, asked.stream)) {
      const where = `${asked.device}/${asked.stream}`;
      throw new BrinkError('E_NOT_FOUND', `nothing of ${where} is kept here (keep_s of the stream)`);
    }
    if (this.#active.size >= ACTIVE_MAX) throw new BrinkError('E_BUSY', `${ACTIVE_MAX} recordings are being made`);
    const one = this.#begin(asked, plan);
    const written = this.#write(one, 'recording');
    one.writing = written.catch(() => {});
    try {
      await written;
    } catch (reason) {
      this.#active.delete(id);
      if (one.timer !== undefined) clock.clearTimeout(one.timer);
      throw BrinkError.from(reason, 'E_STORAGE_FULL');
    }
    if (one.full) void this.#end(one, 'cut');
    return { recording: id, frames: one.recording.frames.length };
  }

  /** A frame came into the ring. */
  kept(frame: KeptFrame): void {
    for (const one of this.#active.values()) {
      const { device, stream } = one.recording;
      if (device === frame.device && stream === frame.stream) this.#take(one, frame);
    }
  }

  /** These streams are masked otherwise from now on: what says that it is masked ends here. */
  forget(streams: readonly string[]): void {
    for (const one of [...this.#active.values()]) {
      if (streams.includes(one.recording.stream)) void this.#end(one, 'cut');
    }
  }

  /** All that was recorded of a device, and is being recorded. @returns how many recordings that were */
  async forgetDevice(device: string): Promise<number> {
    const active = [...this.#active.values()].filter(({ recording }) => recording.device === device);
    for (const one of active) void this.#end(one, 'cut');
    await Promise.all(this.#ending);
    return this.shelf.forget(device);
  }

  #begin({ id, device, stream, decision, atMs, beforeMs, afterMs }: Asked, plan: StreamPlan): Active {
    const { clock, ring } = this.#d;
    const [fromMs, untilMs] = [atMs - beforeMs, atMs + afterMs];
    const time = (ms: number) => new Date(ms).toISOString();
    const recording: Recording = {
      ...{ v: 1, id: recordingIdOf(id), action: id, decision, device, stream, gateway: this.#config.gateway },
      ...{ at: time(atMs), from: time(fromMs), until: time(untilMs), state: 'recording' },
      ...{ masked: plan.mask !== undefined, bytes: 0, frames: [] },
    };
    const writing = Promise.resolve();
    const one: Active = { recording, fromMs, untilMs, frames: [], bytes: 0, full: false, timer: undefined, writing };
    this.#active.set(recording.id, one);
    for (const frame of ring.between(device, stream, fromMs, untilMs)) this.#take(one, frame);
    const restMs = Math.max(0, untilMs - clock.now()) + (afterMs > 0 ? GRACE_MS : 0);
    one.timer = clock.setTimeout(() => void this.#end(one, 'complete'), restMs);
    return one;
  }

  #take(one: Active, frame: KeptFrame): void {
    if (frame.receivedMs < one.fromMs || frame.receivedMs > one.untilMs) return;
    if (one.frames.some(({ boot, seq }) => boot === frame.boot && seq === frame.seq)) return;
    one.bytes += frame.bytes.byteLength;
    one.full ||= one.bytes > this.#config.oneBytesMax || one.frames.length >= RECORDING_FRAMES_MAX;
    if (!one.full) one.frames.push(frame);
    else if (one.timer !== undefined) void this.#end(one, 'cut');
  }

  #end(one: Active, state: 'complete' | 'cut'): Promise<void> {
    const { id } = one.recording;
    const { clock, logger, onEnd } = this.#d;
    if (this.#active.get(id) !== one) return one.writing;
    this.#active.delete(id);
    if (one.timer !== undefined) clock.clearTimeout(one.timer);
    one.writing = one.writing
      .then(() => this.#write(one, state))
      .then(() => this.#tidy())
      .catch((reason: unknown) => logger.error({ err: reason, recording: id }, 'a recording could not be written'))
      .finally(() => onEnd(state));
    const { writing } = one;
    this.#ending.add(writing);
    void writing.finally(() => this.#ending.delete(writing));
    return writing;
  }

  /** Files first, then the manifest that names them, then those away that it does not name any longer. */
  async #write(one: Active, state: Recording['state']): Promise<void> {
    const files = filesOf(one.frames);
    const folder = join(this.#config.dir, one.recording.id);
    const before = new Set(one.recording.frames.map(({ file }) => file));
    for (const { frame, bytes } of files) if (!before.has(frame.file)) await writeWhole(folder, frame.file, bytes);
    const frames = files.map(({ frame }) => frame);
    const bytes = frames.reduce((sum, frame) => sum + frame.bytes, 0);
    one.recording = { ...one.recording, state, frames, bytes };
    await this.shelf.write(one.recording);
    for (const { file } of frames) before.delete(file);
    for (const file of before) await rm(join(folder, file), { force: true });
  }

  async #tidy(): Promise<void> {
    const { clock } = this.#d;
    if (this.#tidying !== undefined) clock.clearTimeout(this.#tidying);
    this.#tidying = clock.setTimeout(() => void this.#tidy(), TIDY_MS);
    await this.shelf.tidy(new Set(this.#active.keys()));
  }
}

/** Short enough for a path, and the same for the same action. */
const recordingIdOf = (action: string) => hash('sha256', action, 'hex').slice(0, 24);

interface Asked {
  readonly id: string;
  readonly device: string;
  readonly stream: string;
  readonly decision: string;
  readonly atMs: number;
  readonly beforeMs: number;
  readonly afterMs: number;
}

/** @throws BrinkError E_BAD_REQUEST */
function askedOf({ id, device, stream, decision, atMs, beforeMs, afterMs }: link.Record): Asked {
  const isRight = id !== '' && id.length <= 1000 && isName(device) && isName(stream) && atMs > 0n;
  if (isRight && beforeMs <= SPAN_MS_MAX && afterMs <= SPAN_MS_MAX) {
    return { id, device, stream, decision, atMs: Number(atMs), beforeMs, afterMs };
  }
  throw new BrinkError(
    'E_BAD_REQUEST',
    `device "${device.slice(0, 100)}", stream "${stream.slice(0, 100)}", ${beforeMs} ms before, ${afterMs} ms after; expected names, and at most ${SPAN_MS_MAX} ms`,
  );
}
