import { z } from 'zod';
import { Activation, Count, detection, levelTensors, oneTensor, roleTensors, rows, Share, unit } from './outputs.ts';
import { ModelPath } from './path.ts';

// Boxes, by the families that people have by name, and `grid` for all others.

const Side = z.number().positive().max(100_000);
const Stride = Count.max(1024);
const Index = z.number().int().min(0);
const background = (description: string) => Index.max(100_000).nullable().describe(description);

/** Ultralytics' YOLOv5 (and v3, v6, v7) exported with its head: x y w h in pixels, objectness, classes. */
export const Yolov5Schema = z.strictObject({
  decoder: z.literal('yolov5'),
  tensors: oneTensor,
  layout: rows.default('rows'),
  unit: unit.default('pixels'),
  ...detection,
});

/** Ultralytics' YOLOv8 and later: x y w h in pixels, classes; no objectness. */
export const Yolov8Schema = z.strictObject({
  decoder: z.literal('yolov8'),
  tensors: oneTensor,
  layout: rows.default('columns'),
  unit: unit.default('pixels'),
  ...detection,
});

/** Megvii's YOLOX as exported without `decode_in_inference`: offsets and logarithms of sizes, in strides. */
export const YoloxSchema = z.strictObject({
  decoder: z.literal('yolox'),
  tensors: oneTensor,
  layout: rows.default('rows'),
  strides: z.array(Stride).min(1).max(8).default([8, 16, 32]),
  ...detection,
});

const PriorMapSchema = z.strictObject({
  columns: Count.max(4096),
  rows: Count.max(4096),
  stride: Side.optional().describe("pixels from one centre to the next; default: the input's width / columns"),
  sizes: z
    .array(Side.or(z.tuple([Side, Side])))
    .min(1)
    .max(64)
    .describe('of the priors of every cell, in pixels: a square, or [width, height]'),
});

/** SSD as Liu et al. described it: distances from prior boxes, scaled by variances. */
export const SsdSchema = z.strictObject({
  decoder: z.literal('ssd'),
  tensors: roleTensors(['scores', 'boxes']),
  priors: z
    .union([
      z.strictObject({ maps: z.array(PriorMapSchema).min(1).max(16) }),
      z.strictObject({
        file: ModelPath.describe('JSON [[…4 numbers], …], or float32 little-endian; listed in `files`'),
        form: z.enum(['centre', 'corners']).default('centre').describe('x y w h, or x0 y0 x1 y1; parts of the picture'),
      }),
    ])
    .describe('maps: cell by cell in rows, the sizes of a cell one after the other'),
  variances: z
    .tuple([z.number().positive(), z.number().positive(), z.number().positive(), z.number().positive()])
    .default([0.1, 0.1, 0.2, 0.2])
    .describe('of x, y, w, h'),
  order: z.enum(['xywh', 'yxhw']).default('xywh').describe('of the four values; TensorFlow has yxhw'),
  activation: z.enum(['softmax', 'sigmoid', 'none']).default('softmax'),
  background: background('its column among the scores').default(0),
  ...detection,
});

/** FCOS, NanoDet, SCRFD: distances to the four sides from points that lie a stride apart. */
export const AnchorFreeSchema = z.strictObject({
  decoder: z.literal('anchor-free'),
  tensors: levelTensors.describe(
    '`output` (classes, then distances) or `scores` and `boxes`, with `objectness` where there is one; with `_<stride>` behind each where every level has its own',
  ),
  layout: rows.default('rows').describe('columns: also [values, rows, columns] of one level'),
  strides: z.array(Stride).min(1).max(8),
  per_cell: Count.max(16).default(1).describe('boxes at one point'),
  centre: z.number().min(0).max(1).default(0.5).describe('where in its cell the point lies: 0 corner, 0.5 middle'),
  distances: z.enum(['strides', 'pixels']).default('strides'),
  bins: Count.min(2)
    .max(64)
    .optional()
    .describe('values per distance, of whose distribution the mean is taken (generalised focal loss)'),
  activation: z.enum(['none', 'sigmoid']).default('none').describe('of classes and objectness'),
  score: z.string().min(1).max(200).optional().describe('as in grid; default: class, with objectness obj * class'),
  ...detection,
});

/** Boxes and their scores as two outputs, decoded by the model: UltraFace, TensorFlow's detection API, DETR. */
export const ScoresBoxesSchema = z.strictObject({
  decoder: z.literal('scores-boxes'),
  tensors: roleTensors(['scores', 'boxes'], ['classes', 'count']),
  form: z
    .enum(['corners', 'corners-yx', 'centre', 'corner-size'])
    .default('corners')
    .describe('x0 y0 x1 y1 · y0 x0 y1 x1 · centre x y, w h · x0 y0 w h'),
  unit: unit.default('picture'),
  activation: z.enum(['none', 'softmax', 'sigmoid']).default('none'),
  background: background('the column of the scores that means no object').default(null),
  ...detection,
});

const BOX_COLUMNS = ['x0', 'y0', 'x1', 'y1', 'score', 'class'] as const;

/** Finished boxes as rows of one output: YOLOv10, YOLO26, Ultralytics' exports with nms=True, PaddleDetection. */
export const BoxRowsSchema = z.strictObject({
  decoder: z.literal('box-rows'),
  tensors: oneTensor,
  columns: z
    .array(z.enum([...BOX_COLUMNS, 'skip']))
    .min(BOX_COLUMNS.length)
    .max(64)
    .refine((columns) => BOX_COLUMNS.every((one) => columns.filter((other) => other === one).length === 1), {
      message: `takes each of ${BOX_COLUMNS.join(', ')} once, and skip for others`,
    })
    .default([...BOX_COLUMNS])
    .describe('what the numbers of a row are, in their order; corners, score, number of the class'),
  unit: unit.default('pixels'),
  ...detection,
  nms: detection.nms.default('none'),
});

const GRID_ROLES = ['obj', 'class', 'skip', 'x', 'y', 'w', 'h', 'left', 'top', 'right', 'bottom'] as const;
const Expression = z.string().min(1).max(200);

const ChannelSchema = z.strictObject({
  role: z.enum(GRID_ROLES),
  count: Count.max(10_000).default(1).describe('of class and skip: how many channels'),
  activation: z
    .enum([...Activation.options, 'softmax'])
    .default('none')
    .describe('softmax: over the classes of a cell'),
});

/** Every detector whose output is one vector per cell: what each channel is, and how score and box come of it. */
export const GridSchema = z.strictObject({
  decoder: z.literal('grid'),
  tensors: levelTensors.describe('one output for all levels, or `<any>_<stride>` for each'),
  layout: z
    .enum(['channels-first', 'channels-last', 'anchors-first'])
    .describe('[anchors·channels, cells] · [cells, anchors·channels] · [anchors, cells, channels]; cells in rows'),
  levels: z
    .array(
      z.strictObject({
        stride: Stride,
        anchors: z
          .array(z.tuple([Side, Side]))
          .min(1)
          .max(16)
          .optional()
          .describe('[width, height] in pixels; without them one box per cell'),
      }),
    )
    .min(1)
    .max(8)
    .describe("in the order of the output; a level has the input's size / stride cells, rounded up"),
  channels: z.array(ChannelSchema).min(1).max(64).describe('of one box, in their order'),
  score: Expression.default('obj * class').describe('of `obj` and the largest `class` of the cell'),
  box: z
    .union([
      z.strictObject({ x: Expression, y: Expression, w: Expression, h: Expression }).describe('centre and size'),
      z.strictObject({ x0: Expression, y0: Expression, x1: Expression, y1: Expression }).describe('corners'),
    ])
    .describe(
      "in pixels of the model's input, of the channels by role and of column, row, stride, anchor_width, anchor_height, input_width, input_height",
    ),
  ...detection,
});

/** Semantic segmentation: a class for every cell. */
export const SegmentationSchema = z.strictObject({
  decoder: z.literal('segmentation'),
  tensors: oneTensor,
  layout: z
    .enum(['channels-first', 'channels-last', 'indices'])
    .default('channels-first')
    .describe("[classes, height, width] · [height, width, classes] · [height, width] of the classes' numbers"),
  activation: z.enum(['none', 'sigmoid']).default('none').describe('where there is one channel'),
  threshold: Share.default(0.5).describe('where there is one channel: from here on the cell is class 1'),
  labels: detection.labels,
  background: background('the class that is never the label').default(0),
  top: Count.max(100).default(5),
  mask_side_max: Index.max(64).default(64).describe('the mask is made smaller to this; 0: no mask'),
});
