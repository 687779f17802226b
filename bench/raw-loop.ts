import { fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import type { BenchModel, Payload } from './site.ts';
import { framesOf } from './site.ts';

export interface RawLoopSetup {
  readonly modelPath: string;
  readonly payload: Payload;
  readonly batchMax: number;
  /** base64: fork's messages are JSON */
  readonly frames: readonly string[];
}
export interface RawLoopRequest {
  readonly ms: number;
}
export type RawLoopReply = { ready: true; batch: number } | { fps: number };

/** Starts the baseline and lets it find its best batch. */
export async function startRawLoop(options: { model: BenchModel; payload: Payload }) {
  const child = fork(join(import.meta.dirname, 'raw-loop-child.ts'), {
    env: { ...process.env, ORT_DISABLE_TELEMETRY: '1' },
  });
  const ended = once(child, 'exit').then(([code]) => {
    throw new Error(`the raw loop ended with ${code}; its lines above say why`);
  });
  ended.catch(() => {});
  const answer = async (): Promise<RawLoopReply> => {
    const message = once(child, 'message', { signal: AbortSignal.timeout(60_000) });
    const [reply] = (await Promise.race([message, ended])) as [RawLoopReply];
    return reply;
  };
  const frames = await framesOf(options.payload);
  const { wirePath, batchMax } = options.model;
  child.send({
    modelPath: wirePath,
    payload: options.payload,
    batchMax,
    frames: frames.map((frame) => Buffer.from(frame).toString('base64')),
  } satisfies RawLoopSetup);
  const ready = await answer();

  return {
    batch: 'batch' in ready ? ready.batch : 0,
    async framesPerSecond(ms: number): Promise<number> {
      child.send({ ms } satisfies RawLoopRequest);
      const reply = await answer();
      return 'fps' in reply ? reply.fps : 0;
    },
    async [Symbol.asyncDispose]() {
      child.disconnect();
      if (child.exitCode === null) await once(child, 'exit');
    },
  };
}
