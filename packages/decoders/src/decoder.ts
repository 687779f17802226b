import type { Evidence, OutputSpec, Result, Task } from '@brink/protocol';
import { createClassification } from './classification.ts';
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

/** Adding a decoder is adding a file and a line here (and its name to OutputSchema). */
const DECODERS: Readonly<Record<OutputSpec['decoder'], (o: DecoderOptions) => Decode>> = {
  classification: createClassification,
};

/** @throws BrinkError E_PASSPORT where the passport's output and the decoder do not go together */
export function createDecoder(options: DecoderOptions): Decode {
  return DECODERS[options.output.decoder](options);
}
