export type { Decode, Decoded, DecoderOptions, PictureSize } from './decode.ts';
export { createDecoder } from './decoder.ts';
export { compile, type Expression } from './expression.ts';
export { type Labels, parseLabels } from './labels.ts';
export { type Corners, iou } from './nms.ts';
export { type BoxTransform, boxToOriginal, resultToOriginal } from './original.ts';
export { type BatchOutputs, type BatchTensor, sliceOf } from './tensors.ts';
