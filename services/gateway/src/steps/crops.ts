import { BrinkError, type Result } from '@brink/protocol';
import type { Clock, LinkPeer } from '@brink/runtime';
import type { Crops } from '../decide/prepare.ts';
import { answersOf, decideBody, failedAnswer, isDecodeAttempt } from '../decide/request.ts';
import type { Unit, UnitAnswer } from '../decide/unit.ts';
import type { StepModel } from '../models/resolve.ts';

export interface StepsDeps {
  clock: Clock;
  request: LinkPeer['request'];
  timeoutMs: number;
  /** Parts of a unit's picture, as a model takes them. */
  crops: Crops;
}

export type CropStep = StepModel & { readonly crop: NonNullable<StepModel['crop']> };

type Objects = NonNullable<Result['objects']>;

/**
 * What a detector found, looked at once more: each object of the label is cut out of the picture and gets the name and the score
 * that the second model gives it. Its box, and all other objects, stay as they are.
 * @param detected the answer of the detector, with boxes of the upright original
 * @returns its answer with what the second model says; what failed there fails the unit
 */
export async function decideCrops(
  unit: Unit,
  detected: UnitAnswer,
  { model, crop }: CropStep,
  d: StepsDeps,
): Promise<UnitAnswer> {
  const result = JSON.parse(detected.resultJson) as Result;
  const found: Objects = result.objects ?? [];
  const looked = found.filter(({ label }) => label === crop.label).slice(0, crop.objectsMax);
  if (looked.length === 0) return detected;
  const boxes = looked.map(({ box }) => box);
  const crops = await d.crops(unit, model, boxes).catch((reason: unknown) => BrinkError.from(reason));
  if (crops instanceof BrinkError) return failedAnswer(crops, isDecodeAttempt(crops));
  const units = crops.map(() => unit);
  const body = decideBody(model, units, d.clock.monotonic());
  const answers = answersOf(await d.request(body, [...crops], { timeoutMs: d.timeoutMs }), units);
  if (answers instanceof BrinkError) throw answers;
  const failed = answers.find(({ said }) => said.failure !== undefined);
  if (failed !== undefined) return failed;
  const named = new Map(looked.map((object, i) => [object, namedBy(object, answers[i] as UnitAnswer)]));
  const objects = found.map((object) => named.get(object) ?? object).sort((a, b) => b.score - a.score);
  const [best] = objects;
  const text = best?.label_text === undefined ? {} : { label_text: best.label_text };
  const { label_text: _, ...rest } = result;
  const resultJson = JSON.stringify({ ...rest, label: best?.label, ...text, score: best?.score, objects });
  return { ...detected, resultJson };
}

function namedBy({ box }: Objects[number], { resultJson }: UnitAnswer): Objects[number] {
  const { label = 'none', label_text, score = 0 } = JSON.parse(resultJson) as Result;
  return { label, ...(label_text === undefined ? {} : { label_text }), score, box };
}
