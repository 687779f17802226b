import type { ModelInfo, TensorInfo } from '../read.ts';

/** What a source of knowledge (metadata, configuration files, shapes) says of a passport. */
export interface Part {
  readonly task?: string;
  readonly licence?: string;
  readonly source?: string;
  /** by the name of the graph's input */
  readonly inputs: readonly object[];
  readonly output?: Readonly<Record<string, unknown>>;
  /** in the order of the classes */
  readonly labels?: readonly string[] | undefined;
  /** What nobody says, each with its path in the passport. */
  readonly missing: readonly string[];
  /** What was taken and may be wrong. */
  readonly doubts: readonly string[];
}

/** What exporters of Hugging Face call the inputs of language models. */
export const TEXT_INPUTS: Readonly<Record<string, 'ids' | 'mask' | 'types'>> = {
  input_ids: 'ids',
  attention_mask: 'mask',
  token_type_ids: 'types',
};
export const TOKENIZER = 'tokenizer.json';
/** Tokens enough for some sentences; the work grows with it. */
export const LENGTH_MAX = 128;

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export const shapeText = ({ dtype, shape }: TensorInfo): string =>
  `${dtype ?? 'unknown type'} ${shape === undefined ? '(of unknown shape)' : `[${shape.map((size) => size ?? '?').join(', ')}]`}`;

/** A picture's size and layout as the tensor has them; what is free there is undefined. */
export interface PictureShape {
  readonly layout: 'nchw' | 'nhwc';
  readonly channels: number | undefined;
  readonly height: number | undefined;
  readonly width: number | undefined;
}

/** @returns undefined where it is no shape of pictures */
export function pictureShape({ shape }: TensorInfo): PictureShape | undefined {
  if (shape?.length !== 4) return undefined;
  const [, a, b, c] = shape.map((size) => (typeof size === 'number' ? size : undefined));
  const colours = (size: number | undefined) => size === 1 || size === 3;
  if (colours(c) && !colours(a)) return { layout: 'nhwc', channels: c, height: a, width: b };
  if (a !== undefined && !colours(a)) return undefined;
  return { layout: 'nchw', channels: a, height: b, width: c };
}

/** The first input that has the shape of pictures. */
export function pictureInput(info: ModelInfo): { tensor: TensorInfo; shape: PictureShape } | undefined {
  for (const tensor of info.inputs) {
    const shape = pictureShape(tensor);
    if (shape !== undefined) return { tensor, shape };
  }
  return undefined;
}

/** How many classes an output has: its last dimension, where that is a number. */
export function lastSize(tensor: TensorInfo | undefined): number | undefined {
  const size = tensor?.shape?.at(-1);
  return typeof size === 'number' ? size : undefined;
}
