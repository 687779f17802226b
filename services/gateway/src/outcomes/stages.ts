import { createPlainHistogram, type Registry } from '@brink/runtime';
import type { Ending, Unit } from '../decide/unit.ts';

/**
 * Where the time of a unit goes: `queue` waiting for its turn here, `decode` and `mask` in the decode child, `window` making tensors of
 * samples, `run_queue` waiting at inference, `infer` its run, `decode_output` making a result of what came out, `commit` from its
 * outcome to the ledger's COMMIT.
 */
export type Stage = 'queue' | 'decode' | 'mask' | 'window' | 'run_queue' | 'infer' | 'decode_output' | 'commit';

/** From a window that is a view of samples to an outcome that waited for control. */
const BUCKETS = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];

type Timers = Readonly<Record<Stage, { observe(seconds: number): void }>>;

export function createStages(registry: Registry) {
  const histogram = createPlainHistogram(registry, {
    name: 'brink_gateway_stage_seconds',
    help: 'Time of units in each stage, by pipeline',
    buckets: BUCKETS,
    labelNames: ['stage', 'pipeline'],
  });
  const timers = new Map<string, Timers>();

  /** Pipelines are few: those that any configuration had since the start. */
  function timersOf(pipeline: string): Timers {
    let known = timers.get(pipeline);
    if (known === undefined) {
      const of = (stage: Stage) => histogram.of({ stage, pipeline });
      known = {
        ...{ queue: of('queue'), decode: of('decode'), mask: of('mask'), window: of('window') },
        ...{ run_queue: of('run_queue'), infer: of('infer') },
        ...{ decode_output: of('decode_output'), commit: of('commit') },
      };
      timers.set(pipeline, known);
    }
    return known;
  }

  return {
    /** A unit has ended; what it went through is known. */
    ended({ frame, pipeline, takenAt, prepared }: Unit, ending: Ending): void {
      const timer = timersOf(pipeline.name);
      timer.queue.observe(Math.max(0, takenAt - frame.receivedAt) / 1000);
      if (prepared?.picture !== undefined) {
        const { decodeMs, maskMs } = prepared.picture;
        timer.decode.observe(decodeMs / 1000);
        if (maskMs > 0) timer.mask.observe(maskMs / 1000);
      }
      if (prepared?.windowMs !== undefined) timer.window.observe(prepared.windowMs / 1000);
      if (ending.outcome !== 'decided') return;
      const { queueMs, inferMs, decodeOutputMs } = ending.answer.said;
      timer.run_queue.observe(queueMs / 1000);
      timer.infer.observe(inferMs / 1000);
      timer.decode_output.observe(decodeOutputMs / 1000);
    },
    /** @param ms since its outcome was made */
    committed: (pipeline: string, ms: number): void => timersOf(pipeline).commit.observe(ms / 1000),
  };
}
