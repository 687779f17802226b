import type { Result } from '@brink/protocol';
import type { PictureSize } from './decode.ts';
import { bestOf, clamped } from './detection.ts';
import type { Corners } from './nms.ts';

/** Model input pixel = original pixel · scale + offset, for x and y. Original: upright, before any resizing. */
export interface BoxTransform {
  readonly scaleX: number;
  readonly scaleY: number;
  readonly offsetX: number;
  readonly offsetY: number;
}

/**
 * From 0..1 of the model's picture to 0..1 of the upright original, whatever brought the one to the other: stretch, letterbox,
 * crop. What lies outside the original (the padding) is cut off; a box that lies there as a whole comes back without area.
 * @param target the model's picture, in pixels @param original upright, in pixels
 */
export function boxToOriginal(
  box: Corners,
  { scaleX, scaleY, offsetX, offsetY }: BoxTransform,
  target: PictureSize,
  original: PictureSize,
): [number, number, number, number] {
  const x = (part: number) => (part * target.width - offsetX) / (scaleX * original.width);
  const y = (part: number) => (part * target.height - offsetY) / (scaleY * original.height);
  return clamped([x(box[0]), y(box[1]), x(box[2]), y(box[3])]);
}

/** A result whose boxes lie in the original: objects without area there go, and label and score are those of the best that is left. */
export function resultToOriginal(
  result: Result,
  transform: BoxTransform,
  target: PictureSize,
  original: PictureSize,
): Result {
  if (result.objects === undefined) return result;
  const objects = result.objects.flatMap((object) => {
    const box = boxToOriginal(object.box, transform, target, original);
    return box[2] > box[0] && box[3] > box[1] ? [{ ...object, box }] : [];
  });
  const { label: _label, label_text: _text, score: _score, ...rest } = result;
  return { ...rest, ...bestOf(objects), objects };
}
