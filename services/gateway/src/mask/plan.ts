import type { MaskShape } from '@brink/decode';
import type { MaskConfig } from '@brink/protocol';

export interface FacesPlan {
  readonly model: string;
  /** Undefined: what the passport says. */
  readonly scoreMin: number | undefined;
  /** Part of a box's width and height, on every side. */
  readonly grow: number;
}

export interface FieldsPlan {
  /** Each a path, level by level. */
  readonly drop: readonly (readonly string[])[];
  readonly pseudonymise: readonly (readonly string[])[];
  /** Name of the secret; '' where nothing is replaced. */
  readonly secret: string;
}

/** The masks of one stream. */
export interface MaskPlan {
  readonly shapes: readonly MaskShape[];
  readonly faces: FacesPlan | undefined;
  readonly fields: readonly FieldsPlan[];
}

/** @returns undefined where nothing is masked */
export function maskPlanOf(mask: readonly MaskConfig[]): MaskPlan | undefined {
  if (mask.length === 0) return undefined;
  const shapes: MaskShape[] = [];
  const fields: FieldsPlan[] = [];
  let faces: FacesPlan | undefined;
  for (const one of mask) {
    if ('regions' in one) shapes.push(...one.regions.map((region) => region.flat()));
    else if ('faces' in one) faces = { model: one.faces.model, scoreMin: one.faces.score_min, grow: one.faces.grow };
    else {
      const { drop, pseudonymise, secret = '' } = one.fields;
      fields.push({ drop: drop.map(levels), pseudonymise: pseudonymise.map(levels), secret });
    }
  }
  return { shapes, faces, fields };
}

const levels = (path: string) => path.split('.');
