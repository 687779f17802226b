import { BrinkError } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { LoadedModel } from '../models/version.ts';
import type { FinishedRun, Job } from '../scheduler/job.ts';
import type { OipRequest, OipTensor } from './tensor.ts';

/** How long a request may wait for its run, which `run_ms_max` bounds. */
const DEADLINE_MS = 18_000;

export type Ask = Pick<OipRequest, 'priority' | 'timeoutMs' | 'client' | 'signal'>;
type Work = Pick<Job, 'session' | 'heads' | 'rows' | 'join' | 'payloads'>;

export interface Finished {
  readonly run: FinishedRun;
  readonly firstRow: number;
  /** 0: it is all of the run */
  readonly rows: number;
}

/** Requests of the Open Inference Protocol as jobs of a lane. */
export interface Jobs {
  /** @throws BrinkError what the lane or the run says */
  compute(model: LoadedModel, work: Work, ask: Ask): Promise<Finished>;
}

export function createJobs({ clock }: { clock: Clock }): Jobs {
  /** Requests of each model that may share runs with one another and are not answered. */
  const sharing = new WeakMap<LoadedModel, number>();
  const share = (model: LoadedModel, change: 1 | -1) => sharing.set(model, (sharing.get(model) ?? 0) + change);

  /** One job, and once more alone where a batch-mate may have taken the runner along. */
  function compute(model: LoadedModel, work: Work, ask: Ask): Promise<Finished> {
    const now = clock.monotonic();
    const computed = new Promise<Finished>((resolve, reject) => {
      const mayHaveMates = () => work.session === '' || (sharing.get(model) ?? 0) > 1;
      const job: Job = {
        ...work,
        priority: ask.priority,
        shadow: false,
        client: ask.client,
        arrivedAt: now,
        deadlineAt: now + Math.min(ask.timeoutMs, DEADLINE_MS),
        alone: false,
        cancelled: () => ask.signal.aborted,
        done: (run, firstRow) => resolve({ run, firstRow, rows: work.rows }),
        failed(error, attempt) {
          if (!attempt || job.alone || work.rows === 0 || !mayHaveMates()) reject(error);
          else {
            job.alone = true;
            model.lane.add(job);
          }
        },
      };
      if (work.rows > 0) share(model, 1);
      model.lane.add(job);
    });
    return computed.finally(() => {
      if (work.rows > 0) share(model, -1);
    });
  }

  return { compute };
}

/** The rows of one job out of its run. @throws BrinkError E_UNSUPPORTED where an output does not lie row by row */
export function rowsOutOf({ run, firstRow, rows }: Finished): OipTensor[] {
  const { batch, tensors } = run.outputs;
  return run.heads.flatMap((head) => {
    const data = tensors.get(head.name)?.data;
    if (data === undefined) return [];
    if (rows === 0 || rows === batch) return [{ head, bytes: data }];
    if (head.dtype === 'string' || head.shape[0] !== batch) {
      throw new BrinkError(
        'E_UNSUPPORTED',
        `output "${head.name}" [${head.shape}] of a batch of ${batch} does not lie row by row`,
      );
    }
    const bytes = data.byteLength / batch;
    const own = data.subarray(firstRow * bytes, (firstRow + rows) * bytes);
    return [{ head: { ...head, shape: [rows, ...head.shape.slice(1)] }, bytes: own }];
  });
}

/** Outputs of several runs of one row, one behind the other. */
export function stackRows(units: readonly (readonly OipTensor[])[]): readonly OipTensor[] {
  const [first = []] = units;
  if (units.length === 1) return first;
  return first.map(({ head }, at) => {
    const parts = units.map((unit) => unit[at]).filter((part) => part !== undefined);
    return {
      head: { ...head, shape: [units.length, ...head.shape.slice(1)] },
      bytes: Buffer.concat(parts.map(({ bytes }) => bytes)),
    };
  });
}
