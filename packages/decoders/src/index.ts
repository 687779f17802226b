export type { Decode, Decoded, DecoderOptions } from './decode.ts';
export { createDecoder } from './decoder.ts';
export { type Labels, parseLabels } from './labels.ts';
export { type BatchOutputs, type BatchTensor, sliceOf } from './tensors.ts';
