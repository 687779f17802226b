import { startChild } from './child.ts';
import type { BenchModel, Payload } from './site.ts';
import { framesOf } from './site.ts';

export interface RawLoopSetup {
  readonly modelPath: string;
  readonly payload: Payload;
  readonly batchMax: number;
  /** 0: the best one up to batchMax */
  readonly batch: number;
  /** base64: fork's messages are JSON */
  readonly frames: readonly string[];
}
export interface RawLoopRequest {
  readonly ms: number;
}
export type RawLoopReply = { ready: true; batch: number } | { fps: number; p90: number };

/** Starts the baseline and lets it find its best batch, unless it is to take a certain one. */
export async function startRawLoop(options: { model: BenchModel; payload: Payload; batch?: number }) {
  const child = startChild<RawLoopReply>('raw-loop-child.ts');
  const frames = await framesOf(options.payload);
  const { wirePath, batchMax } = options.model;
  const ready = await child.ask({
    modelPath: wirePath,
    payload: options.payload,
    batchMax,
    batch: options.batch ?? 0,
    frames: frames.map((frame) => Buffer.from(frame).toString('base64')),
  } satisfies RawLoopSetup);

  return {
    batch: 'batch' in ready ? ready.batch : 0,
    async framesPerSecond(ms: number): Promise<number> {
      const reply = await child.ask({ ms } satisfies RawLoopRequest);
      return 'fps' in reply ? reply.fps : 0;
    },
    /** ms that nine of ten batches took at most. */
    async p90(ms: number): Promise<number> {
      const reply = await child.ask({ ms } satisfies RawLoopRequest);
      return 'p90' in reply ? reply.p90 : 0;
    },
    [Symbol.asyncDispose]: child[Symbol.asyncDispose],
  };
}
