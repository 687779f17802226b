export { channelsOf, type ImageTarget, imageTarget, normaliseToFloat } from './image.ts';
export { checkTensorBytes, isPrepared, type WireHead, wireHeads } from './wire.ts';
