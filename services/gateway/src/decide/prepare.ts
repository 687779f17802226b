import type { PictureTarget } from '@brink/decode';
import { checkTensorBytes } from '@brink/preprocess';
import { BrinkError } from '@brink/protocol';
import type { DecodePool } from '../decode/pool.ts';
import type { DecodedFrame } from '../decode/worker.ts';
import type { Frame } from '../ingest/frame.ts';
import type { ServingModel } from '../models/models.ts';
import type { PreparedUnit, Unit } from './unit.ts';

/** One decode of one frame, for every model that wanted it at that moment. */
interface Decoding {
  readonly models: readonly ServingModel[];
  readonly done: Promise<DecodedFrame>;
}

/**
 * From a frame's bytes to the input tensor of one model. A picture is decoded once for all the models that want it now;
 * a unit that asks later for one of these models gets what was made for it.
 */
export function createPreparer(d: {
  pool: DecodePool;
  /** Models for which this frame still waits and that could take it at once. */
  alsoWanted(frame: Frame): ServingModel[];
}) {
  const decodings = new WeakMap<Frame, Decoding>();

  function decoding(unit: Unit, model: ServingModel): Decoding {
    const { frame } = unit;
    const running = decodings.get(frame);
    if (running?.models.some((one) => one.passportSha256 === model.passportSha256)) return running;
    const models = [model, ...d.alsoWanted(frame).filter((one) => one.passportSha256 !== model.passportSha256)];
    const targets: PictureTarget[] = models.map(({ target }) => target);
    const started = { models, done: d.pool.decode(frame.payload, targets, unit.attempts > 0) };
    decodings.set(frame, started);
    // A decode that failed is not what a later unit, or another attempt, should get.
    started.done.catch(() => {
      if (decodings.get(frame) === started) decodings.delete(frame);
    });
    return started;
  }

  return {
    /** @throws BrinkError E_SHAPE */
    tensor(unit: Unit, model: ServingModel): PreparedUnit {
      const { payload } = unit.frame;
      checkTensorBytes(payload.byteLength, model.head);
      return { model, tensor: payload };
    },

    /** @throws BrinkError what is wrong with the picture; E_CRASHED or E_TIMEOUT: an attempt */
    async picture(unit: Unit, model: ServingModel): Promise<PreparedUnit> {
      const { models, done } = decoding(unit, model);
      const { pictures, width, height, decodeMs } = await done;
      const picture = pictures[models.findIndex((one) => one.passportSha256 === model.passportSha256)];
      if (picture === undefined) throw new BrinkError('E_INTERNAL', 'a decode without the target that was asked for');
      checkTensorBytes(picture.pixels.byteLength, model.head);
      return { model, tensor: picture.pixels, picture: { transform: picture.transform, width, height, decodeMs } };
    },
  };
}

export type Preparer = ReturnType<typeof createPreparer>;
