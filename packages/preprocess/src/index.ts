export { type Assembler, type AssemblerOptions, createAssembler, type FormedWindow } from './assembler.ts';
export { channelsOf, type ImageTarget, imageTarget, normaliseToFloat } from './image.ts';
export { resample } from './resample.ts';
export { signalUnits } from './signal.ts';
export { firstState } from './state.ts';
export { audioUnits, type Units } from './units.ts';
export { checkTensorBytes, isPrepared, type WireHead, wireHeads } from './wire.ts';
