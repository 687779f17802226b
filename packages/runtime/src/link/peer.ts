import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BrinkError, link } from '@brink/protocol/link';
import type { Clock, Timer } from '../clock.ts';
import { Answers } from './answers.ts';
import { type Frame, FrameDecoder, HEADER_BYTES_MAX, KIND, PREFIX_BYTES, protocolError } from './frame.ts';
import { encodeFailure, failureOf, headerOf } from './headers.ts';
import { acceptHello, encodeHello } from './hello.ts';
import type { LinkHandlers, LinkOptions, LinkPeer, PeerInfo, RequestCase, RequestOptions } from './messages.ts';
import type { LinkMetrics } from './metrics.ts';
import { createOutgoing, type Outgoing } from './outgoing.ts';
import { Requests } from './requests.ts';
import { createLinkStats } from './stats.ts';

const MIB = 1024 * 1024;
const HELLO_FRAME_BYTES_MAX = PREFIX_BYTES + HEADER_BYTES_MAX;
const NO_PAYLOADS: Uint8Array[] = [];
const NO_OPTIONS: RequestOptions = {};
/** How long a closing link waits for the peer to take the last bytes. */
const LINGER_MS = 500;
/** TCP alone may hold on to a host that vanished with our bytes un-acked for a quarter of an hour. */
const SILENT_MS = 10_000;

export interface LinkDependencies {
  handlers: LinkHandlers;
  clock: Clock;
  metrics?: LinkMetrics;
  /** Called once, before any request of the peer is handled. */
  onReady?: (peer: LinkPeer) => void;
  /** A handler threw something that is not in the error table: a bug, worth its stack. */
  onHandlerError?: (error: unknown, kind: RequestCase) => void;
}

/**
 * Speaks the framed link (CONTRACTS §6) over a connected stream, both ways. The stream belongs to the link from here on.
 * Limits are checked before anything is allocated; the first thing that is not a frame of the link closes it.
 * @returns after both hellos
 * @throws BrinkError E_LINK_VERSION, E_LINK_TOKEN, E_LINK_PROTOCOL, E_LINK_CLOSED, E_TIMEOUT (no hello)
 */
export function createLink(duplex: Duplex, o: LinkOptions, d: LinkDependencies): Promise<LinkPeer> {
  return new Link(duplex, o, d).hello;
}

class Link {
  readonly #duplex: Duplex;
  readonly #o: LinkOptions;
  readonly #d: LinkDependencies;
  readonly #stats = createLinkStats();
  readonly #outgoingBytesMax: number;
  readonly #outgoing: Outgoing;
  readonly #decoder: FrameDecoder;
  readonly #hello = Promise.withResolvers<LinkPeer>();
  readonly #down = Promise.withResolvers<BrinkError>();
  readonly #helloTimer: Timer;
  readonly #onData: (chunk: Buffer) => void;
  #open: { requests: Requests; answers: Answers; untrack: (() => void) | undefined } | undefined;
  #over: BrinkError | undefined;

  constructor(duplex: Duplex, o: LinkOptions, d: LinkDependencies) {
    this.#duplex = duplex;
    this.#o = o;
    this.#d = d;
    const { clock } = d;
    const wanted = o.outgoingBytesMax ?? Math.max(16 * MIB, 2 * o.frameBytesMax);
    // Less than a frame and a socket's own mark together, and 'drain' might not come while a frame waits for room.
    this.#outgoingBytesMax = Math.max(wanted, o.frameBytesMax + MIB);
    this.#outgoing = createOutgoing(
      duplex,
      { stallMs: o.stallMs ?? 30_000 },
      { clock, stats: this.#stats, onStall: (error) => this.#shut(error, false) },
    );
    // A peer without a hello gets room for one, not for frame_bytes_max.
    this.#decoder = new FrameDecoder(HELLO_FRAME_BYTES_MAX, (frame) => this.#take(frame));
    this.#helloTimer = this.#limitHello(o.helloTimeoutMs ?? 5000);
    this.#onData = (chunk) => this.#read(chunk);
    tune(duplex);
    duplex.on('data', this.#onData);
    duplex.on('drain', () => this.#drained());
    duplex.on('error', (error) => this.#shut(new BrinkError('E_LINK_CLOSED', error.message, { cause: error }), false));
    duplex.on('end', () => this.#ended());
    duplex.on('close', () => this.#ended());
    // An accepted socket comes paused (pauseOnConnect).
    duplex.resume();
    if (o.expectToken === undefined) this.#greet();
  }

  get hello(): Promise<LinkPeer> {
    return this.#hello.promise;
  }

  #greet(): void {
    this.#outgoing.sendHeader(KIND.hello, 0, encodeHello(this.#o));
  }

  #limitHello(ms: number): Timer {
    return this.#d.clock.setTimeout(() => {
      this.#shut(new BrinkError('E_TIMEOUT', `no hello from the peer within ${ms} ms`), true);
    }, ms);
  }

  #ended(): void {
    const where = this.#decoder.midFrame ? ' in the middle of a frame' : '';
    const when = this.#open === undefined ? ' before its hello' : '';
    this.#shut(new BrinkError('E_LINK_CLOSED', `the peer closed the link${where}${when}`), false);
  }

  #read(chunk: Buffer): void {
    this.#stats.bytesIn += chunk.byteLength;
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      this.#shut(BrinkError.from(error), true);
      return;
    }
    // A peer that asks and does not read: refused at 1 × (answers.ts), left in the kernel at 2 ×, given up when it takes nothing.
    if (this.#outgoing.bytes > 2 * this.#outgoingBytesMax) this.#duplex.pause();
  }

  #drained(): void {
    if (this.#over !== undefined) return;
    if (this.#duplex.isPaused()) this.#duplex.resume();
    this.#open?.requests.pump();
  }

  /** Returns false when the link is over. */
  #take(frame: Frame): boolean {
    this.#stats.framesIn += 1;
    if (frame.kind === KIND.error && frame.request === 0) this.#shut(failureOf(frame), false);
    else if (this.#open === undefined) this.#greeted(frame);
    else if (frame.kind === KIND.request) this.#open.answers.asked(frame);
    else if (frame.kind === KIND.reply || frame.kind === KIND.error) this.#open.requests.answered(frame);
    else if (frame.kind === KIND.cancel) this.#open.answers.cancelled(frame);
    else throw protocolError('a second hello');
    return this.#over === undefined;
  }

  #greeted(frame: Frame): void {
    if (frame.kind !== KIND.hello) throw protocolError(`a frame of kind ${frame.kind} before the hello`);
    const info = acceptHello(headerOf(link.HelloSchema, frame), this.#o);
    if (this.#o.expectToken !== undefined) this.#greet();
    this.#d.clock.clearTimeout(this.#helloTimer);
    this.#decoder.frameBytesMax = this.#o.frameBytesMax;
    const peer = this.#begin(info);
    this.#d.onReady?.(peer);
    this.#hello.resolve(peer);
  }

  #begin(info: PeerInfo): LinkPeer {
    const { handlers, clock, metrics, onHandlerError } = this.#d;
    const { window, requestTimeoutMs = 60_000, waitingMax = 1024 } = this.#o;
    const outgoingBytesMax = this.#outgoingBytesMax;
    const outgoing = this.#outgoing;
    const stats = this.#stats;
    const silentMs = overNetwork(this.#duplex) ? SILENT_MS : 0;
    const requests = new Requests(
      { requestTimeoutMs, waitingMax, outgoingBytesMax, silentMs },
      { outgoing, clock, stats, info, onSilent: (error) => this.#shut(error, false) },
    );
    const peer: LinkPeer = {
      request: (body, payloads = NO_PAYLOADS, options = NO_OPTIONS) => requests.request(body, payloads, options),
      info,
      get inFlight() {
        return requests.inFlight;
      },
      get waiting() {
        return requests.waiting;
      },
      closed: this.#down.promise,
      close: () => this.#shut(new BrinkError('E_LINK_CLOSED', 'closed on this side'), false),
    };
    const answers = new Answers(
      { window, outgoingBytesMax },
      { handlers, outgoing, stats, info, peer, onHandlerError },
    );
    const untrack = metrics?.track(info, {
      stats,
      inFlight: () => requests.inFlight,
      waiting: () => requests.waiting,
      running: () => answers.running,
    });
    this.#open = { requests, answers, untrack };
    return peer;
  }

  /** @param tell whether the peer is told why */
  #shut(error: BrinkError, tell: boolean): void {
    if (this.#over !== undefined) return;
    this.#over = error;
    const { clock, metrics } = this.#d;
    clock.clearTimeout(this.#helloTimer);
    this.#open?.requests.close(error);
    this.#open?.answers.close(error);
    if (tell && this.#duplex.writable) this.#outgoing.sendHeader(KIND.error, 0, encodeFailure(error));
    this.#outgoing.stop();
    if (this.#open === undefined) metrics?.refused(error);
    else this.#open.untrack?.();
    this.#duplex.off('data', this.#onData);
    finish(this.#duplex, clock);
    this.#hello.reject(error);
    this.#down.resolve(error);
  }
}

/** Lets the last bytes go, discards what still comes, and is gone after LINGER_MS at the latest. */
function finish(duplex: Duplex, clock: Clock): void {
  if (duplex.destroyed) return;
  const timer = clock.setTimeout(() => duplex.destroy(), LINGER_MS);
  duplex.once('close', () => clock.clearTimeout(timer));
  duplex.resume();
  duplex.end();
}

/** Small frames must not wait for more (Nagle), and a host that vanished must be noticed (20 s: 10 idle, then 10 probes of 1 s). */
function tune(duplex: Duplex): void {
  if (!('setNoDelay' in duplex)) return;
  (duplex as Socket).setNoDelay(true).setKeepAlive(true, 10_000);
}

const overNetwork = (duplex: Duplex) => (duplex as Socket).remoteFamily !== undefined;
