import { BrinkError, create, link } from '@brink/protocol';
import { answersOf, decideBody, failedAnswer } from '../decide/request.ts';
import type { Unit, UnitAnswer } from '../decide/unit.ts';
import { dueAt } from '../ingest/frame.ts';
import type { ServingModel, StepModel } from '../models/resolve.ts';
import { type CropStep, decideCrops, type StepsDeps } from './crops.ts';
import { newMemory, packMemory, type StepMemory, takeRows, unpackMemory } from './memory.ts';

/**
 * A unit of a chain: the first model gets what was cut from the stream, each other one the windows that what came before makes
 * whole, and the last one decides. What waits for a whole window is state of the lane: it travels by value, as a recurrent
 * model's, so that a unit that is tried again begins where it began the first time.
 *
 * The decision is that of the last window which the unit completes. A unit that completes none, as the first ones of a stream, is
 * decided as "none", with quality "bad".
 * @returns its answer; what failed in it is what failed in the step @throws BrinkError where a request was not answered
 */
export async function decideSteps(unit: Unit, model: ServingModel, d: StepsDeps): Promise<UnitAnswer> {
  const { steps = [] } = model;
  const crop = steps.find(isCrop);
  if (crop !== undefined) return decideObjects(unit, steps[0] as StepModel, crop, d);
  const kept = keptOf(unit, model);
  const memory = kept === undefined ? newMemory(steps) : unpackMemory(steps, kept);
  let windows: (readonly Uint8Array[])[] = [unit.prepared?.tensors ?? []];
  let answer: UnitAnswer | undefined;
  for (const [i, step] of steps.entries()) {
    const own = memory[i] as StepMemory;
    const next = steps[i + 1];
    const following: Uint8Array[] = [];
    for (const inputs of windows) {
      answer = await run(unit, { step, inputs, memory: own, raw: next !== undefined }, d);
      if (answer.said.failure !== undefined) return answer;
      if (next !== undefined) following.push(...takeRows(memory[i + 1] as StepMemory, next, outputOf(answer, step)));
    }
    if (next === undefined) break;
    windows = following.map((tensor) => [tensor]);
    answer = undefined;
  }
  return { ...(answer ?? nothingYet(model)), states: packMemory(memory) };
}

const isCrop = (step: StepModel): step is CropStep => step.crop !== undefined;

/** detect → crop → classify: nothing of it waits for another unit. */
async function decideObjects(unit: Unit, detector: StepModel, crop: CropStep, d: StepsDeps): Promise<UnitAnswer> {
  const memory: StepMemory = { states: [], rows: new Float32Array(), skip: 0 };
  const inputs = unit.prepared?.tensors ?? [];
  const detected = await run(unit, { step: detector, inputs, memory, raw: false }, d);
  return detected.said.failure === undefined ? decideCrops(unit, detected, crop, d) : detected;
}

/** What the unit before left, if it was one of this chain. */
function keptOf({ lane, frame }: Unit, { passportSha256 }: ServingModel): readonly Uint8Array[] | undefined {
  const memory = lane.chains.get(frame.id.boot)?.memory;
  return memory?.statesOf === passportSha256 ? memory.states : undefined;
}

async function run(
  unit: Unit,
  { step, inputs, memory, raw }: { step: StepModel; inputs: readonly Uint8Array[]; memory: StepMemory; raw: boolean },
  d: StepsDeps,
): Promise<UnitAnswer> {
  const now = d.clock.monotonic();
  if (now >= dueAt(unit.frame, unit.pipeline)) throw new BrinkError('E_EXPIRED', `before ${step.model.name} had it`);
  const tensors = [...inputs, ...memory.states];
  const body = decideBody(step.model, [unit], now, raw);
  const answers = answersOf(await d.request(body, tensors, { timeoutMs: d.timeoutMs }), [unit]);
  if (answers instanceof BrinkError) throw answers;
  const [answer = failedAnswer(undefined)] = answers;
  if (answer.said.failure === undefined) memory.states = answer.states.slice(0, step.model.states.length);
  return answer;
}

/** The one output that the next step goes on with: the first that the passport names. @throws BrinkError E_MODEL_OUTPUT */
function outputOf({ states }: UnitAnswer, { model }: StepModel): Float32Array {
  const bytes = states[model.states.length];
  if (bytes === undefined) {
    throw new BrinkError('E_MODEL_OUTPUT', `${model.name}@${model.version} gave no output to go on with`);
  }
  return new Float32Array(new Uint8Array(bytes).buffer);
}

const NO_WORDS: ReadonlySet<string> = new Set(['regression', 'embedding', 'raw']);

/** There was not enough for the last step yet. */
function nothingYet({ task }: ServingModel): Omit<UnitAnswer, 'states'> {
  const words = NO_WORDS.has(task) ? {} : { label: 'none', score: 0 };
  const resultJson = JSON.stringify({ task, ...words, quality: 'bad' });
  return { said: create(link.UnitResultSchema, { payloads: 1, batch: 1 }), resultJson };
}
