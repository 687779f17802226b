export { createDecoder, type Decode, type Decoded, type DecoderOptions } from './decoder.ts';
export { type Labels, parseLabels } from './labels.ts';
export { type BatchOutputs, type BatchTensor, sliceOf } from './tensors.ts';
