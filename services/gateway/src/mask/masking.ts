import type { MaskShape } from '@brink/decode';
import type { Treatment } from '../decode/worker.ts';
import type { Frame } from '../ingest/frame.ts';
import { type FacesDeps, findFaces } from './faces.ts';
import { maskFields } from './fields.ts';
import type { Secrets } from './secrets.ts';

/** What is to be masked in one picture. */
export interface PictureMask {
  readonly shapes: readonly MaskShape[];
  readonly faces: number;
  /** Of finding them. */
  readonly facesMs: number;
}

/** What is done to a picture, and what to tell of it. */
export interface FrameTreatment extends Treatment {
  readonly masked: PictureMask | undefined;
}

/** Before everything else that inference has to do: nothing of the frame can go on without it. */
const PRIORITY = 9;

const NOTHING: PictureMask = { shapes: [], faces: 0, facesMs: 0 };

/**
 * What has to happen to a picture before any model, ring or recording gets it. Where faces are masked a detector is asked first, once
 * per frame whoever wants it.
 */
export function createMasking(
  d: FacesDeps & {
    secrets: Pick<Secrets, 'key'>;
    onMasked(faces: number, ms: number): void;
    onFailed(code: string): void;
  },
) {
  const found = new WeakMap<Frame, Promise<PictureMask>>();

  async function detect(frame: Frame, alone: boolean, priority: number): Promise<PictureMask> {
    const { mask } = frame.plan;
    const start = d.clock.monotonic();
    const shapes = mask?.shapes ?? [];
    if (mask?.faces === undefined) return { ...NOTHING, shapes };
    try {
      const faces = await findFaces(frame, mask.faces, { shapes, alone, priority }, d);
      const facesMs = d.clock.monotonic() - start;
      d.onMasked(faces.length, facesMs);
      return { shapes: [...shapes, ...faces], faces: faces.length, facesMs };
    } catch (reason) {
      d.onFailed((reason as { code?: string }).code ?? 'E_INTERNAL');
      throw reason;
    }
  }

  /** One search per frame; one that failed is not what another attempt should get. */
  function maskOf(frame: Frame, alone: boolean, priority: number): Promise<PictureMask> {
    let searching = found.get(frame);
    if (searching === undefined) {
      searching = detect(frame, alone, priority);
      found.set(frame, searching);
      searching.catch(() => found.delete(frame));
    }
    return searching;
  }

  return {
    /** The bytes of a frame that is no picture, without the fields that nobody may see. @throws BrinkError E_MASK */
    messageOf: (frame: Frame): Uint8Array => messageOf(frame, d.secrets),

    /**
     * @param keepQuality the masked picture is wanted too
     * @returns undefined where nothing is to be done; a promise only where a detector is asked. It rejects where the frame cannot be
     * masked: then nothing of it may go on.
     */
    of(
      frame: Frame,
      alone: boolean,
      keepQuality: number | undefined,
      priority = PRIORITY,
    ): FrameTreatment | Promise<FrameTreatment> | undefined {
      const { mask, denoise } = frame.plan;
      const rest = { denoise, keepQuality };
      if (mask?.faces !== undefined) {
        return maskOf(frame, alone, priority).then((masked) => ({ ...rest, masks: masked.shapes, masked }));
      }
      if (mask === undefined && denoise === undefined && keepQuality === undefined) return undefined;
      const shapes = mask?.shapes ?? [];
      return { ...rest, masks: shapes, masked: shapes.length === 0 ? undefined : { ...NOTHING, shapes } };
    },
  };
}

/** What of a message may be seen. @throws BrinkError E_MASK */
function messageOf({ plan, payload }: Frame, secrets: Pick<Secrets, 'key'>): Uint8Array {
  const fields = plan.mask?.fields ?? [];
  return fields.length === 0 ? payload : maskFields(payload, fields, secrets.key);
}

export type Masking = ReturnType<typeof createMasking>;
