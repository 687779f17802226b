import type { Head } from '../scheduler/job.ts';

/** A tensor between a face and the engine: dtype as ONNX Runtime calls it; strings are packed as BYTES are. */
export interface OipTensor {
  readonly head: Head;
  readonly bytes: Uint8Array;
}

export interface OipRequest {
  readonly tensors: readonly OipTensor[];
  /** undefined: all, in the order of the graph */
  readonly outputs: readonly WantedOutput[] | undefined;
  /** 9 first */
  readonly priority: number;
  /** how long it may wait for its run; Infinity for no limit of its own */
  readonly timeoutMs: number;
  /** for fairness between clients */
  readonly client: string;
  /** Aborts when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

export interface WantedOutput {
  readonly name: string;
  /** 0: the tensor; n: its n highest classes */
  readonly classification: number;
}
