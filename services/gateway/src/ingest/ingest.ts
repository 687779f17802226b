import { BrinkError, type Topics } from '@brink/protocol';
import { countFrame } from '../outcomes/counts.ts';
import type { Admission } from './admission.ts';
import { type Arrival, type FrameMessage, readArrival } from './arrival.ts';
import { outsideOf, typeOf } from './checks.ts';
import type { Frame } from './frame.ts';
import { createRefusals, type RefusalDeps } from './refusals.ts';
import { type Sources, takeSeq } from './sources.ts';

export type PostedArrival = Omit<Arrival, 'topic' | 'retain' | 'traceparent'>;

export interface IngestDeps extends RefusalDeps {
  sources: Sources;
  admission: Admission;
  /** Something waits for the models of this frame now. */
  onOffered(frame: Frame): void;
}

/**
 * From a message to an accepted frame, or to the name of why not. Everything here is per frame: plain checks in the order
 * of their price, no schema, no log.
 * @param config.boot for frames without a number of their own
 */
export function createIngest(config: { boot: string; topics: Topics }, d: IngestDeps) {
  const refused = createRefusals(d);

  /** @returns the accepted frame, 'duplicate', or the error by which it was refused; all counted */
  function admit(arrival: Arrival): Frame | 'duplicate' | BrinkError {
    const { device, stream, id, payload, traceparent, onSettled } = arrival;
    const source = d.sources.find(device, stream);
    if (typeof source === 'string') return refused.source(source, arrival);
    const { plan } = source;
    const wrong = outsideOf(plan, arrival);
    if (wrong !== undefined) return refused.frame(source, wrong, arrival);
    const receivedMs = d.clock.now();
    if (id !== undefined && !takeSeq(source, id.boot, id.seq)) {
      countFrame(source.row, 'duplicate', receivedMs);
      return 'duplicate';
    }
    const type = typeOf(plan, arrival);
    if (type instanceof BrinkError) return refused.frame(source, type, arrival);
    const { boot, seq } = id ?? { boot: config.boot, seq: ++source.lastSeq };
    const frame: Frame = {
      id: { device, stream, boot, seq },
      plan,
      payload,
      type,
      receivedMs,
      receivedAt: d.clock.monotonic(),
      traceparent,
      formed: false,
      waiting: 0,
      onSettled,
      sha256: undefined,
    };
    d.admission.offer(frame, source.lanes, source.row, frame.receivedAt);
    d.onOffered(frame);
    d.admission.settleDown(frame);
    return frame;
  }

  return {
    /** A message from the broker. Never throws. */
    receive(message: FrameMessage): void {
      let arrival: Arrival;
      try {
        arrival = readArrival(config.topics, message);
      } catch (reason) {
        refused.topic(reason, message);
        return;
      }
      admit(arrival);
    },

    /** A frame that came in over HTTP. @throws BrinkError by which it was refused; E_SEQ_LATE for a repetition */
    post(posted: PostedArrival): Frame {
      const topic = `/v1/frames/${posted.device}/${posted.stream}`;
      const frame = admit({ ...posted, topic, retain: false, traceparent: undefined });
      if (frame instanceof BrinkError) throw frame;
      if (frame !== 'duplicate') return frame;
      const id = `${posted.id?.boot}-${posted.id?.seq}`;
      throw new BrinkError('E_SEQ_LATE', `${id} or a later frame of this boot was taken before`);
    },
  };
}

export type Ingest = ReturnType<typeof createIngest>;
