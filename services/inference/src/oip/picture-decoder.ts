import { DECODE_CHILD, PIXELS_MAX_DEFAULT, type PictureTarget } from '@brink/decode';
import { BrinkError } from '@brink/protocol';
import {
  type ChildMetrics,
  type Clock,
  createChild,
  type LinkMetrics,
  type LinkPeer,
  type Logger,
} from '@brink/runtime';
import type { Metrics } from '../metrics.ts';

/** Turns picture files into pixels, in a child process of its own that is started when the first one comes. */
export interface PictureDecoder {
  /**
   * @returns uint8 [height, width, channels]
   * @throws BrinkError E_IMAGE_…, E_SHAPE; E_CRASHED, E_TIMEOUT where the child ended with this picture; E_BUSY, E_CANCELLED
   */
  decode(file: Uint8Array, target: PictureTarget, signal: AbortSignal): Promise<Uint8Array>;
  stop(): Promise<void>;
}

const DECODE_MS_MAX = 5000;
const UP_MS_MAX = 10_000;
const WAITING_MAX = 512;
const LINK_FRAME_BYTES_MAX = 64 * 1024 * 1024;

/**
 * One picture at a time, so that whatever takes the child along is the picture that it had. libvips decodes one at a time there
 * anyway. @param o module: for tests, another one in place of the decoder
 */
export function createPictureDecoder(
  o: { instance: string; module?: string; decodeMsMax?: number },
  d: {
    logger: Logger;
    clock: Clock;
    random: () => number;
    metrics: Pick<Metrics, 'pictures'>;
    childMetrics: ChildMetrics;
    linkMetrics: LinkMetrics;
  },
): PictureDecoder {
  const decodeMsMax = o.decodeMsMax ?? DECODE_MS_MAX;
  let up = Promise.withResolvers<LinkPeer>();
  let started: Promise<void> | undefined;
  let stopped = false;
  let waiting = 0;
  let last: Promise<unknown> = Promise.resolve();

  const child = createChild(
    {
      name: 'oip-decode',
      module: o.module ?? DECODE_CHILD,
      env: { UV_THREADPOOL_SIZE: '1', VIPS_CONCURRENCY: '1' },
      stopMs: 1000,
      // A client that sends poison must not take pictures away from the others.
      restart: { max: 10_000, withinMs: 60_000, baseMs: 20, capMs: 2000 },
      link: {
        service: 'inference',
        instance: o.instance,
        window: 2,
        frameBytesMax: LINK_FRAME_BYTES_MAX,
        helloTimeoutMs: 20_000,
      },
    },
    { ...d, metrics: d.childMetrics, onUp: (peer) => greet(peer) },
  );

  function greet(peer: LinkPeer): void {
    const own = up;
    own.resolve(peer);
    void peer.closed.then(() => {
      if (up === own) up = Promise.withResolvers();
    });
  }

  /** A child that is being started again is waited for, within limits. */
  async function whenUp(): Promise<LinkPeer> {
    started ??= child.start(new AbortController().signal).catch((reason: unknown) => {
      if (!stopped) d.logger.error({ err: reason }, 'the child that decodes pictures did not start');
    });
    const late = Promise.withResolvers<never>();
    const timer = d.clock.setTimeout(
      () => late.reject(new BrinkError('E_UNAVAILABLE', 'the child that decodes pictures is not up')),
      UP_MS_MAX,
    );
    return Promise.race([up.promise, late.promise]).finally(() => d.clock.clearTimeout(timer));
  }

  async function decodeNow(file: Uint8Array, target: PictureTarget, signal: AbortSignal): Promise<Uint8Array> {
    if (signal.aborted || stopped) throw new BrinkError('E_CANCELLED', 'nobody waits for the picture any more');
    const peer = await whenUp();
    try {
      const { region: _, ...whole } = target;
      const body = { case: 'decode' as const, value: { pixelsMax: PIXELS_MAX_DEFAULT, targets: [whole] } };
      const reply = await peer.request(body, [file], { timeoutMs: decodeMsMax });
      const [pixels] = reply.payloads;
      if (pixels !== undefined) return pixels;
      throw new BrinkError('E_LINK_PROTOCOL', `the decode child answered "${reply.body.case}" without pixels`);
    } catch (reason) {
      const error = BrinkError.from(reason);
      if (error.code === 'E_LINK_CLOSED') {
        await peer.closed;
        throw new BrinkError('E_CRASHED', 'the child that decodes pictures ended with it', { cause: error });
      }
      if (error.code === 'E_TIMEOUT') {
        child.kill('deadline');
        await peer.closed;
        throw new BrinkError('E_TIMEOUT', `decoding took longer than ${decodeMsMax} ms`, { cause: error });
      }
      throw error;
    }
  }

  return {
    async decode(file, target, signal) {
      if (waiting >= WAITING_MAX) throw new BrinkError('E_BUSY', `${WAITING_MAX} pictures wait to be decoded`);
      waiting += 1;
      d.metrics.pictures.set(waiting);
      const mine = last.then(() => decodeNow(file, target, signal));
      last = mine.catch(() => {});
      return mine.finally(() => {
        waiting -= 1;
        d.metrics.pictures.set(waiting);
      });
    },
    async stop() {
      stopped = true;
      if (started !== undefined) await child.stop();
    },
  };
}
