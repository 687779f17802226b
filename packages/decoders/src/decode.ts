import { BrinkError, type Evidence, type OutputSpec, type Result, type Task } from '@brink/protocol';
import type { Labels } from './labels.ts';
import type { BatchOutputs } from './tensors.ts';

export interface DecoderOptions<Output extends OutputSpec = OutputSpec> {
  readonly task: Task;
  readonly output: Output;
  /** without them the label is the class's number */
  readonly labels?: Labels | undefined;
  /** Of the model's picture, in pixels: for boxes that come in pixels or cells. */
  readonly input?: PictureSize | undefined;
  /** Of the model's folder, by path: those that `outputFiles` names, labels apart. */
  readonly files?: ReadonlyMap<string, Uint8Array> | undefined;
}

export interface PictureSize {
  readonly width: number;
  readonly height: number;
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

/** The name of the only output. */
export function onlyTensor({ tensors, decoder }: Pick<OutputSpec, 'tensors' | 'decoder'>): string {
  const [name, ...more] = Object.values(tensors);
  if (name !== undefined && more.length === 0) return name;
  const count = more.length + (name === undefined ? 0 : 1);
  throw new BrinkError('E_PASSPORT', `output.tensors has ${count} entries; ${decoder} takes one`);
}

/** @throws BrinkError E_PASSPORT where the model takes no picture */
export function pictureOf({ input, output }: DecoderOptions): PictureSize {
  if (input !== undefined) return input;
  throw new BrinkError(
    'E_PASSPORT',
    `output.decoder "${output.decoder}" measures in pixels of the model's picture; expected an \`image\` among the inputs`,
  );
}
