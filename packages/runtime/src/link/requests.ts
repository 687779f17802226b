import { BrinkError, create, fromBinary, isErrorCode, link, toBinary } from '@brink/protocol';
import type { Clock, Timer } from '../clock.ts';
import { cancelled } from '../retry.ts';
import { type Frame, frameBytes, HEADER_BYTES_MAX, KIND, payloadsOf, protocolError } from './frame.ts';
import type { LinkReply, PeerInfo, RequestBody, RequestOptions } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import type { LinkStats } from './stats.ts';

const NOTHING = new Uint8Array(0);

interface Call {
  /** 0 while it waits for the window */
  id: number;
  header: Uint8Array;
  payloads: readonly Uint8Array[];
  total: number;
  resolve(reply: LinkReply): void;
  reject(error: BrinkError): void;
  timer: Timer | undefined;
  signal: AbortSignal | undefined;
  onAbort: (() => void) | undefined;
  settled: boolean;
}

/** The asking half of a link: numbers, the peer's window, waiting, time limits, cancelling. */
export function createRequests(
  o: { requestTimeoutMs: number; waitingMax: number; outgoingBytesMax: number },
  d: { outgoing: Outgoing; clock: Clock; stats: LinkStats; info: PeerInfo },
) {
  const { outgoing, clock, stats, info } = d;
  /** Sent and not answered; one that was given up stays until its answer comes. */
  const flying = new Map<number, Call>();
  let waiting: Call[] = [];
  let waitingHead = 0;
  let waitingCount = 0;
  let waitingBytes = 0;
  let lastId = 0;
  let closed: BrinkError | undefined;

  const fits = (total: number) =>
    flying.size < info.window && (outgoing.bytes === 0 || outgoing.bytes + total <= o.outgoingBytesMax);

  function launch(call: Call): void {
    lastId += 1;
    call.id = lastId;
    flying.set(lastId, call);
    outgoing.send(KIND.request, lastId, call.header, call.payloads, call.total);
    stats.requestsOut += 1;
    call.header = NOTHING;
    call.payloads = [];
  }

  /** Sends what waits, as far as the window and the socket let it. */
  function pump(): void {
    while (waitingHead < waiting.length) {
      const call = waiting[waitingHead] as Call;
      if (!call.settled) {
        if (!fits(call.total)) break;
        leave(call);
        launch(call);
      }
      waitingHead += 1;
    }
    if (waitingHead === waiting.length) {
      waiting = [];
      waitingHead = 0;
    } else if (waitingHead > 1024) {
      waiting = waiting.slice(waitingHead);
      waitingHead = 0;
    }
  }

  function leave(call: Call): void {
    waitingCount -= 1;
    waitingBytes -= call.total;
  }

  function settle(call: Call): void {
    call.settled = true;
    if (call.timer !== undefined) clock.clearTimeout(call.timer);
    if (call.onAbort !== undefined) call.signal?.removeEventListener('abort', call.onAbort);
  }

  /** The caller gave up. Its place in the window is free only when the peer has answered. */
  function giveUp(call: Call, error: BrinkError): void {
    if (call.settled) return;
    settle(call);
    if (call.id === 0) {
      leave(call);
      call.header = NOTHING;
      call.payloads = [];
    } else if (closed === undefined) {
      outgoing.sendHeader(KIND.cancel, call.id, NOTHING);
    }
    call.reject(error);
  }

  function refusal(total: number, headerBytes: number): BrinkError | undefined {
    if (closed !== undefined) return closed;
    if (headerBytes > HEADER_BYTES_MAX) {
      return new BrinkError(
        'E_TOO_LARGE',
        `a request's header of ${headerBytes} bytes; at most ${HEADER_BYTES_MAX} fit`,
      );
    }
    if (total > info.frameBytesMax) {
      return new BrinkError('E_TOO_LARGE', `a request of ${total} bytes; ${info.service} takes ${info.frameBytesMax}`);
    }
    if (info.window === 0) return new BrinkError('E_UNSUPPORTED', `${info.service} takes no requests`);
    return undefined;
  }

  function enqueue(call: Call): BrinkError | undefined {
    const full = waitingCount >= o.waitingMax || (waitingCount > 0 && waitingBytes + call.total > o.outgoingBytesMax);
    if (full) {
      stats.busy += 1;
      return new BrinkError(
        'E_BUSY',
        `${waitingCount} requests (${waitingBytes} bytes) wait for ${info.service} ${info.instance}`,
      );
    }
    waiting.push(call);
    waitingCount += 1;
    waitingBytes += call.total;
    return undefined;
  }

  function request(
    body: RequestBody,
    payloads: readonly Uint8Array[] = [],
    options: RequestOptions = {},
  ): Promise<LinkReply> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted) {
        reject(cancelled(signal));
        return;
      }
      const payloadBytes = payloads.map((payload) => payload.byteLength);
      const header = toBinary(link.RequestSchema, create(link.RequestSchema, { payloadBytes, body }));
      const total = frameBytes(header.byteLength, payloads);
      const call: Call = {
        id: 0,
        header,
        payloads,
        total,
        resolve,
        reject,
        timer: undefined,
        signal,
        onAbort: undefined,
        settled: false,
      };
      let refused = refusal(total, header.byteLength);
      if (refused === undefined) {
        if (waitingCount === 0 && fits(total)) launch(call);
        else refused = enqueue(call);
      }
      if (refused !== undefined) {
        reject(refused);
        return;
      }
      limit(call, options.timeoutMs ?? o.requestTimeoutMs);
    });
  }

  function limit(call: Call, timeoutMs: number): void {
    if (timeoutMs > 0) {
      call.timer = clock.setTimeout(() => {
        stats.timeouts += 1;
        giveUp(
          call,
          new BrinkError('E_TIMEOUT', `no answer from ${info.service} ${info.instance} within ${timeoutMs} ms`),
        );
      }, timeoutMs);
    }
    const { signal } = call;
    if (signal !== undefined) {
      call.onAbort = () => giveUp(call, cancelled(signal));
      signal.addEventListener('abort', call.onAbort, { once: true });
    }
  }

  /** A reply or an error frame. @throws BrinkError E_LINK_PROTOCOL */
  function answered(frame: Frame): void {
    const call = flying.get(frame.request);
    if (call === undefined) throw protocolError(`an answer to request ${frame.request}, which is not in flight`);
    flying.delete(frame.request);
    if (frame.kind === KIND.error) {
      const error = failureOf(frame);
      if (!call.settled) {
        settle(call);
        call.reject(error);
      }
    } else {
      const reply = headerOf(link.ReplySchema, frame);
      const payloads = payloadsOf(frame, reply.payloadBytes);
      if (!call.settled) {
        settle(call);
        if (reply.body.case === undefined) {
          call.reject(
            new BrinkError('E_UNSUPPORTED', `${info.service} gave an answer of a kind that is not known here`),
          );
        } else {
          call.resolve({ body: reply.body, payloads });
        }
      }
    }
    if (waitingCount > 0) pump();
  }

  function close(error: BrinkError): void {
    closed = error;
    const calls = [...flying.values(), ...waiting.slice(waitingHead)];
    flying.clear();
    waiting = [];
    waitingHead = waitingCount = waitingBytes = 0;
    for (const call of calls) {
      if (call.settled) continue;
      settle(call);
      call.reject(error);
    }
  }

  return {
    request,
    answered,
    pump,
    close,
    get inFlight() {
      return flying.size;
    },
    get waiting() {
      return waitingCount;
    },
  };
}

/** @throws BrinkError E_LINK_PROTOCOL when the header is no such message */
export function headerOf<
  S extends typeof link.RequestSchema | typeof link.ReplySchema | typeof link.HelloSchema | typeof link.FailureSchema,
>(schema: S, frame: Frame) {
  try {
    return fromBinary(schema, frame.header);
  } catch (error) {
    throw new BrinkError('E_LINK_PROTOCOL', `a header that is no ${schema.name}`, { cause: error });
  }
}

/** What the peer said went wrong. A code that this side does not know becomes E_INTERNAL. */
export function failureOf(frame: Frame): BrinkError {
  const { code, detail } = headerOf(link.FailureSchema, frame);
  return isErrorCode(code) ? new BrinkError(code, detail) : new BrinkError('E_INTERNAL', `${code}: ${detail}`);
}
