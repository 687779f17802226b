import { BrinkError, newSpanId, nextTraceparent, type Topics } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import { type Counts, countFrame, countReplacement } from '../outcomes/counts.ts';
import type { Answer, Intake } from '../spool/intake.ts';
import { type Samples, samplesOf } from '../window/samples.ts';
import type { Windows } from '../window/windows.ts';
import type { Admission } from './admission.ts';
import { type Arrival, type FrameMessage, readArrival } from './arrival.ts';
import { outsideOf, typeOf } from './checks.ts';
import type { ForeignTopics } from './foreign.ts';
import type { Frame } from './frame.ts';
import type { Refusals } from './refusals.ts';
import { type Source, type Sources, takeSeq } from './sources.ts';

export type PostedArrival = Omit<Arrival, 'topic' | 'retain'>;

export interface IngestDeps {
  clock: Clock;
  random: () => number;
  counts: Counts;
  foreign: Pick<ForeignTopics, 'read'>;
  refusals: Refusals;
  sources: Sources;
  /** Frames of durable streams. */
  intake: Pick<Intake, 'admit' | 'retire'>;
  admission: Admission;
  windows: Pick<Windows, 'offer' | 'refuses'>;
  /** Something waits for the models of this frame now. */
  onOffered(frame: Frame): void;
}

/**
 * From a message to an accepted frame, or to the name of why not. Everything here is per frame: plain checks in the order
 * of their price, no schema, no log.
 * @param config.boot for frames without a number of their own
 */
export function createIngest(config: { boot: string; topics: Topics }, d: IngestDeps) {
  const refused = d.refusals;
  /** What comes after names us as its parent. */
  const traceOf = (received: string) => nextTraceparent(received, () => newSpanId(d.random));

  /** @param answer hears what became of it, now or, where it has to be committed, later; it is counted in any case */
  function admit(came: Arrival, answer: Answer): void {
    const arrival = came.traceparent === undefined ? came : { ...came, traceparent: traceOf(came.traceparent) };
    const source = d.sources.find(arrival.device, arrival.stream);
    if (typeof source === 'string') answer.refused(refused.source(source, arrival));
    else if (source.plan.durable) d.intake.admit(source, arrival, answer);
    else {
      const frame = admitLatest(source, arrival);
      if (frame instanceof BrinkError) answer.refused(frame);
      else answer.accepted(frame);
    }
  }

  /** @returns the accepted frame, or the error by which it was refused: E_SEQ_LATE for a repetition */
  function admitLatest(source: Source, arrival: Arrival): Frame | BrinkError {
    const { device, stream, id, payload, traceparent, onSettled, at } = arrival;
    const { plan } = source;
    const wrong = outsideOf(plan, arrival);
    if (wrong !== undefined) return refused.frame(source, wrong, arrival);
    const receivedMs = d.clock.now();
    if (id !== undefined && !takeSeq(source, id, d.counts)) {
      countFrame(source.row, 'duplicate', receivedMs);
      return new BrinkError('E_SEQ_LATE', `${id.boot}-${id.seq} or a later frame of this boot was taken before`);
    }
    const type = typeOf(plan, arrival);
    if (type instanceof BrinkError) return refused.frame(source, type, arrival);
    const samples = d.windows.refuses(source) ?? samplesOf(plan, payload, type);
    if (samples instanceof BrinkError) return refused.frame(source, samples, arrival);
    const { boot, seq } = id ?? { boot: config.boot, seq: ++source.lastSeq };
    const frame: Frame = {
      id: { device, stream, boot, seq },
      plan,
      payload,
      type,
      receivedMs,
      receivedAt: d.clock.monotonic(),
      traceparent,
      at,
      formed: false,
      waiting: 0,
      onSettled,
      sha256: undefined,
      spooled: undefined,
    };
    if (samples === undefined) d.admission.offer(frame, source.lanes, source.row, frame.receivedAt);
    else offerWindows(frame, samples, source);
    d.onOffered(frame);
    d.admission.settleDown(frame);
    return frame;
  }

  function offerWindows(frame: Frame, samples: Samples, { lanes, row }: Source): void {
    if (d.windows.offer(frame, samples, lanes, frame.receivedAt)) countFrame(row, 'accepted', frame.receivedMs);
    else countReplacement(row, frame.receivedMs, 'unseen');
  }

  return {
    /** A message from the broker. Never throws. */
    receive(message: FrameMessage): void {
      let arrival: Arrival;
      try {
        arrival = readArrival(config.topics, d.foreign, message);
      } catch (reason) {
        refused.topic(reason, message);
        message.ack?.();
        return;
      }
      admit(arrival, answerTo(message));
    },

    /** A message on `up/retired/{stream}`. Means something for durable streams only. Never throws. */
    retired(message: FrameMessage): void {
      const { device, stream } = retiredBy(message.topic);
      const source = d.sources.find(device, stream);
      if (typeof source === 'string' || !source.plan.durable) message.ack?.();
      else
        d.intake.retire(device, stream, message.payload, {
          done: () => message.ack?.(),
          failed: () => message.abandon?.(),
        });
    },

    /**
     * A frame that came in over HTTP; of a durable stream, when it is in the spool. Rejects with the BrinkError by which it was
     * refused; E_SEQ_LATE for a repetition.
     */
    post(posted: PostedArrival): Promise<Frame> {
      const { promise, resolve, reject } = Promise.withResolvers<Frame>();
      const topic = `/v1/frames/${posted.device}/${posted.stream}`;
      const answer: Answer = { accepted: resolve, refused: reject, failed: reject, mayWait: false };
      admit({ ...posted, topic, retain: false }, answer);
      return promise;
    },
  };
}

/** What is refused is settled too: it is never sent again. */
function answerTo(message: FrameMessage): Answer {
  const ack = () => message.ack?.();
  return { accepted: ack, refused: ack, failed: () => message.abandon?.(), mayWait: true };
}

/** The broker sends what matches `{root}/+/up/retired/+`, and the root is one level. */
function retiredBy(topic: string): { device: string; stream: string } {
  const [, device = '', , , stream = ''] = topic.split('/');
  return { device, stream };
}

export type Ingest = ReturnType<typeof createIngest>;
