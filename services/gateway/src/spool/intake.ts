import { BrinkError, type ErrorCode, RetiredSchema } from '@brink/protocol';
import type { Clock, Timer } from '@brink/runtime';
import type { Arrival } from '../ingest/arrival.ts';
import { outsideOf, typeOf } from '../ingest/checks.ts';
import type { Frame, Spooled } from '../ingest/frame.ts';
import type { SitePlan, StreamPlan } from '../ingest/plan.ts';
import type { Refusals } from '../ingest/refusals.ts';
import type { Source } from '../ingest/sources.ts';
import { type Counts, countSpooled } from '../outcomes/counts.ts';
import { type Samples, samplesOf } from '../window/samples.ts';
import type { Backlog } from './backlog.ts';
import { type Boot, createBoots, withNumbers } from './boots.ts';
import type { Change, SpoolContents } from './messages.ts';
import { isLeap, isTaken, withNumber, withoutBelow } from './numbers.ts';
import type { SendReceipt } from './receipts.ts';
import type { Spool } from './spool.ts';

/** What becomes of an arrival. Exactly one of these is called, once. */
export interface Answer {
  /** It is committed. */
  accepted(frame: Frame): void;
  /** It was taken before, or is refused by name; that too is committed. */
  refused(error: BrinkError): void;
  /** Nothing of it is kept: it must come again. */
  failed(error: BrinkError): void;
  /** May wait for room. */
  readonly mayWait: boolean;
}

export interface IntakeDeps {
  clock: Clock;
  spool: Spool;
  counts: Counts;
  backlog: Backlog;
  refusals: Refusals;
  receipt: SendReceipt;
  onRejected(code: ErrorCode): void;
  onDropped(reason: 'every_ms', of: { device: string; stream: string }): void;
  /** The broker keeps what comes for a stream, until it is asked for all of it. */
  gate: Gate;
  /** For tests: called by name where a crash would hurt most. */
  failpoint(name: string): void;
}

export interface Gate {
  /** Un-acked frames of this stream go back to the broker, which keeps them and those that come. */
  close(stream: string): void;
  open(stream: string): void;
}

/** Frames of one stream that wait un-acked for room, in their order. */
interface Queue {
  held: Held[];
  bytes: number;
  /** Its gate is closed: what still comes is given back. */
  closed: boolean;
}

interface Held {
  readonly source: Source;
  readonly arrival: Arrival;
  readonly answer: Answer;
}

/** Of one stream. More frames than a connection with MQTT 5 has un-acked; MQTT 3.1.1 knows no such limit. */
const HELD = { frames: 1024, bytes: 8 * 1024 * 1024 };
const BUSY_MS = 1000;
const AGAIN_MS = 1000;

/** Frames of durable streams: into the spool, and only then acknowledged. */
export class Intake {
  readonly #boot: string;
  readonly #d: IntakeDeps;
  readonly #boots = createBoots();
  readonly #seqs = new Map<string, number>();
  readonly #queues = new Map<string, Queue>();
  /** Why the disk takes nothing now. */
  #failing: BrinkError | undefined;
  #probing: Timer | undefined;
  #stopped = false;
  #lastId = 0;

  /** @param config.boot for frames without a number of their own */
  constructor(config: { boot: string }, d: IntakeDeps) {
    this.#boot = config.boot;
    this.#d = d;
  }

  get held(): number {
    let sum = 0;
    for (const { held } of this.#queues.values()) sum += held.length;
    return sum;
  }

  /** Whether frames of a stream wait for room, here or at the broker. */
  waits(stream: string): boolean {
    const { held = [], closed = false } = this.#queues.get(stream) ?? {};
    return closed || held.length > 0;
  }

  restore({ boots, lastId }: SpoolContents): void {
    this.#boots.restore(boots);
    this.#lastId = lastId;
  }

  stop(): void {
    this.#stopped = true;
    if (this.#probing !== undefined) this.#d.clock.clearTimeout(this.#probing);
  }

  admit(source: Source, arrival: Arrival, answer: Answer): void {
    const { name } = source.plan;
    const { device, id, payload } = arrival;
    const queue = this.#queueOf(name);
    if (this.#failing !== undefined) this.#close(name, queue, this.#failing);
    if (queue.closed) {
      answer.failed(this.#failing ?? fullOf(name));
      return;
    }
    if (queue.held.length === 0 && this.#d.backlog.hasRoom(name, payload.byteLength)) {
      this.#enter(source, arrival, answer);
      return;
    }
    this.#d.backlog.makeRoom(name, device);
    if (id !== undefined) this.#d.receipt(device, name, this.#boots.find(device, name, id.boot), BUSY_MS);
    if (!answer.mayWait) answer.failed(fullOf(name));
    else if (queue.held.length >= HELD.frames || queue.bytes + payload.byteLength > HELD.bytes) {
      this.#close(name, queue, fullOf(name));
      answer.failed(fullOf(name));
    } else {
      // A copy: the payload is a view that would keep its whole network chunk.
      queue.held.push({ source, arrival: { ...arrival, payload: new Uint8Array(payload) }, answer });
      queue.bytes += payload.byteLength;
    }
  }

  /** A new configuration: of streams that are durable no more nothing waits. */
  apply(plan: SitePlan): void {
    for (const [stream, { held }] of this.#queues) {
      if (plan.streams.get(stream)?.durable === true) continue;
      for (const { answer } of held) answer.failed(new BrinkError('E_STREAM_UNKNOWN', `no durable stream "${stream}"`));
      this.#queues.delete(stream);
    }
  }

  /** There may be room for what waits. */
  roomed(stream: string): void {
    const queue = this.#queueOf(stream);
    let taken = 0;
    for (const { source, arrival, answer } of queue.held) {
      const bytes = arrival.payload.byteLength;
      if (this.#failing !== undefined) break;
      if (!this.#d.backlog.hasRoom(stream, bytes)) {
        this.#d.backlog.makeRoom(stream, source.device);
        break;
      }
      queue.bytes -= bytes;
      taken += 1;
      this.#enter(source, arrival, answer);
    }
    queue.held.splice(0, taken);
    // Not for every row that goes: all that waits at the broker comes each time.
    if (!queue.closed || this.#failing !== undefined) return;
    if (!this.#d.backlog.isRoomy(stream)) {
      this.#d.backlog.makeRoom(stream);
      return;
    }
    queue.closed = false;
    this.#d.gate.open(stream);
  }

  /** The device gives older frames up. Never throws. */
  retire(device: string, stream: string, payload: Uint8Array, answer: Pick<Answer, 'failed'> & { done(): void }): void {
    let text: unknown;
    try {
      text = JSON.parse(new TextDecoder().decode(payload));
    } catch {
      text = undefined;
    }
    const { data } = RetiredSchema.safeParse(text);
    if (data === undefined) {
      this.#d.onRejected('E_BAD_REQUEST');
      answer.done();
      return;
    }
    const state = this.#boots.find(device, stream, data.boot);
    const numbers = withNumbers(state, withoutBelow(state.tentative, data.below));
    this.#write({ device, stream, numbers, forget: state.forgets }, state, (error) => {
      if (error === undefined) answer.done();
      else answer.failed(error);
    });
  }

  #enter(source: Source, arrival: Arrival, answer: Answer): void {
    const { plan, device } = source;
    const { id } = arrival;
    const found = id === undefined ? undefined : this.#boots.find(device, plan.name, id.boot);
    if (id !== undefined && found !== undefined && isTaken(found.tentative, id.seq)) {
      this.#again(source, id, found, answer);
      return;
    }
    if (id !== undefined && found !== undefined && isLeap(found.tentative, id.seq)) this.#d.counts.gap(plan.name);
    const type = outsideOf(plan, arrival) ?? typeOf(plan, arrival);
    const samples = type instanceof BrinkError ? type : samplesOf(plan, arrival.payload, type);
    if (type instanceof BrinkError || samples instanceof BrinkError) {
      this.#refuse(source, arrival, samples as BrinkError, found, answer);
    } else this.#take(source, arrival, { type, samples }, found, answer);
  }

  /** It was taken before: still in the spool, or long decided. */
  #again(source: Source, id: { boot: string; seq: number }, state: Boot, answer: Answer): void {
    const { device, plan } = source;
    const late = id.seq <= state.tentative.through && !this.#d.backlog.has(device, plan.name, id.boot, id.seq);
    const change = { device, stream: plan.name, counts: ['received', late ? 'rejected' : 'duplicate'] };
    this.#write(change, state, (error) => {
      if (error === undefined && late) this.#d.onRejected('E_SEQ_LATE');
      const what = late ? 'was taken before, and is decided' : 'was taken before';
      if (error === undefined) answer.refused(new BrinkError('E_SEQ_LATE', `${id.boot}-${id.seq} ${what}`));
      else answer.failed(error);
    });
  }

  #refuse(source: Source, arrival: Arrival, wrong: BrinkError, found: Boot | undefined, answer: Answer): void {
    const { device, plan } = source;
    const { id } = arrival;
    const refused =
      id === undefined || found === undefined
        ? {}
        : {
            forget: found.forgets,
            numbers: withNumbers(found, withNumber(found.tentative, id.seq), {
              seq: id.seq,
              code: wrong.code,
            }),
          };
    this.#write({ device, stream: plan.name, counts: ['received', 'rejected'], ...refused }, found, (error) => {
      if (error === undefined) answer.refused(this.#d.refusals.letter(wrong, arrival));
      else answer.failed(error);
    });
  }

  #take(
    source: Source,
    arrival: Arrival,
    { type, samples }: Pick<Frame, 'type'> & { samples: Samples | undefined },
    found: Boot | undefined,
    answer: Answer,
  ): void {
    const { clock, backlog, failpoint } = this.#d;
    const { device, plan } = source;
    const { boot, seq } = arrival.id ?? { boot: this.#boot, seq: this.#nextSeq(device, plan.name) };
    const receivedMs = clock.now();
    const receivedAt = clock.monotonic();
    const id = ++this.#lastId;
    const payload = new Uint8Array(arrival.payload);
    const uncut = plan.samples !== undefined;
    const { due, skipped } = uncut ? allOf(plan) : dueNow(source, receivedAt);
    const spooled: Spooled = {
      ...{ id, device, stream: plan.name, boot, seq, bytes: payload.byteLength, receivedMs },
      ...{ left: new Set(uncut ? [] : due), out: new Set(), attempts: new Map(), cutting: new Map() },
      samples: uncut ? new Map(due.map((name) => [name, 'uncut'])) : undefined,
    };
    const counts = ['received', 'accepted', ...(uncut ? [] : plan.pipelines.map(({ name }) => `${name}/formed`))];
    for (const name of skipped) counts.push(`${name}/dropped`);
    const { traceparent, onSettled, at } = arrival;
    const change: Change = {
      ...{ device, stream: plan.name, counts },
      ...(due.length === 0
        ? {}
        : { frame: { id, boot, seq, receivedMs, type, traceparent, at, payload, pipelines: due, uncut } }),
      ...(found === undefined
        ? {}
        : { forget: found.forgets, numbers: withNumbers(found, withNumber(found.tentative, seq)) }),
    };
    const entered = backlog.enter(spooled);
    failpoint('ingest.before_commit');
    this.#write(change, found, (error) => {
      entered();
      if (error !== undefined) {
        answer.failed(error);
        return;
      }
      failpoint('ingest.after_commit');
      const frame: Frame = {
        ...{ id: { device, stream: plan.name, boot, seq }, plan, payload, type, receivedMs, receivedAt, traceparent },
        ...{ at, samples, formed: true, waiting: 0, onSettled, sha256: undefined, spooled },
      };
      for (const _ of skipped) this.#d.onDropped('every_ms', frame.id);
      answer.accepted(frame);
      failpoint('ingest.after_ack');
      if (due.length > 0) backlog.accept(source, frame, spooled);
    });
  }

  /** What was counted and which numbers were taken is true as soon as it is committed, and not before. */
  #write(change: Change, state: Boot | undefined, done: (error: BrinkError | undefined) => void): void {
    const { numbers, device, stream, forget, counts = [] } = change;
    this.#d.spool.write(change, (error) => {
      if (error !== undefined) {
        // Everything that waited behind it failed too, so this is where all of them begin again.
        if (state !== undefined) state.tentative = state.committed;
        done(error);
        this.#failed(error);
        return;
      }
      countSpooled(this.#d.counts, { device, stream }, counts, this.#d.clock.now());
      if (state !== undefined) {
        if (numbers !== undefined) state.committed = numbers;
        if (forget !== undefined && state.forgets === forget) {
          state.forgets = undefined;
          this.#d.backlog.bootOver({ device, stream, boot: forget });
        }
        this.#d.receipt(device, stream, state);
      }
      done(undefined);
    });
  }

  /** The disk takes nothing: neither does this, until there is room again. */
  #failed(error: BrinkError): void {
    if (this.#failing !== undefined) return;
    this.#failing = error;
    for (const [stream, queue] of this.#queues) this.#close(stream, queue, error);
    this.#probeLater();
  }

  #probeLater(): void {
    if (this.#stopped) return;
    this.#probing = this.#d.clock.setTimeout(() => {
      this.#probing = undefined;
      this.#d.spool.probe().then(
        () => {
          this.#failing = undefined;
          for (const stream of this.#queues.keys()) this.roomed(stream);
        },
        (reason: unknown) => {
          this.#failing = BrinkError.from(reason);
          this.#probeLater();
        },
      );
    }, AGAIN_MS);
  }

  #close(stream: string, queue: Queue, error: BrinkError): void {
    if (!queue.closed) this.#d.gate.close(stream);
    queue.closed = true;
    // They come again with the others, in their order.
    for (const { answer } of queue.held.splice(0)) answer.failed(error);
    queue.bytes = 0;
  }

  #queueOf(stream: string): Queue {
    let queue = this.#queues.get(stream);
    if (queue === undefined) {
      queue = { held: [], bytes: 0, closed: false };
      this.#queues.set(stream, queue);
    }
    return queue;
  }

  #nextSeq(device: string, stream: string): number {
    const key = `${device}/${stream}`;
    const seq = (this.#seqs.get(key) ?? 0) + 1;
    this.#seqs.set(key, seq);
    return seq;
  }
}

const fullOf = (stream: string) =>
  new BrinkError('E_BUSY', `stream "${stream}" is full: what it holds waits to be decided`);

/** Windows are counted, and skipped, where they are cut. */
function allOf({ pipelines }: StreamPlan): { due: string[]; skipped: string[] } {
  return { due: pipelines.map(({ name }) => name), skipped: [] };
}

/** Which pipelines decide about a frame that comes now; `every_ms` says no to the others. */
function dueNow(source: Source, now: number): { due: string[]; skipped: string[] } {
  const due: string[] = [];
  const skipped: string[] = [];
  for (const lane of source.lanes) {
    const { name, everyMs } = lane.pipeline;
    if (everyMs !== undefined && now < lane.nextAt) skipped.push(name);
    else {
      due.push(name);
      if (everyMs !== undefined) lane.nextAt = now + everyMs;
    }
  }
  return { due, skipped };
}
