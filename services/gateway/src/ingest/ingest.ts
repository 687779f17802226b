import { isPicture, type SniffedType, sniff } from '@brink/decode';
import { BrinkError, type ErrorCode, isBoot, parseSeq, type Topics } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import { type Counts, countFrame } from '../outcomes/counts.ts';
import type { DeadLetters } from '../outcomes/letters.ts';
import type { Admission } from './admission.ts';
import type { DiscoveredStreams } from './discovered.ts';
import { type Frame, sha256 } from './frame.ts';
import { type Source, type Sources, takeSeq } from './sources.ts';

/** A message on a frame topic, as the MQTT client hands it over. */
export interface FrameMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
  readonly properties?:
    | {
        readonly contentType?: string | undefined;
        readonly userProperties?: Readonly<Record<string, string | string[]>> | undefined;
      }
    | undefined;
}

/** What one frame brings along, wherever it came in. */
interface Arrival {
  readonly device: string;
  readonly stream: string;
  readonly topic: string;
  readonly id: { readonly boot: string; readonly seq: number } | undefined;
  readonly payload: Uint8Array;
  readonly retain: boolean;
  readonly contentType: string | undefined;
  readonly traceparent: string | undefined;
  readonly onSettled?: Frame['onSettled'];
}

export type PostedArrival = Omit<Arrival, 'topic' | 'retain' | 'traceparent'>;

/**
 * From a message to an accepted frame, or to the name of why not. Everything here is per frame: plain checks in the order
 * of their price, no schema, no log.
 */
export function createIngest(
  config: { boot: string; topics: Topics; instance: string },
  d: {
    clock: Clock;
    counts: Counts;
    sources: Sources;
    admission: Admission;
    discovered: DiscoveredStreams;
    letters: DeadLetters;
    onRejected(code: ErrorCode): void;
    /** Something waits for these models now. */
    onOffered(frame: Frame): void;
  },
) {
  function refuse(
    error: BrinkError,
    arrival: Pick<Arrival, 'device' | 'stream' | 'payload' | 'id'>,
    nowMs: number,
  ): BrinkError {
    d.onRejected(error.code);
    d.letters.add(arrival.device, nowMs, () => ({
      dead: true,
      device: arrival.device.slice(0, 200),
      stream: arrival.stream.slice(0, 200),
      ...(arrival.id === undefined ? {} : { boot: arrival.id.boot, seq: arrival.id.seq }),
      error: { code: error.code, detail: error.detail.slice(0, 1000) },
      sha256: sha256(arrival.payload),
      bytes: arrival.payload.byteLength,
      type: sniff(arrival.payload),
      received_ms: nowMs,
    }));
    return error;
  }

  /** A topic that cannot be read still came from somebody: its levels are shown as they are. */
  function refuseTopic(reason: unknown, message: FrameMessage): void {
    const nowMs = d.clock.now();
    countFrame(d.counts.elsewhere, 'rejected', nowMs);
    const [, device = '', , , stream = ''] = message.topic.split('/', 6);
    refuse(BrinkError.from(reason, 'E_TOPIC'), { device, stream, payload: message.payload, id: undefined }, nowMs);
  }

  function refuseSource(why: 'unknown' | 'full', arrival: Arrival, nowMs: number): BrinkError {
    countFrame(d.counts.elsewhere, 'rejected', nowMs);
    if (why === 'full') {
      const error = new BrinkError(
        'E_BUSY',
        `the table of streams is full; ${arrival.device}/${arrival.stream} is not in it`,
      );
      return refuse(error, arrival, nowMs);
    }
    // Not a dead letter: what was found, and what to do about it, stands under /v1/discovered.
    d.discovered.see(
      arrival.device,
      arrival.stream,
      arrival.topic,
      sniff(arrival.payload),
      arrival.payload.byteLength,
      nowMs,
    );
    d.onRejected('E_STREAM_UNKNOWN');
    return new BrinkError(
      'E_STREAM_UNKNOWN',
      `no stream "${arrival.stream}" takes frames of device "${arrival.device}"`,
    );
  }

  /** @returns the accepted frame, 'duplicate', or the error by which it was refused; all counted */
  function admit(arrival: Arrival): Frame | 'duplicate' | BrinkError {
    const nowMs = d.clock.now();
    const source = d.sources.find(arrival.device, arrival.stream);
    if (typeof source === 'string') return refuseSource(source, arrival, nowMs);
    const refusal = outsideOf(source, arrival);
    if (refusal === undefined && arrival.id !== undefined && !takeSeq(source, arrival.id.boot, arrival.id.seq)) {
      countFrame(source.row, 'duplicate', nowMs);
      return 'duplicate';
    }
    const type = refusal ?? typeOf(source, arrival);
    if (type instanceof BrinkError) {
      countFrame(source.row, 'rejected', nowMs);
      return refuse(type, arrival, nowMs);
    }
    const { boot, seq } = arrival.id ?? { boot: config.boot, seq: ++source.lastSeq };
    const frame: Frame = {
      id: { device: arrival.device, stream: arrival.stream, boot, seq },
      plan: source.plan,
      payload: arrival.payload,
      type,
      receivedMs: nowMs,
      receivedAt: d.clock.monotonic(),
      traceparent: arrival.traceparent,
      formed: false,
      waiting: 0,
      onSettled: arrival.onSettled,
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
        refuseTopic(reason, message);
        return;
      }
      admit(arrival);
    },

    /** A frame that came in over HTTP. @throws BrinkError by which it was refused; E_SEQ_LATE for a repetition */
    post(arrival: PostedArrival): Frame {
      const frame = admit({
        ...arrival,
        topic: `/v1/frames/${arrival.device}/${arrival.stream}`,
        retain: false,
        traceparent: undefined,
      });
      if (frame === 'duplicate') {
        throw new BrinkError(
          'E_SEQ_LATE',
          `${arrival.id?.boot}-${arrival.id?.seq} or a later frame of this boot was taken before`,
        );
      }
      if (frame instanceof BrinkError) throw frame;
      return frame;
    },
  };
}

export type Ingest = ReturnType<typeof createIngest>;

/** @throws BrinkError E_TOPIC, E_NAME */
function readArrival(topics: Topics, message: FrameMessage): Arrival {
  const topic = topics.parse(message.topic);
  if (topic.kind !== 'frame') throw new BrinkError('E_TOPIC', `"${message.topic.slice(0, 120)}" is no frame topic`);
  const user = message.properties?.userProperties;
  return {
    device: topic.device,
    stream: topic.stream,
    topic: message.topic,
    id: topic.id ?? (user === undefined ? undefined : idOf(user)),
    payload: message.payload,
    retain: message.retain,
    contentType: message.properties?.contentType,
    traceparent: traceparentOf(user?.['traceparent']),
  };
}

/** MQTT 5 user properties `boot` and `seq`. Both or neither. */
function idOf(user: Readonly<Record<string, string | string[]>>): { boot: string; seq: number } | undefined {
  const { boot, seq } = user;
  if (boot === undefined && seq === undefined) return undefined;
  const number = typeof seq === 'string' ? parseSeq(seq) : undefined;
  if (typeof boot !== 'string' || !isBoot(boot) || number === undefined) {
    throw new BrinkError(
      'E_TOPIC',
      `user properties boot "${boot}", seq "${seq}"; expected a boot as k3v9 and a number from 1`,
    );
  }
  return { boot, seq: number };
}

// https://www.w3.org/TR/trace-context/#traceparent-header
const TRACEPARENT = /^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;
const traceparentOf = (text: string | string[] | undefined) =>
  typeof text === 'string' && TRACEPARENT.test(text) ? text : undefined;

/** What can be said without looking at the bytes. */
function outsideOf(source: Source, { retain, payload, topic }: Arrival): BrinkError | undefined {
  if (retain)
    return new BrinkError(
      'E_RETAINED',
      `"${topic.slice(0, 120)}" came as a retained message; publish frames without retain`,
    );
  if (payload.byteLength === 0)
    return new BrinkError('E_EMPTY', `"${topic.slice(0, 120)}"; expected the bytes of a frame`);
  const limit = source.plan.frameBytesMax;
  if (payload.byteLength <= limit) return undefined;
  return new BrinkError(
    'E_TOO_LARGE',
    `${payload.byteLength} bytes; stream "${source.plan.name}" takes at most ${limit} (frame_bytes_max)`,
  );
}

const PICTURE_CONTENT = /^(image\/(jpeg|png|webp)|application\/octet-stream)(;|$)/;
const TENSOR_CONTENT = /^application\/octet-stream(;|$)/;

/** What `curl --data-binary` says when it is told nothing: no statement about the bytes. */
const NO_CONTENT = /^(|application\/x-www-form-urlencoded.*)$/;

/** The content type where there is one, and in any case the signature. */
function typeOf({ plan }: Source, { contentType = '', payload }: Arrival): SniffedType | BrinkError {
  if (
    !NO_CONTENT.test(contentType) &&
    !(plan.format === 'image' ? PICTURE_CONTENT : TENSOR_CONTENT).test(contentType)
  ) {
    return new BrinkError(
      'E_TYPE',
      `content type "${contentType.slice(0, 100)}"; stream "${plan.name}" takes ${plan.format}`,
    );
  }
  if (plan.format === 'tensor') return 'application/octet-stream';
  const type = sniff(payload);
  if (isPicture(type)) return type;
  return new BrinkError('E_IMAGE_TYPE', `the bytes look like ${type}; stream "${plan.name}" takes JPEG, PNG or WebP`);
}
