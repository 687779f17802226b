import { BrinkError, DECODER_TASKS, type DecoderName, type OutputOf } from '@brink/protocol';
import { createAnchorFree } from './anchor-free.ts';
import { createAnomalyReconstruction, createAnomalyScore } from './anomaly.ts';
import { createBoxRows } from './box-rows.ts';
import { createClassification } from './classification.ts';
import type { Decode, DecoderOptions } from './decode.ts';
import { createGrid } from './grid.ts';
import { createScoresBoxes } from './scores-boxes.ts';
import { createSegmentation } from './segmentation.ts';
import { createSsd } from './ssd.ts';
import { createEmbedding, createRaw, createRegression } from './values.ts';
import { createYolo, createYolox } from './yolo.ts';

/** Adding a decoder is adding a file and a line here (and its schema to OutputSchema). */
const DECODERS: { readonly [Name in DecoderName]: (o: DecoderOptions<OutputOf<Name>>) => Decode } = {
  classification: createClassification,
  'multi-label': createClassification,
  keyword: createClassification,
  'text-classification': createClassification,
  yolov5: createYolo,
  yolov8: createYolo,
  yolox: createYolox,
  ssd: createSsd,
  'anchor-free': createAnchorFree,
  'scores-boxes': createScoresBoxes,
  'box-rows': createBoxRows,
  grid: createGrid,
  segmentation: createSegmentation,
  'anomaly-reconstruction': createAnomalyReconstruction,
  'anomaly-score': createAnomalyScore,
  regression: createRegression,
  embedding: createEmbedding,
  raw: createRaw,
};

/** @throws BrinkError E_PASSPORT where the passport's task, output and the decoder do not go together */
export function createDecoder(options: DecoderOptions): Decode {
  const { decoder } = options.output;
  const tasks = DECODER_TASKS[decoder];
  if (!tasks.includes(options.task)) {
    throw new BrinkError(
      'E_PASSPORT',
      `task is "${options.task}"; output.decoder "${decoder}" is for ${tasks.join(', ')}`,
    );
  }
  // The table holds for every name what that name's output needs; TypeScript cannot follow the name through it.
  return (DECODERS[decoder] as (o: DecoderOptions) => Decode)(options);
}
