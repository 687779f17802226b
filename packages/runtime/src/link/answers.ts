import { BrinkError, create, link, toBinary } from '@brink/protocol';
import { type Frame, frameBytes, HEADER_BYTES_MAX, KIND, payloadsOf, protocolError } from './frame.ts';
import type { HandlerContext, LinkHandlers, LinkPeer, PeerInfo, ReplyBody, RequestCase } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import { headerOf } from './requests.ts';
import type { LinkStats } from './stats.ts';

/** Longer details are cut: the header of an error frame must fit, whatever was thrown. */
const DETAIL_CHARS_MAX = 2000;

type AnyHandler = (
  value: unknown,
  payloads: Buffer[],
  context: HandlerContext,
) => Promise<{ body: ReplyBody; payloads?: Uint8Array[] }>;

interface Work {
  context: HandlerContext;
  cancel(error: BrinkError): void;
}

/** The answering half of a link: one handler per kind, the own window, cancels of the peer. */
export function createAnswers(
  o: { window: number; outgoingBytesMax: number },
  d: {
    handlers: LinkHandlers;
    outgoing: Outgoing;
    stats: LinkStats;
    info: PeerInfo;
    peer: LinkPeer;
    onHandlerError: ((error: unknown, kind: RequestCase) => void) | undefined;
  },
) {
  const { outgoing, stats, info } = d;
  const running = new Map<number, Work>();
  let closed = false;

  function fail(id: number, reason: unknown, kind?: RequestCase): void {
    const error = BrinkError.from(reason);
    if (error.code === 'E_INTERNAL' && kind !== undefined) d.onHandlerError?.(reason, kind);
    stats.failures += 1;
    outgoing.sendHeader(KIND.error, id, encodeFailure(error));
  }

  function reply(id: number, body: ReplyBody, payloads: readonly Uint8Array[]): void {
    const payloadBytes = payloads.map((payload) => payload.byteLength);
    const header = toBinary(link.ReplySchema, create(link.ReplySchema, { payloadBytes, body }));
    const total = frameBytes(header.byteLength, payloads);
    if (header.byteLength > HEADER_BYTES_MAX || total > info.frameBytesMax) {
      throw new BrinkError(
        'E_TOO_LARGE',
        `an answer of ${total} bytes, ${header.byteLength} of them header; ${info.service} takes ${info.frameBytesMax} and ${HEADER_BYTES_MAX}`,
      );
    }
    outgoing.send(KIND.reply, id, header, payloads, total);
  }

  /** @throws BrinkError E_LINK_PROTOCOL */
  function asked(frame: Frame): void {
    const id = frame.request;
    if (id === 0) throw protocolError('a request with the number 0');
    if (running.has(id)) throw protocolError(`request ${id} while the one of that number is in flight`);
    if (running.size >= o.window)
      throw protocolError(`more than ${o.window} requests in flight, against the window in our hello`);
    const request = headerOf(link.RequestSchema, frame);
    const payloads = payloadsOf(frame, request.payloadBytes);
    stats.requestsIn += 1;
    const { body } = request;
    const handler = body.case === undefined ? undefined : (d.handlers[body.case] as AnyHandler | undefined);
    if (handler === undefined || body.case === undefined) {
      fail(
        id,
        new BrinkError(
          'E_UNSUPPORTED',
          `no handler here for requests of kind ${body.case ?? 'unknown to this version'}`,
        ),
      );
      return;
    }
    if (outgoing.bytes > o.outgoingBytesMax) {
      fail(id, new BrinkError('E_BUSY', `${outgoing.bytes} bytes of answers wait to be read`));
      return;
    }
    run(id, body.case, handler, body.value, payloads);
  }

  function run(id: number, kind: RequestCase, handler: AnyHandler, value: unknown, payloads: Buffer[]): void {
    const work = createWork(d.peer);
    running.set(id, work);
    const failed = (reason: unknown) => {
      running.delete(id);
      if (!closed) fail(id, reason, kind);
    };
    try {
      handler(value, payloads, work.context).then((answer) => {
        if (!running.delete(id) || closed) return;
        try {
          reply(id, answer.body, answer.payloads ?? []);
        } catch (error) {
          fail(id, error, kind);
        }
      }, failed);
    } catch (error) {
      failed(error);
    }
  }

  return {
    asked,
    /** A cancel of something that was answered meanwhile is no error. */
    cancelled(frame: Frame): void {
      if (frame.bytes.byteLength !== 16)
        throw protocolError(`a cancel of ${frame.bytes.byteLength} bytes; expected 16`);
      const work = running.get(frame.request);
      if (work === undefined) return;
      stats.cancels += 1;
      work.cancel(new BrinkError('E_CANCELLED', `${info.service} ${info.instance} gave up`));
    },
    close(error: BrinkError): void {
      closed = true;
      for (const work of running.values()) work.cancel(error);
      running.clear();
    },
    get running() {
      return running.size;
    },
  };
}

/** The signal is made when a handler asks for it: most never do. */
function createWork(peer: LinkPeer): Work {
  let controller: AbortController | undefined;
  let reason: BrinkError | undefined;
  return {
    context: {
      peer: peer.info,
      link: peer,
      get signal() {
        if (controller === undefined) {
          controller = new AbortController();
          if (reason !== undefined) controller.abort(reason);
        }
        return controller.signal;
      },
    },
    cancel(error) {
      reason = error;
      controller?.abort(error);
    },
  };
}

export function encodeFailure(error: BrinkError): Uint8Array {
  const detail = error.detail.length > DETAIL_CHARS_MAX ? `${error.detail.slice(0, DETAIL_CHARS_MAX)}…` : error.detail;
  return toBinary(link.FailureSchema, create(link.FailureSchema, { code: error.code, detail }));
}
