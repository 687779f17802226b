import { BrinkError } from '@brink/protocol';
import type { ModelVersion } from '../models/version.ts';
import type { LaneStats, Spent } from '../scheduler/stats.ts';
import type { OipEngine } from './engine.ts';

/** As Triton's statistics extension has it, in both faces: this is its JSON, and the JSON of ModelStatisticsResponse. */
export interface Statistics {
  readonly model_stats: readonly ModelStatistics[];
}

type Durations<Name extends string> = Readonly<Record<Name, Readonly<Spent>>>;
type Compute = 'compute_input' | 'compute_infer' | 'compute_output';

interface ModelStatistics {
  readonly name: string;
  readonly version: string;
  readonly last_inference: number;
  readonly inference_count: number;
  readonly execution_count: number;
  readonly inference_stats: Durations<'success' | 'fail' | 'queue' | Compute | 'cache_hit' | 'cache_miss'>;
  readonly batch_stats: readonly ({ readonly batch_size: number } & Durations<Compute>)[];
}

/** There is no response cache. */
const NEVER: Spent = { count: 0, ns: 0 };

/**
 * @param name '' or undefined: every model
 * @param version '' or undefined: every version that is ready
 * @throws BrinkError E_MODEL_UNKNOWN, E_MODEL_NOT_READY
 */
export function statistics(engine: OipEngine, name = '', version = ''): Statistics {
  return { model_stats: chosen(engine, name, version).map(statisticsOf) };
}

function chosen(engine: OipEngine, name: string, version: string): readonly ModelVersion[] {
  const { versions } = engine.repository;
  const isReady = ({ status }: ModelVersion) => status.state === 'ready';
  if (name === '' && version !== '') throw new BrinkError('E_BAD_REQUEST', 'a version is given without a model');
  if (name === '') return versions.filter(isReady);
  if (version !== '') return [engine.find(name, version)];
  const ready = versions.filter((one) => one.name === name && isReady(one));
  // Says which of the reasons it is.
  return ready.length > 0 ? ready : [engine.find(name, undefined)];
}

function statisticsOf(of: ModelVersion): ModelStatistics {
  const { stats }: { stats: LaneStats } = of.ready().lane;
  const { success, fail, queue, compute_input, compute_infer, compute_output } = stats;
  return {
    name: of.name,
    version: String(of.version),
    last_inference: Math.round(stats.lastInferenceMs),
    inference_count: stats.inferenceCount,
    execution_count: stats.executionCount,
    inference_stats: {
      success: { ...success },
      fail: { ...fail },
      queue: { ...queue },
      compute_input: { ...compute_input },
      compute_infer: { ...compute_infer },
      compute_output: { ...compute_output },
      cache_hit: NEVER,
      cache_miss: NEVER,
    },
    batch_stats: [...stats.batches]
      .sort(([a], [b]) => a - b)
      .map(([batch_size, spent]) => ({
        batch_size,
        compute_input: { ...spent.compute_input },
        compute_infer: { ...spent.compute_infer },
        compute_output: { ...spent.compute_output },
      })),
  };
}
