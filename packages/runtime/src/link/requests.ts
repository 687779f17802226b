import { BrinkError, create, link, toBinary } from '@brink/protocol/link';
import type { Clock, Timer } from '../clock.ts';
import { cancelled } from '../retry.ts';
import { type Frame, frameBytes, HEADER_BYTES_MAX, KIND, payloadsOf, protocolError, releaseOf } from './frame.ts';
import { failureOf, headerOf } from './headers.ts';
import type { LinkReply, PeerInfo, RequestBody, RequestOptions } from './messages.ts';
import type { Outgoing } from './outgoing.ts';
import type { LinkStats } from './stats.ts';

const NOTHING = new Uint8Array(0);
const NO_PAYLOADS: readonly Uint8Array[] = [];
/** Calls that are over and still in the waiting list before it is cut. */
const WAITING_SLACK = 1024;

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
  /** What had come from the peer when it was sent. */
  framesBefore: number;
}

export interface RequestLimits {
  requestTimeoutMs: number;
  waitingMax: number;
  outgoingBytesMax: number;
  /** A request that timed out after so long, without one frame from the peer since it was sent, means that the peer has gone; 0 = never. */
  silentMs: number;
}

export interface RequestDependencies {
  outgoing: Outgoing;
  clock: Clock;
  stats: LinkStats;
  info: PeerInfo;
  onSilent: (error: BrinkError) => void;
}

/** The asking half of a link: numbers, the peer's window, waiting, time limits, cancelling. */
export class Requests {
  readonly #limits: RequestLimits;
  readonly #outgoing: Outgoing;
  readonly #clock: Clock;
  readonly #stats: LinkStats;
  readonly #info: PeerInfo;
  readonly #onSilent: (error: BrinkError) => void;
  /** Sent and not answered; one that was given up stays until its answer comes. */
  readonly #flying = new Map<number, Call>();
  #waiting: Call[] = [];
  #waitingHead = 0;
  #waitingCount = 0;
  #waitingBytes = 0;
  #lastId = 0;
  #closed: BrinkError | undefined;

  constructor(limits: RequestLimits, d: RequestDependencies) {
    this.#limits = limits;
    this.#outgoing = d.outgoing;
    this.#clock = d.clock;
    this.#stats = d.stats;
    this.#info = d.info;
    this.#onSilent = d.onSilent;
  }

  get inFlight(): number {
    return this.#flying.size;
  }

  get waiting(): number {
    return this.#waitingCount;
  }

  request(body: RequestBody, payloads: readonly Uint8Array[], options: RequestOptions): Promise<LinkReply> {
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
        framesBefore: 0,
      };
      const refused = this.#refusal(call) ?? this.#launchOrEnqueue(call);
      if (refused === undefined) this.#limit(call, options.timeoutMs ?? this.#limits.requestTimeoutMs);
      else reject(refused);
    });
  }

  /** A reply or an error frame. @throws BrinkError E_LINK_PROTOCOL */
  answered(frame: Frame): void {
    const call = this.#flying.get(frame.request);
    if (call === undefined) throw protocolError(`an answer to request ${frame.request}, which is not in flight`);
    this.#flying.delete(frame.request);
    const answer = frame.kind === KIND.error ? failureOf(frame) : this.#replyOf(frame);
    if (!call.settled) {
      this.#settle(call);
      if (answer instanceof BrinkError) call.reject(answer);
      else call.resolve(answer);
    }
    if (this.#waitingCount > 0) this.pump();
  }

  /** Sends what waits, as far as the window and the socket let it. */
  pump(): void {
    while (this.#waitingHead < this.#waiting.length) {
      const call = this.#waiting[this.#waitingHead] as Call;
      if (!call.settled) {
        if (!this.#fits(call.total)) break;
        this.#leave(call);
        this.#launch(call);
      }
      this.#waitingHead += 1;
    }
    if (this.#waitingHead === this.#waiting.length || this.#waitingHead > WAITING_SLACK) {
      this.#waiting = this.#waiting.slice(this.#waitingHead);
      this.#waitingHead = 0;
    }
  }

  close(error: BrinkError): void {
    this.#closed = error;
    const calls = [...this.#flying.values(), ...this.#waiting.slice(this.#waitingHead)];
    this.#flying.clear();
    this.#waiting = [];
    this.#waitingHead = this.#waitingCount = this.#waitingBytes = 0;
    for (const call of calls) {
      if (call.settled) continue;
      this.#settle(call);
      call.reject(error);
    }
  }

  #refusal({ total, header }: Call): BrinkError | undefined {
    const { service, frameBytesMax, window } = this.#info;
    if (this.#closed !== undefined) return this.#closed;
    if (header.byteLength > HEADER_BYTES_MAX) {
      return new BrinkError('E_TOO_LARGE', `a header of ${header.byteLength} bytes; at most ${HEADER_BYTES_MAX} fit`);
    }
    if (total > frameBytesMax) {
      return new BrinkError('E_TOO_LARGE', `a request of ${total} bytes; ${service} takes ${frameBytesMax}`);
    }
    return window === 0 ? new BrinkError('E_UNSUPPORTED', `${service} takes no requests`) : undefined;
  }

  #launchOrEnqueue(call: Call): BrinkError | undefined {
    if (this.#waitingCount === 0 && this.#fits(call.total)) {
      this.#launch(call);
      return undefined;
    }
    const { waitingMax, outgoingBytesMax } = this.#limits;
    const tooMany = this.#waitingCount >= waitingMax;
    if (tooMany || (this.#waitingCount > 0 && this.#waitingBytes + call.total > outgoingBytesMax)) {
      this.#stats.busy += 1;
      const { service, instance } = this.#info;
      const waiting = `${this.#waitingCount} requests (${this.#waitingBytes} bytes)`;
      return new BrinkError('E_BUSY', `${waiting} wait for ${service} ${instance}`);
    }
    this.#waiting.push(call);
    this.#waitingCount += 1;
    this.#waitingBytes += call.total;
    return undefined;
  }

  #fits(total: number): boolean {
    if (this.#flying.size >= this.#info.window) return false;
    const bytes = this.#outgoing.bytes;
    return bytes === 0 || bytes + total <= this.#limits.outgoingBytesMax;
  }

  #launch(call: Call): void {
    this.#lastId += 1;
    call.id = this.#lastId;
    call.framesBefore = this.#stats.framesIn;
    this.#flying.set(call.id, call);
    this.#outgoing.send(KIND.request, call.id, call.header, call.payloads, call.total);
    this.#stats.requestsOut += 1;
    forget(call);
  }

  #leave(call: Call): void {
    this.#waitingCount -= 1;
    this.#waitingBytes -= call.total;
  }

  #limit(call: Call, timeoutMs: number): void {
    const { signal } = call;
    if (timeoutMs > 0) {
      call.timer = this.#clock.setTimeout(() => this.#timeOut(call, timeoutMs), timeoutMs);
    }
    if (signal !== undefined) {
      call.onAbort = () => this.#giveUp(call, cancelled(signal));
      signal.addEventListener('abort', call.onAbort, { once: true });
    }
  }

  #timeOut(call: Call, timeoutMs: number): void {
    this.#stats.timeouts += 1;
    const { service, instance } = this.#info;
    this.#giveUp(call, new BrinkError('E_TIMEOUT', `no answer from ${service} ${instance} within ${timeoutMs} ms`));
    const { silentMs } = this.#limits;
    if (silentMs === 0 || timeoutMs < silentMs || call.id === 0 || call.framesBefore !== this.#stats.framesIn) return;
    this.#onSilent(new BrinkError('E_LINK_CLOSED', `not one frame from ${service} ${instance} for ${timeoutMs} ms`));
  }

  /** The caller gave up. Its place in the window is free only when the peer has answered. */
  #giveUp(call: Call, error: BrinkError): void {
    if (call.settled) return;
    this.#settle(call);
    if (call.id === 0) {
      this.#leave(call);
      forget(call);
      this.#compact();
    } else if (this.#closed === undefined) {
      this.#outgoing.sendHeader(KIND.cancel, call.id, NOTHING);
    }
    call.reject(error);
  }

  /** Calls that were given up while they waited must not pile up behind a window that does not move. */
  #compact(): void {
    if (this.#waiting.length - this.#waitingHead <= 2 * this.#waitingCount + WAITING_SLACK) return;
    this.#waiting = this.#waiting.slice(this.#waitingHead).filter((call) => !call.settled);
    this.#waitingHead = 0;
  }

  #settle(call: Call): void {
    call.settled = true;
    if (call.timer !== undefined) this.#clock.clearTimeout(call.timer);
    if (call.onAbort !== undefined) call.signal?.removeEventListener('abort', call.onAbort);
  }

  #replyOf(frame: Frame): LinkReply | BrinkError {
    const { body, payloadBytes } = headerOf(link.ReplySchema, frame);
    const payloads = payloadsOf(frame, payloadBytes);
    if (body.case !== undefined) return { body, payloads, release: releaseOf(frame, payloads) };
    return new BrinkError('E_UNSUPPORTED', `${this.#info.service} gave an answer of a kind that is not known here`);
  }
}

/** The socket has the bytes, or nobody wants them: a slow peer must not keep them twice. */
function forget(call: Call): void {
  call.header = NOTHING;
  call.payloads = NO_PAYLOADS;
}
