import { readFile } from 'node:fs/promises';
import { Counter, Gauge, Histogram, type Registry } from '@brink/runtime';

const perModel = ['model', 'version'] as const;
/** From keyword spotters (.1 ms) to large pictures in batches. */
const RUN_BUCKETS = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
/** Copies and JSON: much shorter than a run, or something is wrong. */
const AROUND_BUCKETS = [0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1];

/** Every metric of the inference service beside those of the link and of child processes (runtime). Labels are bounded by the folders under models/ and the error table. */
export function createMetrics(register: Registry) {
  const registers = [register];
  return {
    ...requestMetrics(registers),
    ...runMetrics(registers),
    ...runnerMetrics(registers),
    busy: new Gauge({ name: 'brink_inference_busy_slots', help: 'Runs that are going on', registers }),
    slots: new Gauge({ name: 'brink_inference_run_slots', help: 'Runs that may go on at once', registers }),
    loadFailures: new Counter({
      name: 'brink_inference_load_failures_total',
      help: 'Versions that could not be loaded, or were given up while they served, by code',
      labelNames: [...perModel, 'code'] as const,
      registers,
    }),
    models: new Gauge({
      name: 'brink_inference_model_versions',
      help: 'Model versions by state',
      labelNames: ['state'] as const,
      registers,
    }),
    http: new Counter({
      name: 'brink_inference_http_requests_total',
      help: 'Requests of the Open Inference Protocol, by status',
      labelNames: ['status'] as const,
      registers,
    }),
    heldBytes: new Gauge({
      name: 'brink_inference_oip_held_bytes',
      help: 'Bytes of request bodies that are held over HTTP; the limit is 256 MiB',
      registers,
    }),
    conversions: new Gauge({
      name: 'brink_inference_oip_long_messages_waiting',
      help: 'Long messages of the Open Inference Protocol that are read or written, or wait for it; at most 256',
      registers,
    }),
    pictures: new Gauge({
      name: 'brink_inference_oip_pictures_waiting',
      help: 'Pictures of the Open Inference Protocol that are decoded or wait for it; at most 512',
      registers,
    }),
    grpc: new Counter({
      name: 'brink_inference_grpc_calls_total',
      help: 'Calls of the Open Inference Protocol over gRPC, by status code',
      labelNames: ['code'] as const,
      registers,
    }),
  };
}

export type Metrics = ReturnType<typeof createMetrics>;

function requestMetrics(registers: Registry[]) {
  return {
    requests: new Counter({
      name: 'brink_inference_requests_total',
      help: 'Units, and requests of the Open Inference Protocol, by how they ended: ok, or the code of the error',
      labelNames: [...perModel, 'reason'] as const,
      registers,
    }),
    waiting: new Gauge({
      name: 'brink_inference_waiting_requests',
      help: 'Units and requests that wait for a run',
      labelNames: perModel,
      registers,
    }),
    queue: new Histogram({
      name: 'brink_inference_queue_seconds',
      help: 'How long the one waited that waited longest in its batch, until the runner could begin',
      buckets: [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1],
      labelNames: perModel,
      registers,
    }),
  };
}

function runMetrics(registers: Registry[]) {
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name, help, buckets, labelNames: perModel, registers });
  return {
    units: new Counter({
      name: 'brink_inference_units_total',
      help: 'Rows of batches that were computed',
      labelNames: perModel,
      registers,
    }),
    // The sizes that are warmed up.
    batch: histogram('brink_inference_batch_units', 'Rows per run', [1, 2, 4, 8, 16, 32, 64, 128]),
    prepare: histogram(
      'brink_inference_prepare_seconds',
      'Of one run: the way to the runner, stacking, and the way back',
      AROUND_BUCKETS,
    ),
    run: histogram('brink_inference_run_seconds', 'Time of one run inside ONNX Runtime', RUN_BUCKETS),
    decode: histogram('brink_inference_decode_seconds', 'Of one run: making results of what came out', AROUND_BUCKETS),
  };
}

function runnerMetrics(registers: Registry[]) {
  const runners = new Set<Seated>();
  return {
    runners,
    restarts: new Counter({
      name: 'brink_inference_runner_restarts_total',
      help: 'Runners that ended by themselves while the version served; each is started again, or the version given up',
      labelNames: perModel,
      registers,
    }),
    fallbacks: new Counter({
      name: 'brink_inference_provider_fallbacks_total',
      help: 'Runners that compute with another execution provider than the preferred one',
      labelNames: perModel,
      registers,
    }),
    copies: new Gauge({
      name: 'brink_inference_runners',
      help: 'Runners that take batches, by the execution provider that really computes',
      labelNames: [...perModel, 'provider'] as const,
      registers,
    }),
    memory: new Gauge({
      name: 'brink_inference_runner_memory_bytes',
      help: 'Resident memory of the runners of a model version; Linux only',
      labelNames: perModel,
      registers,
      async collect() {
        const seated = [...runners];
        const bytes = await Promise.all(seated.map(({ pid }) => residentBytes(pid)));
        this.reset();
        for (const [index, { labels }] of seated.entries()) this.inc(labels, bytes[index]);
      },
    }),
  };
}

interface Seated {
  readonly pid: number | undefined;
  readonly labels: { readonly model: string; readonly version: string };
}

/** [proc_pid_status(5)] VmRSS; 0 where there is no such process or no /proc. */
async function residentBytes(pid: number | undefined): Promise<number> {
  const status = pid === undefined ? '' : await readFile(`/proc/${pid}/status`, 'latin1').catch(() => '');
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
}

/** What is shown of a runner. */
export interface RunnerFacts {
  /** for its memory */
  readonly pid?: number | undefined;
  /** what really computes there; default cpu */
  readonly provider?: string;
  /** why it is not the preferred one; '' or left away where it is */
  readonly fallback?: string;
}

/** The metrics of one model version, looked up once instead of per run. */
export function metricsOf(metrics: Metrics, model: string, version: number) {
  const labels = { model, version: String(version) };
  const answers = new Map<string, ReturnType<Metrics['requests']['labels']>>();
  const providers = new Set<string>();
  return {
    waiting: metrics.waiting.labels(labels),
    units: metrics.units.labels(labels),
    batch: metrics.batch.labels(labels),
    prepare: metrics.prepare.labels(labels),
    run: metrics.run.labels(labels),
    decode: metrics.decode.labels(labels),
    queue: metrics.queue.labels(labels),
    /** @param reason ok, or the code of an error */
    answered(reason: string, count = 1): void {
      let counter = answers.get(reason);
      if (counter === undefined) {
        counter = metrics.requests.labels({ ...labels, reason });
        answers.set(reason, counter);
      }
      counter.inc(count);
    },
    /** A runner takes batches. @returns what to call when it does so no more; `lost`: it ended by itself */
    seat({ pid, provider = 'cpu', fallback = '' }: RunnerFacts): (lost: boolean) => void {
      const seated: Seated = { pid, labels };
      metrics.runners.add(seated);
      providers.add(provider);
      metrics.copies.inc({ ...labels, provider });
      if (fallback !== '') metrics.fallbacks.inc(labels);
      return (lost) => {
        if (!metrics.runners.delete(seated)) return;
        metrics.copies.dec({ ...labels, provider });
        if (lost) metrics.restarts.inc(labels);
      };
    },
    /** The version is gone, and what was said of it: versions come and go for as long as the process lives. */
    forget(): void {
      const { waiting, units, batch, prepare, run, decode, queue, restarts, fallbacks, memory } = metrics;
      for (const one of [waiting, units, batch, prepare, run, decode, queue, restarts, fallbacks, memory]) {
        one.remove(labels);
      }
      for (const reason of answers.keys()) metrics.requests.remove({ ...labels, reason });
      for (const provider of providers) metrics.copies.remove({ ...labels, provider });
    },
  };
}

export type ModelMetrics = ReturnType<typeof metricsOf>;
