import { BrinkError, isBoot, parseSeq, type Topics } from '@brink/protocol';
import type { ForeignTopics } from './foreign.ts';
import type { Frame } from './frame.ts';

/** A message on a frame topic, as the MQTT client hands it over. */
export interface FrameMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retain: boolean;
  /** Tells the broker that it need not keep it any longer. */
  readonly ack?: () => void;
  /** It stays with the broker, which sends it again after the next connect. */
  readonly abandon?: () => void;
  readonly properties?:
    | {
        readonly contentType?: string | undefined;
        readonly userProperties?: Readonly<Record<string, string | string[]>> | undefined;
      }
    | undefined;
}

/** What one frame brings along, wherever it came in. */
export interface Arrival {
  readonly device: string;
  readonly stream: string;
  readonly topic: string;
  readonly id: { readonly boot: string; readonly seq: number } | undefined;
  readonly payload: Uint8Array;
  readonly retain: boolean;
  /** It came on another system's topic. */
  readonly foreign?: true;
  readonly contentType: string | undefined;
  readonly traceparent: string | undefined;
  /** Where the device says it: the position of the first sample since it started. */
  readonly at?: number | undefined;
  readonly onSettled?: Frame['onSettled'];
}

/** @throws BrinkError E_TOPIC, E_NAME */
export function readArrival(topics: Topics, foreign: Pick<ForeignTopics, 'read'>, message: FrameMessage): Arrival {
  const mapped = foreign.read(message.topic);
  if (mapped !== undefined) {
    const { topic, payload, retain, properties } = message;
    const traceparent = traceparentOf(properties?.userProperties?.['traceparent']);
    return {
      ...{ ...mapped, topic, payload, retain, id: undefined, foreign: true },
      ...{ contentType: properties?.contentType, traceparent },
    };
  }
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
    at: atOf(user?.['at']),
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

/** As it came; `nextTraceparent` says whether it is one. */
const traceparentOf = (text: string | string[] | undefined) => (typeof text === 'string' ? text : undefined);

/** @throws BrinkError E_TOPIC: a wrong position taken for none would put samples where they do not belong */
function atOf(text: string | string[] | undefined): number | undefined {
  if (text === undefined) return undefined;
  const at = typeof text === 'string' && /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN;
  if (Number.isSafeInteger(at)) return at;
  throw new BrinkError('E_TOPIC', `user property at "${String(text).slice(0, 40)}"; expected a position from 0`);
}
