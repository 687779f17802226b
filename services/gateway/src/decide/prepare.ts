import { type PictureTarget, readText } from '@brink/decode';
import { checkTensorBytes, firstState } from '@brink/preprocess';
import { BrinkError, misfitOf } from '@brink/protocol';
import type { Clock } from '@brink/runtime';
import type { DecodePool } from '../decode/pool.ts';
import type { DecodedFrame } from '../decode/worker.ts';
import type { Frame } from '../ingest/frame.ts';
import type { Keeper } from '../keep/keeper.ts';
import type { FrameTreatment, Masking, PictureMask } from '../mask/masking.ts';
import type { ServingModel } from '../models/models.ts';
import type { PreparedUnit, Unit } from './unit.ts';

/** One decode of one frame, for every model that wanted it at that moment. */
interface Decoding {
  readonly models: readonly ServingModel[];
  readonly done: Promise<Seen>;
}

interface Seen extends DecodedFrame {
  readonly masked?: PictureMask | undefined;
}

/**
 * From a frame's bytes to the input tensors of one model. A picture is decoded once for all the models that want it now;
 * a unit that asks later for one of these models gets what was made for it.
 */
export function createPreparer(d: {
  clock: Clock;
  pool: DecodePool;
  masking: Masking;
  keeper: Pick<Keeper, 'qualityFor' | 'decoded'>;
  /** Models for which this frame still waits and that could take it at once. */
  alsoWanted(frame: Frame): ServingModel[];
}) {
  const decodings = new WeakMap<Frame, Decoding>();

  /** Nothing of a frame that has to be masked is decoded for anybody else before its mask is known. */
  function treated(frame: Frame, targets: readonly PictureTarget[], alone: boolean): Promise<Seen> {
    const treatment = d.masking.of(frame, alone, d.keeper.qualityFor(frame));
    if (treatment === undefined) return d.pool.decode(frame.payload, targets, alone);
    return decodedAfter(frame, targets, alone, treatment);
  }

  async function decodedAfter(
    frame: Frame,
    targets: readonly PictureTarget[],
    alone: boolean,
    treatment: FrameTreatment | Promise<FrameTreatment>,
  ): Promise<Seen> {
    const { masked, ...how } = treatment instanceof Promise ? await treatment : treatment;
    const decoded = await d.pool.decode(frame.payload, targets, alone, how);
    d.keeper.decoded(frame, decoded.kept);
    return { ...decoded, kept: undefined, masked };
  }

  function decoding(unit: Unit, model: ServingModel): Decoding {
    const { frame } = unit;
    const running = decodings.get(frame);
    if (running?.models.some((one) => one.passportSha256 === model.passportSha256)) return running;
    const models = [model, ...d.alsoWanted(frame).filter((one) => one.passportSha256 !== model.passportSha256)];
    const targets: PictureTarget[] = models.flatMap((one) => one.targets);
    const started = { models, done: treated(frame, targets, unit.attempts > 0) };
    decodings.set(frame, started);
    // A decode that failed is not what a later unit, or another attempt, should get.
    started.done.catch(() => {
      if (decodings.get(frame) === started) decodings.delete(frame);
    });
    return started;
  }

  return {
    /** @throws BrinkError E_UNSUPPORTED where the stream cannot feed the model, E_SHAPE, what is wrong with the samples */
    tensor(unit: Unit, model: ServingModel): PreparedUnit {
      checkFit(unit, model);
      if (unit.formed === undefined) {
        return {
          model,
          tensors: withStates(wholeFrame(unit.frame, d.masking.messageOf(unit.frame), model), unit, model),
        };
      }
      const startedAt = d.clock.monotonic();
      const inputs = windowOf(unit, model);
      return { model, tensors: withStates(inputs, unit, model), windowMs: d.clock.monotonic() - startedAt };
    },

    /** @throws BrinkError what is wrong with the picture; E_CRASHED or E_TIMEOUT: an attempt; E_UNSUPPORTED */
    async picture(unit: Unit, model: ServingModel): Promise<PreparedUnit> {
      checkFit(unit, model);
      const { models, done } = decoding(unit, model);
      const { pictures, width, height, decodeMs, maskMs, masked, release } = await done;
      let at = 0;
      for (const one of models) {
        if (one.passportSha256 === model.passportSha256) break;
        at += one.targets.length;
      }
      const own = pictures.slice(at, at + model.targets.length);
      const [first] = own;
      if (first === undefined) throw new BrinkError('E_INTERNAL', 'a decode without the target that was asked for');
      own.forEach(({ pixels }, i) => {
        const head = model.heads[i];
        if (head !== undefined) checkTensorBytes(pixels.byteLength, head);
      });
      const tensors = own.map(({ pixels }) => pixels);
      const picture = { transform: first.transform, width, height, decodeMs, maskMs, masked, release };
      return { model, tensors: withStates(tensors, unit, model), picture };
    },

    /** Parts of the picture, for a model that looks at them one by one. @param boxes of the upright original @throws as `picture` */
    async crops(
      { frame, attempts }: Unit,
      { targets: [target] }: ServingModel,
      boxes: readonly (readonly number[])[],
    ): Promise<readonly Uint8Array[]> {
      if (target === undefined) throw new BrinkError('E_PASSPORT', 'a step with crop takes pictures');
      const targets = boxes.map((region) => ({ ...target, region }));
      const { pictures } = await treated(frame, targets, attempts > 0);
      return pictures.map(({ pixels }) => pixels);
    },
  };
}

export type Preparer = ReturnType<typeof createPreparer>;
export type Crops = Preparer['crops'];

function checkFit({ frame, formed }: Unit, model: ServingModel): void {
  if (formed?.error !== undefined) throw formed.error;
  const why = misfitOf(frame.plan.brings, model.needs);
  if (why === undefined) return;
  throw new BrinkError('E_UNSUPPORTED', `${model.name}@${model.version} on stream "${frame.id.stream}": ${why}`);
}

/** A text, or a tensor. */
function wholeFrame({ plan }: Frame, payload: Uint8Array, model: ServingModel): readonly Uint8Array[] {
  if (plan.format !== 'text') return sliced(payload, model);
  if (model.textTensors === undefined) throw new BrinkError('E_INTERNAL', `${model.name} has no tokenizer`);
  return model.textTensors(readText(payload));
}

/** A frame that is a tensor, or several of them one after the other. */
function sliced(payload: Uint8Array, { heads, states }: ServingModel): readonly Uint8Array[] {
  const inputs = heads.slice(0, heads.length - states.length);
  const [first] = inputs;
  if (inputs.length === 1 && first !== undefined) {
    checkTensorBytes(payload.byteLength, first);
    return [payload];
  }
  const expected = inputs.reduce((sum, { bytes }) => sum + bytes, 0);
  if (payload.byteLength !== expected) {
    const text = inputs.map(({ name, dtype, shape }) => `${dtype} ${shape.join(' × ')} for "${name}"`).join(', then ');
    throw new BrinkError('E_SHAPE', `the frame has ${payload.byteLength} bytes; expected ${expected}: ${text}`);
  }
  let at = 0;
  return inputs.map(({ bytes }) => {
    at += bytes;
    return payload.subarray(at - bytes, at);
  });
}

function windowOf({ formed, prepared }: Unit, { inputs }: ServingModel): readonly Uint8Array[] {
  // It is worked out once, also where the unit goes again.
  if (prepared !== undefined) return prepared.tensors.slice(0, inputs.length);
  if (formed?.window?.tensors === undefined) {
    throw new BrinkError('E_INTERNAL', 'a window whose samples are no more');
  }
  return formed.window.tensors();
}

/** What the unit before left, or what the model begins with. The lane is held, so nothing changes it meanwhile. */
function withStates(inputs: readonly Uint8Array[], { lane, frame }: Unit, model: ServingModel): readonly Uint8Array[] {
  if (model.states.length === 0) return inputs;
  const memory = lane.chains.get(frame.id.boot)?.memory;
  const kept = memory?.statesOf === model.passportSha256 ? memory.states : undefined;
  return [...inputs, ...(kept ?? model.states.map(firstState))];
}
