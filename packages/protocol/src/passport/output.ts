import { z } from 'zod';
import type { Task } from '../decision.ts';
import {
  AnchorFreeSchema,
  BoxRowsSchema,
  GridSchema,
  ScoresBoxesSchema,
  SegmentationSchema,
  SsdSchema,
  Yolov5Schema,
  Yolov8Schema,
  YoloxSchema,
} from './detectors.ts';
import { Count, labels, oneTensor, Share } from './outputs.ts';

// How the output tensors of a model become a decision: one schema per decoder.

const classes = {
  tensors: oneTensor,
  activation: z.enum(['softmax', 'sigmoid', 'none']).default('softmax'),
  labels,
  score_min: Share.default(0).describe('below it the label is "none" with score 0'),
  top: Count.max(100).default(5),
};

const ClassificationSchema = z.strictObject({ decoder: z.literal('classification'), ...classes });
const TextClassificationSchema = z.strictObject({ decoder: z.literal('text-classification'), ...classes });
const KeywordSchema = z.strictObject({
  decoder: z.literal('keyword'),
  ...classes,
  ignore: z
    .array(z.string().min(1).max(200))
    .max(100)
    .default([])
    .describe('labels that are no keyword (silence, unknown): where one of them is best the label is "none"'),
});
const MultiLabelSchema = z.strictObject({
  decoder: z.literal('multi-label'),
  ...classes,
  activation: z.enum(['sigmoid', 'none']).default('sigmoid'),
  score_min: Share.default(0.5).describe('every class that reaches it is given'),
  top: Count.max(100).default(100),
});

/** The output that the derived graph adds for `anomaly-reconstruction`: float32 [batch]. */
export const RECONSTRUCTION_ERROR = 'brink_error';

const Threshold = z.number().positive().describe('above it the unit is an anomaly');

const AnomalyReconstructionSchema = z.strictObject({
  decoder: z.literal('anomaly-reconstruction'),
  tensors: oneTensor.describe('the output that is to be like the input: any name → what the graph calls it'),
  error: z
    .enum(['squared', 'absolute'])
    .default('squared')
    .describe('the mean of these differences between the normalised input and its reconstruction'),
  threshold: Threshold,
});
const AnomalyScoreSchema = z.strictObject({
  decoder: z.literal('anomaly-score'),
  tensors: oneTensor,
  activation: z
    .enum(['none', 'sigmoid', 'ratio'])
    .default('none')
    .describe('none: a score of 0..1; sigmoid: of a logit; ratio: of a distance, v / (v + threshold)'),
  threshold: z.number().describe('of the value before `activation`: beyond it the unit is an anomaly'),
  beyond: z.enum(['above', 'below']).default('above').describe('below: the smaller, the stranger'),
});

const RegressionSchema = z.strictObject({
  decoder: z.literal('regression'),
  tensors: oneTensor,
  names: z.array(z.string().min(1).max(64)).min(1).max(256).optional().describe('of the values; default: 0, 1, …'),
  scale: z.array(z.number()).min(1).max(256).optional().describe('value · scale + offset; one serves all'),
  offset: z.array(z.number()).min(1).max(256).optional(),
});
const EmbeddingSchema = z.strictObject({
  decoder: z.literal('embedding'),
  tensors: oneTensor,
  normalise: z.enum(['none', 'l2']).default('l2').describe('l2: to length 1'),
});
const RawSchema = z.strictObject({
  decoder: z.literal('raw'),
  tensors: z
    .record(z.string().min(1).max(64), z.string().min(1).max(200))
    .refine((tensors) => Object.keys(tensors).length >= 1 && Object.keys(tensors).length <= 16, {
      message: 'takes 1 to 16 tensors',
    })
    .describe('what the decision calls it → what the graph calls it'),
  elements_max: Count.max(65_536).default(1024).describe('of one tensor of one unit; a larger one is refused at load'),
});

export const OutputSchema = z.discriminatedUnion('decoder', [
  ClassificationSchema,
  MultiLabelSchema,
  KeywordSchema,
  TextClassificationSchema,
  Yolov5Schema,
  Yolov8Schema,
  YoloxSchema,
  SsdSchema,
  AnchorFreeSchema,
  ScoresBoxesSchema,
  BoxRowsSchema,
  GridSchema,
  SegmentationSchema,
  AnomalyReconstructionSchema,
  AnomalyScoreSchema,
  RegressionSchema,
  EmbeddingSchema,
  RawSchema,
]);
export type OutputSpec = z.infer<typeof OutputSchema>;
export type DecoderName = OutputSpec['decoder'];
/** The part of a passport that one decoder reads. */
export type OutputOf<Name extends DecoderName> = Extract<OutputSpec, { decoder: Name }>;

/** Which tasks a decoder's results are good for. */
export const DECODER_TASKS: Readonly<Record<DecoderName, readonly Task[]>> = {
  classification: ['classification', 'keyword'],
  'multi-label': ['classification'],
  keyword: ['keyword'],
  'text-classification': ['classification'],
  yolov5: ['detection'],
  yolov8: ['detection'],
  yolox: ['detection'],
  ssd: ['detection'],
  'anchor-free': ['detection'],
  'scores-boxes': ['detection'],
  'box-rows': ['detection'],
  grid: ['detection'],
  segmentation: ['segmentation'],
  'anomaly-reconstruction': ['anomaly'],
  'anomaly-score': ['anomaly'],
  regression: ['regression'],
  embedding: ['embedding'],
  raw: ['raw'],
};

/** `file` and one file per language, of decoders that have labels. */
export function labelFiles(
  output: OutputSpec,
): { readonly [language: string]: string; readonly file: string } | undefined {
  return 'labels' in output ? output.labels : undefined;
}

/** Every file of the model's folder that the output needs, by the path of its key below `output`. */
export function outputFiles(output: OutputSpec): Readonly<Record<string, string>> {
  const files = Object.entries(labelFiles(output) ?? {}).map(([key, file]) => [`labels.${key}`, file]);
  const priors = output.decoder === 'ssd' && 'file' in output.priors ? [['priors.file', output.priors.file]] : [];
  return Object.fromEntries([...files, ...priors]);
}
