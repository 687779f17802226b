import type { StateSpec } from '@brink/protocol';

/** @returns the bytes of the state before the first unit of a stream: float32 (little-endian), every element `init` */
export function firstState(state: Pick<StateSpec, 'shape' | 'init'>): Uint8Array {
  const elements = state.shape.reduce((product, size) => product * size, 1);
  return new Uint8Array(new Float32Array(elements).fill(state.init).buffer);
}
