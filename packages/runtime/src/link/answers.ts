import { BrinkError, create, link, toBinary } from '@brink/protocol/link';
import {
  type Frame,
  frameBytes,
  HEADER_BYTES_MAX,
  KIND,
  PREFIX_BYTES,
  payloadsOf,
  protocolError,
  releaseOf,
} from './frame.ts';
import { encodeFailure, headerOf } from './headers.ts';
import type { HandlerContext, LinkHandlers, LinkPeer, PeerInfo, ReplyBody, RequestCase } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import type { LinkStats } from './stats.ts';

type AnyHandler = (
  value: unknown,
  payloads: Buffer[],
  context: HandlerContext,
) => Promise<{ body: ReplyBody; payloads?: Uint8Array[] }>;

interface Work {
  context: HandlerContext;
  cancel(error: BrinkError): void;
}

export interface AnswerDependencies {
  handlers: LinkHandlers;
  outgoing: Outgoing;
  stats: LinkStats;
  info: PeerInfo;
  peer: LinkPeer;
  onHandlerError: ((error: unknown, kind: RequestCase) => void) | undefined;
}

/** The answering half of a link: one handler per kind, the own window, cancels of the peer. */
export class Answers {
  readonly #limits: { window: number; outgoingBytesMax: number };
  readonly #d: AnswerDependencies;
  readonly #running = new Map<number, Work>();
  #closed = false;

  constructor(limits: { window: number; outgoingBytesMax: number }, d: AnswerDependencies) {
    this.#limits = limits;
    this.#d = d;
  }

  get running(): number {
    return this.#running.size;
  }

  /** @throws BrinkError E_LINK_PROTOCOL */
  asked(frame: Frame): void {
    const { handlers, outgoing, stats } = this.#d;
    const id = frame.request;
    this.#admit(id);
    const request = headerOf(link.RequestSchema, frame);
    const payloads = payloadsOf(frame, request.payloadBytes);
    stats.requestsIn += 1;
    const { body } = request;
    const handler = body.case === undefined ? undefined : (handlers[body.case] as AnyHandler | undefined);
    if (handler === undefined || body.case === undefined) {
      const kind = body.case ?? 'that this version does not know';
      this.#fail(id, new BrinkError('E_UNSUPPORTED', `no handler here for requests of the kind ${kind}`));
    } else if (outgoing.bytes > this.#limits.outgoingBytesMax) {
      this.#fail(id, new BrinkError('E_BUSY', `${outgoing.bytes} bytes of answers wait to be read`));
    } else {
      this.#run(frame, body.case, handler, body.value, payloads);
    }
  }

  /** A cancel of something that was answered meanwhile is no error. */
  cancelled(frame: Frame): void {
    if (frame.bytes.byteLength !== PREFIX_BYTES) {
      throw protocolError(`a cancel of ${frame.bytes.byteLength} bytes; expected ${PREFIX_BYTES}`);
    }
    const work = this.#running.get(frame.request);
    if (work === undefined) return;
    const { stats, info } = this.#d;
    stats.cancels += 1;
    work.cancel(new BrinkError('E_CANCELLED', `${info.service} ${info.instance} gave up`));
  }

  close(error: BrinkError): void {
    this.#closed = true;
    for (const work of this.#running.values()) work.cancel(error);
    this.#running.clear();
  }

  #admit(id: number): void {
    const { window } = this.#limits;
    if (id === 0) throw protocolError('a request with the number 0');
    if (this.#running.has(id)) throw protocolError(`request ${id} while the one of that number is in flight`);
    if (this.#running.size >= window) {
      throw protocolError(`more than ${window} requests in flight, against the window in our hello`);
    }
  }

  #run(frame: Frame, kind: RequestCase, handler: AnyHandler, value: unknown, payloads: Buffer[]): void {
    const id = frame.request;
    const work = createWork(this.#d.peer, releaseOf(frame, payloads));
    this.#running.set(id, work);
    const failed = (reason: unknown) => {
      if (this.#running.delete(id) && !this.#closed) this.#fail(id, reason, kind);
    };
    try {
      handler(value, payloads, work.context).then((answer) => {
        if (!this.#running.delete(id) || this.#closed) return;
        try {
          this.#reply(id, answer.body, answer.payloads ?? []);
        } catch (error) {
          this.#fail(id, error, kind);
        }
      }, failed);
    } catch (error) {
      failed(error);
    }
  }

  #reply(id: number, body: ReplyBody, payloads: readonly Uint8Array[]): void {
    const { outgoing, info } = this.#d;
    const payloadBytes = payloads.map((payload) => payload.byteLength);
    const header = toBinary(link.ReplySchema, create(link.ReplySchema, { payloadBytes, body }));
    const total = frameBytes(header.byteLength, payloads);
    if (header.byteLength > HEADER_BYTES_MAX) {
      throw new BrinkError('E_TOO_LARGE', `an answer's header of ${header.byteLength} bytes; ${HEADER_BYTES_MAX} fit`);
    }
    if (total > info.frameBytesMax) {
      throw new BrinkError('E_TOO_LARGE', `an answer of ${total} bytes; ${info.service} takes ${info.frameBytesMax}`);
    }
    outgoing.send(KIND.reply, id, header, payloads, total);
  }

  #fail(id: number, reason: unknown, kind?: RequestCase): void {
    const error = BrinkError.from(reason);
    if (error.code === 'E_INTERNAL' && kind !== undefined) this.#d.onHandlerError?.(reason, kind);
    this.#d.stats.failures += 1;
    this.#d.outgoing.sendHeader(KIND.error, id, encodeFailure(error));
  }
}

/** The signal is made when a handler asks for it: most never do. */
function createWork(peer: LinkPeer, release: () => void): Work {
  let controller: AbortController | undefined;
  let reason: BrinkError | undefined;
  return {
    context: {
      peer: peer.info,
      link: peer,
      release,
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
