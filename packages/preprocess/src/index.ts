export {
  channelsOf,
  checkTensorBytes,
  type ImageTarget,
  imageTarget,
  normaliseToFloat,
  type WireHead,
  wireHead,
} from './image.ts';
