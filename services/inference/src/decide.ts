import { type Decode, sliceOf } from '@brink/decoders';
import { BrinkError, create, link, newSpanId } from '@brink/protocol';
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
export function createDecide(d: {
  repository: Repository;
  clock: Clock;
  random: () => number;
  language: () => string;
}): DecideHandler {
  return (request, payloads, context) => {
    const version = d.repository.find(request.model, request.version);
    const taker = takerOf(version, request);
    return new Promise((resolve) => {
      const gather = createGather(request.units.length, (answers, ranAll) => {
        // No socket of a runner holds their tensors any more.
        if (ranAll) context.release();
        const results = answers.map(({ said }) => said);
        resolve({ body: { case: 'decided', value: { results } }, payloads: answers.flatMap((one) => one.payloads) });
      });
      const now = d.clock.monotonic();
      const { signal } = context;
      const shared = {
        priority: Math.min(9, request.priority),
        shadow: request.shadow,
        client: context.peer.instance,
        arrivedAt: now,
        session: '',
        heads: taker.heads,
        rows: 1,
        cancelled: () => signal.aborted,
      } as const;
      let at = 0;
      request.units.forEach((unit, index) => {
        const own = payloads.slice(at, at + unit.inputs.length);
        at += unit.inputs.length;
        const job: Job = {
          ...shared,
          deadlineAt: unit.deadlineMs === 0 ? Number.POSITIVE_INFINITY : now + unit.deadlineMs,
          alone: unit.attempts > 0,
          payloads: own,
          done: (run, row) => {
            const { raw } = request;
            const of = { raw, provider: version.status.provider, language: d.language(), clock: d.clock };
            const answer = decided(job, run, row, taker, of);
            // The gateway puts it into the evidence, beside its own.
            if (unit.traceparent !== '') answer.said.span = newSpanId(d.random);
            gather.settle(index, answer, true);
          },
          failed: (error, attempt) => gather.settle(index, failed(error, attempt), false),
        };
        const wrong = shapeProblem(unit, own, taker.heads);
        if (wrong === undefined) taker.lane.add(job);
        else taker.lane.refuse(job, new BrinkError('E_SHAPE', `${unit.id}: ${wrong}`));
      });
    });
  };
}

/** A model that takes units. */
type Taker = LoadedModel & { decode: Decode };

/** @throws BrinkError why the request as a whole cannot be computed */
function takerOf(version: ModelVersion, request: link.Decide): Taker {
  const { name, version: number } = version;
  const { passportSha256 } = version.status;
  if (passportSha256 !== '' && request.passportSha256 !== passportSha256) {
    const [has, asked] = [passportSha256.slice(0, 12), request.passportSha256.slice(0, 12)];
    throw new BrinkError(
      'E_PASSPORT_CHANGED',
      `${name} ${number} has passport ${has}; the units were prepared for ${asked === '' ? 'none' : asked}`,
    );
  }
  const model = version.ready();
  const { decode } = model;
  if (decode === undefined) {
    throw new BrinkError(
      'E_UNSUPPORTED',
      `${name} ${number} has no model.json, so nobody knows what a unit of it is; it can be asked over the Open Inference Protocol`,
    );
  }
  if (request.units.length > UNITS_MAX) {
    throw new BrinkError('E_TOO_LARGE', `${request.units.length} units in one request; at most ${UNITS_MAX}`);
  }
  return { ...model, decode };
}

/** Waits for the answers of all units. @param all called once; ranAll: each of them came back from a runner, or never went to one */
function createGather(count: number, all: (answers: readonly UnitAnswer[], ranAll: boolean) => void) {
  const answers: UnitAnswer[] = new Array(count);
  let open = count;
  let ranAll = true;
  if (open === 0) all(answers, ranAll);
  return {
    settle(index: number, answer: UnitAnswer, ran: boolean): void {
      answers[index] = answer;
      ranAll &&= ran;
      open -= 1;
      if (open === 0) all(answers, ranAll);
    },
  };
}

/** Of the types that units travel in. */
const BYTES_OF: Readonly<Record<string, number>> = { uint8: 1, int32: 4, float32: 4 };

/** @returns undefined where the unit's tensors are what the model takes */
function shapeProblem(unit: link.Unit, payloads: readonly Uint8Array[], heads: readonly Head[]): string | undefined {
  if (unit.inputs.length !== heads.length || payloads.length !== heads.length) {
    return `${Math.min(unit.inputs.length, payloads.length)} tensors; expected ${heads.length}`;
  }
  for (let i = 0; i < heads.length; i++) {
    const [given, expected, bytes] = [unit.inputs[i], heads[i], payloads[i]?.byteLength];
    if (given === undefined || expected === undefined) return 'a tensor is missing';
    const { dtype, shape } = expected;
    const isSame =
      given.dtype === dtype &&
      given.shape.length === shape.length &&
      given.shape.every((size, dimension) => size === shape[dimension]);
    const expectedBytes = shape.reduce((product, size) => product * size, BYTES_OF[dtype] ?? 0);
    if (!isSame || bytes !== expectedBytes) {
      return `"${expected.name}" is ${given.dtype} [${given.shape}] of ${bytes} bytes; expected ${dtype} [${shape}] of ${expectedBytes}`;
    }
  }
  return undefined;
}

function decided(
  job: Job,
  run: FinishedRun,
  row: number,
  model: Taker,
  of: { raw: boolean; provider: string; language: string; clock: Clock },
): UnitAnswer {
  const startedAt = of.clock.monotonic();
  try {
    // Who goes on with the outputs does not ask what they mean.
    const { result, top } = of.raw ? NO_DECISION : model.decode(run.outputs, row, of.language);
    const outputs = of.raw ? outputsOf(model, run, row) : [];
    const json = Buffer.from(JSON.stringify(result));
    const payloads = [json, ...statesOf(model, run, row), ...outputs.map(({ bytes }) => bytes)];
    const said = create(link.UnitResultSchema, {
      payloads: payloads.length,
      outputs: outputs.map(({ head }) => head),
      topJson: JSON.stringify(top),
      batch: run.outputs.batch,
      queueMs: run.startedAt - job.arrivedAt,
      inferMs: run.runMs,
      decodeOutputMs: of.clock.monotonic() - startedAt,
      provider: of.provider,
      modelSha256: model.modelSha256,
    });
    return { said, payloads };
  } catch (reason) {
    const error = BrinkError.from(reason);
    job.wrong = error.code;
    return failed(error, false);
  }
}

const NO_DECISION = { result: {}, top: [] };

/** What a model that goes on with them gets: the outputs that the passport names, as float32. @throws BrinkError E_MODEL_OUTPUT */
function outputsOf({ passport }: Taker, { outputs }: FinishedRun, row: number) {
  return Object.values(passport?.output.tensors ?? {}).map((name) => {
    const values = Float32Array.from(sliceOf(outputs, name, row));
    const bytes = new Uint8Array(values.buffer);
    if (!isFinite32(bytes)) throw new BrinkError('E_MODEL_OUTPUT', `output "${name}" is not finite`);
    return { bytes, head: { name, dtype: 'float32', shape: [values.length] } };
  });
}

/** What the unit's next one starts from: slices of the run's outputs. @throws BrinkError E_MODEL_OUTPUT */
function statesOf({ states, passport }: Taker, { outputs }: FinishedRun, row: number): Uint8Array[] {
  return states.map(({ name, bytes }, index) => {
    const { data } = outputs.tensors.get(name) ?? {};
    const own = data?.subarray(row * bytes, (row + 1) * bytes);
    if (own === undefined || own.byteLength !== bytes) {
      throw new BrinkError('E_MODEL_OUTPUT', `state "${name}" has no ${bytes} bytes for unit ${row} of the batch`);
    }
    // Kept, it would spoil every unit after this one.
    if (!isFinite32(own))
      throw new BrinkError('E_MODEL_OUTPUT', `state "${passport?.state[index]?.out ?? name}" is not finite`);
    return own;
  });
}

function isFinite32(bytes: Uint8Array): boolean {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 0; at < bytes.byteLength; at += 4) if (!Number.isFinite(view.getFloat32(at, true))) return false;
  return true;
}

function failed(error: BrinkError, attempt: boolean): UnitAnswer {
  const failure = { code: error.code, detail: error.detail.slice(0, 200), retryAfterMs: error.retryAfterMs ?? 0 };
  return { said: create(link.UnitResultSchema, { failure, attempt }), payloads: [] };
}
