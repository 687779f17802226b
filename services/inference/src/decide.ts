import type { Decode } from '@brink/decoders';
import { BrinkError, create, link } from '@brink/protocol';
import type { Clock, LinkHandlers } from '@brink/runtime';
import type { Repository } from './models/repository.ts';
import type { LoadedModel, ModelVersion } from './models/version.ts';
import type { FinishedRun, Head, Job } from './scheduler/job.ts';

type DecideHandler = NonNullable<LinkHandlers['decide']>;

/** The header of an answer holds 64 KiB: some 350 bytes for each unit. */
const UNITS_MAX = 128;

interface UnitAnswer {
  readonly said: link.UnitResult;
  /** Its result as JSON, then its states. */
  readonly payloads: readonly Uint8Array[];
}

/**
 * Units in, results out. Each unit waits for itself and is answered for itself; the request is answered when the last one is.
 * @param d language of label_text, now
 */
export function createDecide(d: { repository: Repository; clock: Clock; language: () => string }): DecideHandler {
  return (request, payloads, context) => {
    const version = d.repository.find(request.model, request.version);
    if (request.passportSha256 !== version.status.passportSha256) {
      throw new BrinkError(
        'E_PASSPORT_CHANGED',
        `${version.name} ${version.version} has passport ${version.status.passportSha256.slice(0, 12)}; the units were prepared for ${request.passportSha256.slice(0, 12)}`,
      );
    }
    const model = version.ready();
    const { decode } = model;
    if (decode === undefined)
      throw new BrinkError('E_UNSUPPORTED', `${version.name} has no model.json: it takes no units`);
    if (request.units.length > UNITS_MAX) {
      throw new BrinkError('E_TOO_LARGE', `${request.units.length} units in one request; at most ${UNITS_MAX}`);
    }
    return new Promise((resolve) => {
      const answers: UnitAnswer[] = new Array(request.units.length);
      let open = request.units.length;
      /** Every unit came back from a runner, so no socket holds its tensors any more. */
      let ranAll = true;
      const answer = () => {
        if (ranAll) context.release();
        const results = answers.map(({ said }) => said);
        resolve({
          body: { case: 'decided', value: { results } },
          payloads: answers.flatMap((one) => one.payloads),
        });
      };
      const settle = (index: number, of: UnitAnswer) => {
        answers[index] = of;
        open -= 1;
        if (open === 0) answer();
      };
      if (open === 0) answer();
      let at = 0;
      const now = d.clock.monotonic();
      const { signal } = context;
      request.units.forEach((unit, index) => {
        const own = payloads.slice(at, at + unit.inputs.length);
        at += unit.inputs.length;
        const wrong = shapeProblem(unit, own, model.heads);
        if (wrong !== undefined) {
          settle(index, failed(new BrinkError('E_SHAPE', `${unit.id}: ${wrong}`), false));
          return;
        }
        const job: Job = {
          priority: request.priority,
          deadlineAt: unit.deadlineMs === 0 ? Number.POSITIVE_INFINITY : now + unit.deadlineMs,
          arrivedAt: now,
          shadow: request.shadow,
          client: context.peer.instance,
          alone: unit.attempts > 0,
          session: '',
          heads: model.heads,
          rows: 1,
          payloads: own,
          cancelled: () => signal.aborted,
          done: (run, slice) =>
            settle(index, decided(job, run, slice, { version, model, decode, language: d.language(), clock: d.clock })),
          failed: (error, attempt) => {
            ranAll = false;
            settle(index, failed(error, attempt));
          },
        };
        model.lane.add(job);
      });
    });
  };
}

/** @returns undefined where the unit's tensors are what the model takes */
function shapeProblem(unit: link.Unit, payloads: readonly Uint8Array[], heads: readonly Head[]): string | undefined {
  if (unit.inputs.length !== heads.length || payloads.length !== heads.length) {
    return `${Math.min(unit.inputs.length, payloads.length)} tensors; expected ${heads.length}`;
  }
  for (let i = 0; i < heads.length; i++) {
    const [given, expected, bytes] = [unit.inputs[i], heads[i], payloads[i]?.byteLength];
    if (given === undefined || expected === undefined) return 'a tensor is missing';
    const same = given.dtype === expected.dtype && given.shape.length === expected.shape.length;
    const elements = expected.shape.reduce((product, size) => product * size, 1);
    if (!same || given.shape.some((size, dimension) => size !== expected.shape[dimension]) || bytes !== elements) {
      return `${given.dtype} [${given.shape}] of ${bytes} bytes; expected ${expected.dtype} [${expected.shape}]`;
    }
  }
  return undefined;
}

function decided(
  job: Job,
  run: FinishedRun,
  slice: number,
  of: { version: ModelVersion; model: LoadedModel; decode: Decode; language: string; clock: Clock },
): UnitAnswer {
  const startedAt = of.clock.monotonic();
  try {
    const { result, top } = of.decode(run.outputs, slice, of.language);
    const payloads = [Buffer.from(JSON.stringify(result))];
    const said = create(link.UnitResultSchema, {
      payloads: payloads.length,
      topJson: JSON.stringify(top),
      batch: run.outputs.batch,
      queueMs: run.startedAt - job.arrivedAt,
      inferMs: run.runMs,
      decodeOutputMs: of.clock.monotonic() - startedAt,
      provider: of.version.status.provider,
      modelSha256: of.model.modelSha256,
    });
    return { said, payloads };
  } catch (reason) {
    return failed(BrinkError.from(reason), false);
  }
}

function failed(error: BrinkError, attempt: boolean): UnitAnswer {
  const failure = { code: error.code, detail: error.detail.slice(0, 200) };
  return { said: create(link.UnitResultSchema, { failure, attempt }), payloads: [] };
}
