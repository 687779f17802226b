import { BrinkError, misfitOf } from '@brink/protocol';
import type { Admission } from '../ingest/admission.ts';
import type { Frame } from '../ingest/frame.ts';
import type { Lane, Piece } from '../ingest/lanes.ts';
import type { Source } from '../ingest/sources.ts';
import type { Models, ServingModel } from '../models/models.ts';
import type { FormedUnit } from './formed.ts';
import type { Samples } from './samples.ts';
import { chainOf } from './state.ts';

export interface WindowsDeps {
  models: Pick<Models, 'known'>;
  admission: Pick<Admission, 'offerFormed'>;
  /** A pipeline did not see a frame: nobody knows yet what its model takes. */
  onUnseen(): void;
}

/** Frames of sound and of signals → the windows that they complete, pipeline by pipeline. */
export function createWindows(config: { bytesMax: number }, d: WindowsDeps) {
  let bytes = 0;

  /** What the samples of a frame complete in one lane. */
  function cut(lane: Lane, frame: Frame, samples: Samples, model: ServingModel): Piece[] {
    const { id, plan, at } = frame;
    const formed = misfit(frame, model) ?? chainOf(lane, id.boot, plan).push({ seq: id.seq, at }, samples, model);
    return formed.map((one, part) => ({ frame, lane, part, formed: one }));
  }

  return {
    cut,

    /** Bytes of samples that are kept for later windows. */
    get bytes() {
      return bytes;
    },
    /** Why no sample of this source can be kept: what those have that are there is bounded by their windows. */
    refuses({ plan, lanes }: Pick<Source, 'plan' | 'lanes'>): BrinkError | undefined {
      if (plan.samples === undefined || bytes <= config.bytesMax) return undefined;
      if (lanes.some(({ chains }) => chains.size > 0)) return undefined;
      return new BrinkError('E_BUSY', 'no room for the samples of one more device (BRINK_WINDOW_BYTES_MAX)');
    },
    /** To be called about once a second: what lanes hold goes with them, and nobody tells. */
    measure(lanes: Iterable<Lane>): void {
      bytes = 0;
      for (const { chains } of lanes) for (const chain of chains.values()) bytes += chain.bytes;
    },

    /**
     * A frame of a `latest` stream: what it completes takes the place of what waited before.
     * @param now on the monotonic clock
     * @returns false where no pipeline could look at it
     */
    offer(frame: Frame, samples: Samples, lanes: readonly Lane[], now: number): boolean {
      const known = lanes.flatMap((lane) => {
        const model = d.models.known(lane.pipeline.model);
        if (model !== undefined) return [{ lane, model }];
        d.onUnseen();
        return [];
      });
      const pieces = known.map(({ lane, model }) => ({ lane, pieces: cut(lane, frame, samples, model) }));
      frame.formed = true;
      frame.units = pieces.flatMap((of) => of.pieces.map(({ part }) => ({ pipeline: of.lane.pipeline, part })));
      for (const of of pieces) d.admission.offerFormed(of.lane, of.pieces, now);
      return known.length > 0;
    },
  };
}

export type Windows = ReturnType<typeof createWindows>;

/** The one unit of a frame that the model cannot be fed with: it says why. */
function misfit(frame: Frame, { needs, name, version, inputsKey }: ServingModel): FormedUnit[] | undefined {
  const why = misfitOf(frame.plan.brings, needs);
  if (why === undefined) return undefined;
  const { seq, stream } = frame.id;
  const error = new BrinkError('E_UNSUPPORTED', `${name}@${version} on stream "${stream}": ${why}`);
  const frames = { first: seq, last: seq, received: 1 };
  return [{ window: undefined, error, gaps: undefined, frames, inputsKey }];
}
