import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { BrinkError, link } from '@brink/protocol';
import type { Clock } from '../clock.ts';
import { createAnswers, encodeFailure } from './answers.ts';
import { createFrameDecoder, type Frame, HEADER_BYTES_MAX, KIND, protocolError } from './frame.ts';
import { acceptHello, encodeHello } from './hello.ts';
import type { LinkHandlers, LinkOptions, LinkPeer, PeerInfo, RequestCase } from './messages.ts';
import type { LinkMetrics } from './metrics.ts';
import { createOutgoing } from './outgoing.ts';
import { createRequests, failureOf, headerOf } from './requests.ts';
import { createLinkStats } from './stats.ts';

const MIB = 1024 * 1024;
/** How long a closing link waits for the peer to take the last bytes. */
const LINGER_MS = 500;

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
  const { clock } = d;
  const stats = createLinkStats();
  const outgoingBytesMax = Math.max(
    o.outgoingBytesMax ?? Math.max(16 * MIB, 2 * o.frameBytesMax),
    o.frameBytesMax + MIB,
  );
  const hello = Promise.withResolvers<LinkPeer>();
  const down = Promise.withResolvers<BrinkError>();
  const outgoing = createOutgoing(
    duplex,
    { stallMs: o.stallMs ?? 30_000 },
    { clock, stats, onStall: (error) => shut(error, false) },
  );
  // A peer without a hello gets room for one, not for frame_bytes_max.
  const decoder = createFrameDecoder(HEADER_BYTES_MAX + 12, onFrame);
  const helloTimeoutMs = o.helloTimeoutMs ?? 5000;
  const helloTimer = clock.setTimeout(
    () => shut(new BrinkError('E_TIMEOUT', `no hello from the peer within ${helloTimeoutMs} ms`), true),
    helloTimeoutMs,
  );
  let ready:
    | { requests: ReturnType<typeof createRequests>; answers: ReturnType<typeof createAnswers>; untrack?: () => void }
    | undefined;
  let over: BrinkError | undefined;

  tune(duplex);
  duplex.on('data', onData);
  duplex.on('drain', onDrain);
  duplex.on('error', (error) => shut(new BrinkError('E_LINK_CLOSED', error.message, { cause: error }), false));
  duplex.on('end', onEnd);
  duplex.on('close', onEnd);
  if (o.expectToken === undefined) sayHello();

  function sayHello(): void {
    outgoing.sendHeader(KIND.hello, 0, encodeHello(o));
  }

  function onEnd(): void {
    const where = decoder.midFrame ? ' in the middle of a frame' : '';
    shut(
      new BrinkError(
        'E_LINK_CLOSED',
        `the peer closed the link${where}${ready === undefined ? ' before its hello' : ''}`,
      ),
      false,
    );
  }

  function onData(chunk: Buffer): void {
    stats.bytesIn += chunk.byteLength;
    try {
      decoder.push(chunk);
    } catch (error) {
      shut(BrinkError.from(error), true);
      return;
    }
    // Its answers are refused at 1 ×, its bytes left in the kernel at 2 ×; no progress at all ends in onStall.
    if (over === undefined && outgoing.bytes > 2 * outgoingBytesMax) duplex.pause();
  }

  function onDrain(): void {
    if (over !== undefined) return;
    if (duplex.isPaused()) duplex.resume();
    ready?.requests.pump();
  }

  function onFrame(frame: Frame): boolean {
    stats.framesIn += 1;
    if (frame.kind === KIND.error && frame.request === 0) shut(failureOf(frame), false);
    else if (ready === undefined) greeted(frame);
    else if (frame.kind === KIND.request) ready.answers.asked(frame);
    else if (frame.kind === KIND.reply || frame.kind === KIND.error) ready.requests.answered(frame);
    else if (frame.kind === KIND.cancel) ready.answers.cancelled(frame);
    else throw protocolError('a second hello');
    return over === undefined;
  }

  function greeted(frame: Frame): void {
    if (frame.kind !== KIND.hello) throw protocolError(`a frame of kind ${frame.kind} before the hello`);
    const info = acceptHello(headerOf(link.HelloSchema, frame), o);
    if (o.expectToken !== undefined) sayHello();
    clock.clearTimeout(helloTimer);
    decoder.frameBytesMax = o.frameBytesMax;
    const peer = open(info);
    d.onReady?.(peer);
    hello.resolve(peer);
  }

  function open(info: PeerInfo): LinkPeer {
    const requests = createRequests(
      { requestTimeoutMs: o.requestTimeoutMs ?? 60_000, waitingMax: o.waitingMax ?? 1024, outgoingBytesMax },
      { outgoing, clock, stats, info },
    );
    const peer: LinkPeer = {
      request: requests.request,
      info,
      get inFlight() {
        return requests.inFlight;
      },
      get waiting() {
        return requests.waiting;
      },
      closed: down.promise,
      close: () => shut(new BrinkError('E_LINK_CLOSED', 'closed on this side'), false),
    };
    const answers = createAnswers(
      { window: o.window, outgoingBytesMax },
      { handlers: d.handlers, outgoing, stats, info, peer, onHandlerError: d.onHandlerError },
    );
    ready = { requests, answers };
    const untrack = d.metrics?.track(info, {
      stats,
      inFlight: () => requests.inFlight,
      waiting: () => requests.waiting,
      running: () => answers.running,
    });
    if (untrack !== undefined) ready.untrack = untrack;
    return peer;
  }

  /** @param tell whether the peer is told why */
  function shut(error: BrinkError, tell: boolean): void {
    if (over !== undefined) return;
    over = error;
    clock.clearTimeout(helloTimer);
    ready?.requests.close(error);
    ready?.answers.close(error);
    if (tell && duplex.writable) outgoing.sendHeader(KIND.error, 0, encodeFailure(error));
    outgoing.stop();
    ready?.untrack?.();
    if (ready === undefined) d.metrics?.refused(error);
    duplex.off('data', onData);
    finish(duplex, clock);
    hello.reject(error);
    down.resolve(error);
  }

  return hello.promise;
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
