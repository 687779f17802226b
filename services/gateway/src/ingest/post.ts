import { BrinkError, formatUnitId, isBoot, isName, type link } from '@brink/protocol';
import { type Clock, type HandlerContext, wait } from '@brink/runtime';
import { type Frame, unitKey } from './frame.ts';
import type { Ingest } from './ingest.ts';
import type { PipelinePlan } from './plan.ts';

const WAIT_MS_MAX = 60_000;

/**
 * A frame that came in over HTTP, handed on by control: the same way in as one from the broker. With `wait_ms` the answer
 * comes when the fate of every unit is known, or after this time with what is known by then.
 */
export function createPostFrame(d: { ingest: Ingest; clock: Clock }) {
  return async (request: link.PostFrame, [payload = Buffer.alloc(0)]: Buffer[], { signal }: HandlerContext) => {
    const watch = createWatch();
    const frame = await d.ingest.post({
      device: named('device', request.device),
      stream: named('stream', request.stream),
      id: numbered(request),
      payload,
      contentType: request.contentType,
      traceparent: request.traceparent === '' ? undefined : request.traceparent,
      onSettled: watch.settle,
    });
    const waitMs = Math.min(request.waitMs, WAIT_MS_MAX);
    if (waitMs > 0) await watch.known(frame, waitMs, d.clock, signal);
    const { boot, seq } = frame.id;
    return { body: { case: 'postedFrame' as const, value: { boot, seq: BigInt(seq), units: watch.fates(frame) } } };
  };
}

/** The fates of one frame's units as they become known. */
function createWatch() {
  const fates = new Map<string, 'committed' | 'dropped'>();
  let changed = Promise.withResolvers<void>();
  const isOver = (frame: Frame) => isCut(frame) && fates.size >= unitsOf(frame).length;

  return {
    settle(pipeline: PipelinePlan | undefined, part: number, fate: 'committed' | 'dropped'): void {
      if (pipeline !== undefined) fates.set(unitKey(pipeline.name, part), fate);
      changed.resolve();
    },
    async known(frame: Frame, waitMs: number, clock: Clock, signal: AbortSignal): Promise<void> {
      const over = new AbortController();
      const timeout = wait(waitMs, clock, AbortSignal.any([signal, over.signal])).then(
        () => true,
        () => true,
      );
      while (!isOver(frame)) {
        changed = Promise.withResolvers();
        if (await Promise.race([changed.promise.then(() => false), timeout])) return;
      }
      over.abort();
    },
    fates: (frame: Frame) =>
      unitsOf(frame).map(({ pipeline, part }) => ({
        id: formatUnitId({ ...frame.id, part, pipeline: pipeline.name }),
        fate: fates.get(unitKey(pipeline.name, part)) ?? 'pending',
      })),
  };
}

/** Whether it is known which units it has. */
const isCut = ({ plan, units }: Frame) => plan.samples === undefined || units !== undefined;

/** Of sounds and signals the windows that it completed; of all others one per pipeline. */
const unitsOf = ({ plan, units = [] }: Frame) =>
  plan.samples === undefined ? plan.pipelines.map((pipeline) => ({ pipeline, part: 0 })) : units;

function named(what: string, text: string): string {
  if (!isName(text))
    throw new BrinkError('E_NAME', `${what} "${text.slice(0, 100)}"; expected [a-z0-9][a-z0-9-]{0,63}`);
  return text;
}

function numbered({ boot, seq }: link.PostFrame): { boot: string; seq: number } | undefined {
  if (boot === '' && seq === 0n) return undefined;
  if (isBoot(boot) && seq > 0n && seq <= BigInt(Number.MAX_SAFE_INTEGER)) return { boot, seq: Number(seq) };
  throw new BrinkError(
    'E_BAD_REQUEST',
    `boot "${boot.slice(0, 40)}", seq ${seq}; expected a boot as k3v9 and a number from 1, or neither`,
  );
}
