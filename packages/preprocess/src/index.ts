export { channelsOf, type ImageTarget, imageTarget, normaliseToFloat } from './image.ts';
export { firstState } from './state.ts';
export { checkTensorBytes, isPrepared, type WireHead, wireHeads } from './wire.ts';
