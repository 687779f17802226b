import { BrinkError } from '@brink/protocol/link';
import { pixelsOf } from './mask.ts';

/** What one model wants of a picture: the part of the passport's `image` that concerns pixels, not numbers. */
export interface PictureTarget {
  readonly width: number;
  readonly height: number;
  readonly fit: 'stretch' | 'letterbox' | 'crop';
  /** Grey level around a letterboxed picture, 0..255. */
  readonly pad: number;
  readonly kernel: 'nearest' | 'bilinear' | 'bicubic' | 'lanczos3';
  readonly colour: 'rgb' | 'bgr' | 'grey';
  /** Only this part of the upright original, x0 y0 x1 y1, each 0..1. */
  readonly region?: readonly number[] | undefined;
}

/** Model input pixel = original pixel · scale + offset, for x and y. Original: upright, before any resizing. */
export interface PictureTransform {
  readonly scaleX: number;
  readonly scaleY: number;
  readonly offsetX: number;
  readonly offsetY: number;
}

/** How the upright original is brought to the target: resize, then either cut or frame. */
export interface Placement {
  readonly resize: { readonly width: number; readonly height: number };
  /** Where the target's window lies in the resized picture (crop). */
  readonly cut?: { readonly left: number; readonly top: number };
  /** Pixels of padding around the resized picture (letterbox). */
  readonly frame?: { readonly left: number; readonly top: number; readonly right: number; readonly bottom: number };
  readonly transform: PictureTransform;
}

/** As `place`, of the target's region where it has one. The transform is that of the whole original in any case. */
export function placeIn(width: number, height: number, target: PictureTarget): Placement {
  if (target.region === undefined) return place(width, height, target);
  const { left, top, right, bottom } = pixelsOf(target.region, { width, height });
  const placement = place(right - left, bottom - top, target);
  const { scaleX, scaleY, offsetX, offsetY } = placement.transform;
  const transform = { scaleX, scaleY, offsetX: offsetX - left * scaleX, offsetY: offsetY - top * scaleY };
  return { ...placement, transform };
}

/** A side longer than this after resizing comes from a picture so thin that a crop of it means nothing. */
const RESIZED_SIDE_MAX = 32_768;

/**
 * Where a picture of `width` × `height` lands in the target.
 * Letterbox centres as Ultralytics' LetterBox does (the odd pixel goes right and below); crop cuts the centre.
 * @throws BrinkError E_SHAPE where the sides differ so much that the picture cannot be cropped to the target
 */
export function place(width: number, height: number, target: PictureTarget): Placement {
  if (target.fit === 'stretch') {
    return {
      resize: { width: target.width, height: target.height },
      transform: transformOf(width, height, target, 0, 0),
    };
  }
  const ratios = [target.width / width, target.height / height];
  const scale = target.fit === 'letterbox' ? Math.min(...ratios) : Math.max(...ratios);
  const resize = { width: Math.max(1, Math.round(width * scale)), height: Math.max(1, Math.round(height * scale)) };
  if (target.fit === 'letterbox') {
    const left = Math.floor((target.width - resize.width) / 2);
    const top = Math.floor((target.height - resize.height) / 2);
    const right = target.width - resize.width - left;
    const bottom = target.height - resize.height - top;
    return { resize, frame: { left, top, right, bottom }, transform: transformOf(width, height, resize, left, top) };
  }
  if (Math.max(resize.width, resize.height) > RESIZED_SIDE_MAX) {
    throw new BrinkError(
      'E_SHAPE',
      `a picture of ${width} × ${height} cannot be cropped to ${target.width} × ${target.height}; expected sides less unlike`,
    );
  }
  const left = Math.floor((resize.width - target.width) / 2);
  const top = Math.floor((resize.height - target.height) / 2);
  return { resize, cut: { left, top }, transform: transformOf(width, height, resize, 0 - left, 0 - top) };
}

function transformOf(
  width: number,
  height: number,
  resized: { width: number; height: number },
  offsetX: number,
  offsetY: number,
): PictureTransform {
  return { scaleX: resized.width / width, scaleY: resized.height / height, offsetX, offsetY };
}
