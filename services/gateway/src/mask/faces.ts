import type { MaskShape, PictureTarget } from '@brink/decode';
import { resultToOriginal } from '@brink/decoders';
import { checkTensorBytes } from '@brink/preprocess';
import { BrinkError, detectorMisfit, formatUnitId, type link, type Result } from '@brink/protocol';
import type { Clock, LinkPeer } from '@brink/runtime';
import { wait } from '@brink/runtime';
import { failureOf } from '../decide/failure.ts';
import type { DecodePool } from '../decode/pool.ts';
import type { DecodedFrame } from '../decode/worker.ts';
import type { Frame } from '../ingest/frame.ts';
import type { Models, ServingModel } from '../models/models.ts';
import type { FacesPlan } from './plan.ts';

const ATTEMPTS_MAX = 3;
const AGAIN_MS = 25;
const DECIDE_TIMEOUT_MS = 30_000;
/** How long the detector may be away before a frame is given up, where the frame's age does not end it before. */
const AWAY_MS_MAX = 2000;

export interface FacesDeps {
  clock: Clock;
  pool: Pick<DecodePool, 'decode'>;
  models: Pick<Models, 'current' | 'whyNot' | 'doubt'>;
  request: LinkPeer['request'];
}

/**
 * Where the faces of a frame are, as shapes to be masked. It fails closed: there is an answer of the detector about this very frame,
 * or there is an error.
 * @param shapes regions that the detector must not see either
 * @throws BrinkError E_MASK, E_EXPIRED; E_CRASHED or E_TIMEOUT where a decode child ended; what is wrong with the picture
 */
export async function findFaces(
  frame: Frame,
  plan: FacesPlan,
  o: { shapes: readonly MaskShape[]; alone: boolean; priority: number },
  d: FacesDeps,
): Promise<MaskShape[]> {
  const limits = { expiresAt: frame.receivedAt + frame.plan.frameAgeMsMax, awayAt: d.clock.monotonic() + AWAY_MS_MAX };
  let attempts = 0;
  let seen: { model: ServingModel; decoded: DecodedFrame } | undefined;
  for (;;) {
    const model = d.models.current(plan.model);
    let problem: BrinkError;
    if (model === undefined) problem = new BrinkError('E_MODEL_NOT_READY', d.models.whyNot(plan.model));
    else {
      const target = targetOf(model, plan);
      if (seen?.model.passportSha256 !== model.passportSha256) {
        seen = { model, decoded: await d.pool.decode(frame.payload, [target], o.alone, { masks: o.shapes }) };
      }
      const answer = await ask(frame, seen, { attempts, priority: o.priority, expiresAt: limits.expiresAt }, d);
      if (!(answer instanceof BrinkError)) return shapesOf(answer, seen, plan);
      problem = answer;
      if (answer.code === 'E_MODEL_CRASH' || answer.code === 'E_MODEL_TIMEOUT') attempts += 1;
    }
    giveUp(plan, problem, attempts, limits, d.clock.monotonic());
    await wait(AGAIN_MS, d.clock);
  }
}

/** @throws BrinkError where nothing is to be gained by asking again */
function giveUp(
  { model }: FacesPlan,
  { code, detail, retryable }: BrinkError,
  attempts: number,
  { expiresAt, awayAt }: { expiresAt: number; awayAt: number },
  now: number,
): void {
  const why = `the detector "${model}" gave no answer: ${code}: ${detail}`;
  if (code === 'E_EXPIRED' || now >= expiresAt) throw new BrinkError('E_EXPIRED', why);
  const mayAsk = (retryable || code === 'E_MODEL_UNKNOWN') && attempts < ATTEMPTS_MAX && now < awayAt;
  if (!mayAsk) throw new BrinkError('E_MASK', why);
}

/** @throws BrinkError E_MASK where the model finds nothing in pictures, or leaves out what the mask wants */
function targetOf(model: ServingModel, plan: FacesPlan): PictureTarget {
  const why = whyNoMask(model, plan);
  const [target] = model.targets;
  if (why !== undefined || target === undefined) throw new BrinkError('E_MASK', why ?? 'a detector without a picture');
  return target;
}

/** Why this model can mask nothing as the plan wants it: of no frame is it told, then, where its faces are. */
export function whyNoMask(model: ServingModel, { scoreMin }: FacesPlan): string | undefined {
  const { name, version, task, steps, heads, targets } = model;
  const fit = heads.length === 1 ? targets[0]?.fit : undefined;
  const misfit = detectorMisfit({ task, isChain: steps !== undefined, fit, scoreMin: model.scoreMin }, scoreMin);
  return misfit && `${name}@${version} cannot mask: ${misfit.found}; expected ${misfit.expected}`;
}

type Seen = { readonly model: ServingModel; readonly decoded: DecodedFrame };

async function ask(
  frame: Frame,
  { model, decoded }: Seen,
  { attempts, priority, expiresAt }: { attempts: number; priority: number; expiresAt: number },
  d: FacesDeps,
): Promise<Result | BrinkError> {
  const [head] = model.heads;
  const [picture] = decoded.pictures;
  if (head === undefined || picture === undefined) return new BrinkError('E_MASK', 'a decode without a picture');
  try {
    checkTensorBytes(picture.pixels.byteLength, head);
    const { name, dtype, shape } = head;
    const remainingMs = Math.floor(expiresAt - d.clock.monotonic());
    if (remainingMs <= 0) return new BrinkError('E_EXPIRED', 'the frame was too old');
    const unit = {
      id: formatUnitId({ ...frame.id, part: 0, pipeline: 'mask' }),
      // Longer than an hour is none.
      deadlineMs: remainingMs > 3_600_000 ? 0 : remainingMs,
      inputs: [{ name, dtype, shape: [...shape] }],
      attempts,
    };
    const { name: modelName, version, passportSha256 } = model;
    const value = { model: modelName, version, passportSha256, priority, units: [unit] };
    const timeoutMs = Math.min(DECIDE_TIMEOUT_MS, remainingMs);
    const { body, payloads } = await d.request({ case: 'decide', value }, [picture.pixels], { timeoutMs });
    const [said] = body.case === 'decided' ? body.value.results : [];
    if (said?.failure !== undefined) return failed(said.failure, model, d);
    const json = said === undefined || said.payloads === 0 ? undefined : payloads[0];
    if (json === undefined) return new BrinkError('E_MASK', `inference answered "${body.case}" without a result`);
    return JSON.parse(json.toString('utf8')) as Result;
  } catch (reason) {
    return BrinkError.from(reason);
  }
}

function failed(failure: link.Failure, model: ServingModel, { models }: FacesDeps): BrinkError {
  const error = failureOf(failure);
  if (error.code === 'E_PASSPORT_CHANGED') models.doubt(model);
  return error;
}

/** @throws BrinkError E_MASK where the result may not be all of it */
function shapesOf(result: Result, { model, decoded }: Seen, plan: FacesPlan): MaskShape[] {
  const { objects } = result;
  const [target] = model.targets;
  const transform = decoded.pictures[0]?.transform;
  // As many as its passport lets through: there may have been more.
  const { objectsMax = 0 } = model;
  if (objects === undefined || objects.length >= objectsMax || target === undefined || transform === undefined) {
    throw new BrinkError(
      'E_MASK',
      `"${plan.model}" found ${objects?.length ?? 'no'} objects; expected fewer than its objects_max, ${objectsMax}`,
    );
  }
  const { width, height } = decoded;
  const onFrame = resultToOriginal(result, transform, target, { width, height }).objects ?? [];
  return onFrame.filter(({ score }) => score >= (plan.scoreMin ?? 0)).map(({ box }) => grown(box, plan.grow));
}

function grown([x0, y0, x1, y1]: readonly [number, number, number, number], grow: number): MaskShape {
  const [dx, dy] = [(x1 - x0) * grow, (y1 - y0) * grow];
  return [Math.max(0, x0 - dx), Math.max(0, y0 - dy), Math.min(1, x1 + dx), Math.min(1, y1 + dy)];
}
