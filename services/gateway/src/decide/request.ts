import { resultToOriginal } from '@brink/decoders';
import type { ImageTarget } from '@brink/preprocess';
import { BrinkError, create, link, type Result } from '@brink/protocol';
import type { LinkReply, RequestBody } from '@brink/runtime';
import { dueAt } from '../ingest/frame.ts';
import type { ServingModel } from '../models/models.ts';
import type { Unit, UnitAnswer } from './unit.ts';

// The words of a Decide and of its answer.

/** @param now on the monotonic clock @param raw the outputs themselves are asked for */
export function decideBody(model: ServingModel, units: readonly Unit[], now: number, raw = false): RequestBody {
  const inputs = model.heads.map(({ name, dtype, shape }) => ({ name, dtype, shape: [...shape] }));
  return {
    case: 'decide',
    value: {
      model: model.name,
      version: model.version,
      passportSha256: model.passportSha256,
      priority: units[0]?.pipeline.priority ?? 0,
      raw,
      units: units.map((unit) => ({
        id: unit.id,
        deadlineMs: remainingMs(unit, now),
        inputs,
        attempts: unit.attempts,
        traceparent: unit.frame.traceparent ?? '',
      })),
    },
  };
}

/** One answer per unit, or what is wrong with them. */
export function answersOf({ body, payloads }: LinkReply, units: readonly Unit[]): readonly UnitAnswer[] | BrinkError {
  if (body.case === 'decided' && body.value.results.length === units.length) {
    let at = 0;
    return body.value.results.map((said, index) => {
      const [json, ...states] = payloads.slice(at, at + said.payloads);
      at += said.payloads;
      const unit = units[index] as Unit;
      return { said, resultJson: withMeasured(unit, onOriginal(unit, json?.toString('utf8') ?? '')), states };
    });
  }
  return new BrinkError(
    'E_INTERNAL',
    `inference answered "${body.case}" to ${units.length} units; expected one result each`,
  );
}

/**
 * Inference gives boxes as parts of the picture that the model saw; where that lies in the frame is known here. Results without
 * boxes, and frames that were tensors already, go on as they are.
 */
function onOriginal({ prepared }: Unit, json: string): string {
  if (json === '' || prepared?.picture === undefined || prepared.model.task !== 'detection') return json;
  const { transform, width, height } = prepared.picture;
  return JSON.stringify(
    resultToOriginal(JSON.parse(json) as Result, transform, prepared.model.targets[0] as ImageTarget, {
      width,
      height,
    }),
  );
}

/** What was measured while a window was cut, and whether it is doubtful, stand beside what the model says. */
function withMeasured({ formed }: Unit, json: string): string {
  const { values, quality } = formed?.window ?? {};
  if (json === '' || (values === undefined && quality === undefined)) return json;
  const result = JSON.parse(json) as Result;
  return JSON.stringify({
    ...result,
    ...(values === undefined ? {} : { values: { ...result.values, ...values } }),
    ...(quality === undefined ? {} : { quality }),
  });
}

/** The same of a unit that could not even be asked about. @param attempt a child that had it crashed or hung */
export function failedAnswer(reason: unknown, attempt = false): UnitAnswer {
  const { code, detail } = BrinkError.from(reason);
  return { said: create(link.UnitResultSchema, { failure: { code, detail }, attempt }), resultJson: '', states: [] };
}

/** What the end of a decode child looks like: the unit was handed over and may be to blame. */
export const isDecodeAttempt = ({ code }: BrinkError) => code === 'E_CRASHED' || code === 'E_TIMEOUT';

/** Until its answer is of no use: `deadline_ms`, and of what is not kept on the disk `frame_age_ms_max`. 0 where there is neither. */
function remainingMs({ frame, pipeline }: Unit, now: number): number {
  const { durable } = frame.plan;
  if (durable && pipeline.deadlineMs === undefined) return 0;
  const dueMs = durable ? frame.receivedAt + (pipeline.deadlineMs ?? 0) : dueAt(frame, pipeline);
  return Math.max(1, Math.floor(dueMs - now));
}
