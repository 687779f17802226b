import { DECODE_CHILD, type DecodedPicture, type DecodeOptions, type PictureTarget } from '@brink/decode';
import { BrinkError, type link, type MessageInitShape } from '@brink/protocol';
import {
  type ChildMetrics,
  type Clock,
  createChild,
  type LinkMetrics,
  type LinkPeer,
  type LinkReply,
  type Logger,
  type Part,
} from '@brink/runtime';

export interface DecodedFrame extends DecodedPicture {
  readonly decodeMs: number;
  /** Part of it. */
  readonly maskMs: number;
  /** Nobody looks at its pictures any more: their memory serves the next one. Never needed. */
  release(): void;
}

/** What is done to a picture before any target is made of it. */
export type Treatment = Pick<DecodeOptions, 'masks' | 'denoise' | 'keepQuality'>;

export interface DecodeWorkerConfig {
  readonly name: string;
  readonly deadlineMs: number;
  readonly pixelsMax: number;
  /** What a child may take beyond what it holds when it is up. */
  readonly memoryBytesMax: number;
  readonly instance: string;
}

export interface DecodeWorkerDeps {
  logger: Logger;
  clock: Clock;
  random: () => number;
  childMetrics?: ChildMetrics;
  linkMetrics?: LinkMetrics;
  /** For tests: another module in place of the decoder. */
  module?: string;
}

/** One child that decodes. */
export interface DecodeWorker extends Part {
  readonly up: boolean;
  readonly inFlight: number;
  /** What it decodes now must have nothing beside it. */
  exclusive: boolean;
  decode(bytes: Uint8Array, targets: readonly PictureTarget[], treatment?: Treatment): Promise<DecodedFrame>;
}

const LINK_FRAME_BYTES_MAX = 64 * 1024 * 1024;

/** @param d.onUp is called when the child is up, for the first time or again */
export function createDecodeWorker(config: DecodeWorkerConfig, d: DecodeWorkerDeps & { onUp(): void }): DecodeWorker {
  /** From the hello until the first sign that it is gone: that comes before the process has ended. */
  let peer: LinkPeer | undefined;
  let inFlight = 0;
  const child = createChild(
    {
      name: config.name,
      module: d.module ?? DECODE_CHILD,
      env: { UV_THREADPOOL_SIZE: '1', VIPS_CONCURRENCY: '1' },
      stopMs: 1000,
      memoryBytesMax: config.memoryBytesMax,
      // Never given up for long: a device that sends poison must not take the cameras beside it down.
      restart: { max: 10_000, withinMs: 60_000, baseMs: 20, capMs: 2000 },
      link: {
        service: 'gateway',
        instance: config.instance,
        window: 4,
        frameBytesMax: LINK_FRAME_BYTES_MAX,
        // Loading libvips from a cold disk beside other services that start takes a while.
        helloTimeoutMs: 20_000,
      },
    },
    {
      logger: d.logger,
      clock: d.clock,
      random: d.random,
      ...(d.childMetrics === undefined ? {} : { metrics: d.childMetrics }),
      ...(d.linkMetrics === undefined ? {} : { linkMetrics: d.linkMetrics }),
      onUp,
    },
  );

  function onUp(next: LinkPeer): void {
    peer = next;
    void next.closed.then(() => {
      if (peer === next) peer = undefined;
    });
    d.onUp();
  }

  /** A picture's error goes on as it is; the end of the child is an attempt of everything that was in it. */
  function childError(on: LinkPeer, error: BrinkError): BrinkError {
    if (error.code !== 'E_TIMEOUT' && error.code !== 'E_LINK_CLOSED') return error;
    if (peer === on) peer = undefined;
    if (error.code === 'E_LINK_CLOSED') {
      return new BrinkError('E_CRASHED', 'the decode child ended during the decode', { cause: error });
    }
    child.kill('deadline');
    return new BrinkError('E_TIMEOUT', `decoding took longer than ${config.deadlineMs} ms`, { cause: error });
  }

  return {
    exclusive: false,
    get up() {
      return peer !== undefined;
    },
    get inFlight() {
      return inFlight;
    },
    async decode(bytes, targets, treatment) {
      const on = peer;
      if (on === undefined) throw new BrinkError('E_UNAVAILABLE', 'the decode child is not up');
      inFlight += 1;
      try {
        const body = { case: 'decode' as const, value: decodeWords(config.pixelsMax, targets, treatment) };
        return decodedOf(await on.request(body, [bytes], { timeoutMs: config.deadlineMs }));
      } catch (reason) {
        throw childError(on, BrinkError.from(reason));
      } finally {
        inFlight -= 1;
      }
    },
    start: (signal) => child.start(signal),
    async stop() {
      peer = undefined;
      await child.stop();
    },
  };
}

function decodeWords(
  pixelsMax: number,
  targets: readonly PictureTarget[],
  { masks = [], denoise, keepQuality = 0 }: Treatment = {},
): MessageInitShape<typeof link.DecodeSchema> {
  return {
    pixelsMax,
    targets: targets.map(({ region, ...target }) =>
      region === undefined ? target : { ...target, region: [...region] },
    ),
    masks: masks.map((points) => ({ points: [...points] })),
    keepQuality,
    ...(denoise === undefined ? {} : { denoise: { median: denoise.median ?? 0, gaussian: denoise.gaussian ?? 0 } }),
  };
}

function decodedOf({ body, payloads, release }: LinkReply): DecodedFrame {
  if (body.case !== 'decoded') {
    throw new BrinkError('E_LINK_PROTOCOL', `the decode child answered "${body.case}"; expected "decoded"`);
  }
  const { type, width, height, transforms, decodeMs, maskMs, kept } = body.value;
  return {
    type: type as DecodedFrame['type'],
    width,
    height,
    decodeMs,
    maskMs,
    release,
    // A copy: the payloads of one reply lie in one piece of memory, and this one is kept for longer.
    kept: kept ? new Uint8Array(payloads[transforms.length] as Uint8Array) : undefined,
    pictures: transforms.map((transform, i) => ({ pixels: payloads[i] as Uint8Array, transform })),
  };
}
