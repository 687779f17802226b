import type { Socket } from 'node:net';
import { BrinkError } from '@brink/protocol/link';
import type { Clock } from '../clock.ts';
import type { Logger } from '../logger.ts';
import type { Part } from '../part.ts';
import { createBackoff, wait } from '../retry.ts';
import { formatLinkAddress, type LinkAddress } from './address.ts';
import type { LinkHandlers, LinkOptions, LinkPeer } from './messages.ts';
import type { LinkMetrics } from './metrics.ts';
import { createLink } from './peer.ts';
import { createSocket } from './reading.ts';

export interface LinkClient extends Part {
  readonly peer: LinkPeer | undefined;
  /** Why the link is down, for /readyz; undefined while it is up. */
  readonly problem: string | undefined;
  /** As `LinkPeer.request`; E_LINK_CLOSED while the link is down. */
  request: LinkPeer['request'];
}

/** Dials a link and keeps it up, with full jitter between attempts. `start` does not wait for the peer. */
export function createLinkClient(
  o: LinkOptions & { connect: LinkAddress; baseMs?: number; capMs?: number },
  d: {
    handlers: LinkHandlers;
    logger: Logger;
    clock: Clock;
    random: () => number;
    metrics?: LinkMetrics;
    /** Called before any request of the peer is handled. */
    onUp?: (peer: LinkPeer) => void;
    onDown?: (error: BrinkError) => void;
  },
): LinkClient {
  const where = formatLinkAddress(o.connect);
  const logger = d.logger.child({ link: where });
  const { expectToken: _never, token, ...shared } = o;
  // A token goes over TCP only; a unix socket is guarded by its mode.
  const options: LinkOptions = token === undefined || 'path' in o.connect ? shared : { ...shared, token };
  const backoff = createBackoff({ baseMs: o.baseMs ?? 100, capMs: o.capMs ?? 5000 }, d);
  let peer: LinkPeer | undefined;
  let problem: string | undefined = `link to ${where} is not up yet`;
  let wasUp = false;
  let stopping: AbortController | undefined;
  let running: Promise<void> | undefined;

  async function attempt(signal: AbortSignal): Promise<BrinkError> {
    const socket = await dial(o.connect, options.helloTimeoutMs ?? 5000, d.clock, signal);
    const up = await createLink(socket, options, {
      handlers: d.handlers,
      clock: d.clock,
      ...(d.metrics === undefined ? {} : { metrics: d.metrics }),
      onReady(ready) {
        peer = ready;
        problem = undefined;
        backoff.up();
        logger.info({ peer: ready.info.service, instance: ready.info.instance }, 'link up');
        d.onUp?.(ready);
      },
      onHandlerError: (error, kind) => logger.error({ err: error, kind }, 'handler failed'),
    });
    const onAbort = () => up.close();
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) up.close();
    const error = await up.closed;
    signal.removeEventListener('abort', onAbort);
    return error;
  }

  /** Services start side by side: a peer that was never there is not lost yet. Told once per reason. */
  function tell(error: BrinkError): void {
    const next = `link to ${where}: ${error.code}: ${error.detail}`;
    if (next === problem) return;
    problem = next;
    const fields = { code: error.code, detail: error.detail };
    if (wasUp) logger.warn(fields, 'link down');
    else logger.info(fields, 'no link yet');
  }

  async function keepUp(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const error = await attempt(signal).catch((reason: unknown) => BrinkError.from(reason, 'E_LINK_CLOSED'));
      if (peer !== undefined) {
        wasUp = true;
        peer = undefined;
        d.onDown?.(error);
      }
      if (signal.aborted) return;
      tell(error);
      await wait(backoff.next(), d.clock, signal).catch(() => {});
    }
  }

  return {
    get peer() {
      return peer;
    },
    get problem() {
      return problem;
    },
    request(body, payloads, options) {
      if (peer === undefined)
        return Promise.reject(new BrinkError('E_LINK_CLOSED', problem ?? `link to ${where} is down`));
      return peer.request(body, payloads, options);
    },
    async start() {
      stopping = new AbortController();
      running = keepUp(stopping.signal);
    },
    async stop() {
      stopping?.abort();
      await running;
      problem = `link to ${where} was stopped`;
    },
  };
}

function dial(to: LinkAddress, timeoutMs: number, clock: Clock, signal: AbortSignal): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = createSocket({});
    if ('path' in to) socket.connect({ path: to.path });
    else socket.connect(to);
    const done = (error?: BrinkError) => {
      clock.clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.removeAllListeners('connect').removeAllListeners('error');
      if (error === undefined) {
        resolve(socket);
        return;
      }
      socket.on('error', () => {}).destroy();
      reject(error);
    };
    const onAbort = () => done(new BrinkError('E_CANCELLED', 'stopped'));
    const timer = clock.setTimeout(
      () => done(new BrinkError('E_TIMEOUT', `no connection within ${timeoutMs} ms`)),
      timeoutMs,
    );
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => done());
    socket.once('error', (error) => done(new BrinkError('E_LINK_CLOSED', error.message, { cause: error })));
  });
}
