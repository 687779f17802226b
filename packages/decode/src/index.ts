import { fileURLToPath } from 'node:url';

export { readCbor } from './cbor.ts';
export { type PictureTarget, type PictureTransform, type Placement, place } from './geometry.ts';
export type { Denoise } from './libvips.ts';
export type { MaskShape } from './mask.ts';
export {
  type DecodedPicture,
  type DecodeOptions,
  decodePicture,
  PIXELS_MAX_DEFAULT,
  type PreparedPicture,
} from './picture.ts';
export { type PreparedUnit, prepareFile } from './prepare.ts';
export { type RawEncoding, readRaw } from './raw.ts';
export { readSignal } from './signal.ts';
export { type Envelope, isEnvelope, isPicture, type SniffedType, sniff } from './sniff.ts';
export { createTextTensors, readText, type TextTensors } from './text.ts';
export { type Recording, readWav } from './wav.ts';

/** What `createChild` runs: a process that decodes what its parent sends. */
export const DECODE_CHILD = fileURLToPath(new URL('./child.ts', import.meta.url));
