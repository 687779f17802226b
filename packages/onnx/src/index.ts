export { encode, type GraphParts, graph, model, node, tensor, value } from './build.ts';
export { comparePassport, type Disagreement } from './compare.ts';
export { DERIVER_VERSION, type DerivedGraph, deriveGraph } from './derive/derive.ts';
export { type Fit, fitShape } from './derive/fit.ts';
export { type DraftOptions, draftPassport, type PassportDraft } from './draft/draft.ts';
export { takesText } from './draft/hugging-face.ts';
export type { Dtype } from './dtype.ts';
export { type Dimension, type ModelInfo, NODES_MAX, readModel, type TensorInfo } from './read.ts';
export { simpleCnnGraph } from './simple-cnn.ts';
