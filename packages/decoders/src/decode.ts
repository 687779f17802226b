import type { Evidence, OutputSpec, Result, Task } from '@brink/protocol';
import type { Labels } from './labels.ts';
import type { BatchOutputs } from './tensors.ts';

export interface DecoderOptions {
  readonly task: Task;
  readonly output: OutputSpec;
  /** without them the label is the class's number */
  readonly labels?: Labels | undefined;
}

export interface Decoded {
  readonly result: Result;
  /** The largest raw scores, for the evidence. */
  readonly top: NonNullable<Evidence['top']>;
}

/**
 * Unit `unit` of a run. Reads that unit's slice alone, so its batch-mates cannot change it.
 * @param language of label_text @throws BrinkError E_MODEL_OUTPUT, E_PASSPORT
 */
export type Decode = (outputs: BatchOutputs, unit: number, language: string) => Decoded;
