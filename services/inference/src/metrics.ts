import { Counter, Gauge, Histogram, type Registry } from '@brink/runtime';

/** Every metric of the inference service beside those of the link and of child processes (runtime). Labels are bounded by the folders under models/ and the error table. */
export function createMetrics(register: Registry) {
  const registers = [register];
  const perModel = ['model', 'version'] as const;
  return {
    waiting: new Gauge({
      name: 'brink_inference_waiting_units',
      help: 'Units that wait for a run',
      labelNames: perModel,
      registers,
    }),
    units: new Counter({
      name: 'brink_inference_units_total',
      help: 'Units that were computed',
      labelNames: perModel,
      registers,
    }),
    refused: new Counter({
      name: 'brink_inference_refused_total',
      help: 'Units that were answered with an error, by code',
      labelNames: [...perModel, 'code'] as const,
      registers,
    }),
    batch: new Histogram({
      name: 'brink_inference_batch_units',
      help: 'Units per run',
      // The sizes that are warmed up.
      buckets: [1, 2, 4, 8, 16, 32, 64, 128],
      labelNames: perModel,
      registers,
    }),
    run: new Histogram({
      name: 'brink_inference_run_seconds',
      help: 'Time of one run inside ONNX Runtime',
      // From keyword spotters (.1 ms) to large pictures in batches.
      buckets: [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3],
      labelNames: perModel,
      registers,
    }),
    queue: new Histogram({
      name: 'brink_inference_queue_seconds',
      help: 'How long the unit waited that waited longest in its batch',
      buckets: [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1],
      labelNames: perModel,
      registers,
    }),
    busy: new Gauge({ name: 'brink_inference_busy_slots', help: 'Runs that are going on', registers }),
    slots: new Gauge({ name: 'brink_inference_run_slots', help: 'Runs that may go on at once', registers }),
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
  };
}

export type Metrics = ReturnType<typeof createMetrics>;

/** The metrics of one model version, looked up once instead of per run. */
export function metricsOf(metrics: Metrics, model: string, version: number) {
  const labels = { model, version: String(version) };
  return {
    waiting: metrics.waiting.labels(labels),
    units: metrics.units.labels(labels),
    batch: metrics.batch.labels(labels),
    run: metrics.run.labels(labels),
    queue: metrics.queue.labels(labels),
    refused: (code: string) => metrics.refused.inc({ ...labels, code }),
  };
}

export type ModelMetrics = ReturnType<typeof metricsOf>;
