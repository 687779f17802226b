import { type DecoderName, OutputSchema, RECONSTRUCTION_ERROR, type Task } from '@brink/protocol';
import type { DecoderOptions } from './decode.ts';
import type { BatchOutputs, BatchTensor } from './tensors.ts';

// For every decoder a passport's output and outputs of a model that fit it, drawn from a seed.

/** Numbers of 0..1 that a seed determines: mulberry32. */
export type Random = () => number;

export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const between = (random: Random, low: number, high: number) => low + random() * (high - low);
export const whole = (random: Random, low: number, high: number) => Math.floor(between(random, low, high + 1));

/** What a model says of one unit: by output, its shape without the batch, and its numbers. */
export type UnitOutputs = Readonly<
  Record<string, { readonly shape: readonly number[]; readonly values: readonly number[] }>
>;

interface Example {
  readonly task: Task;
  readonly output: { readonly decoder: DecoderName } & Readonly<Record<string, unknown>>;
  readonly labels?: readonly string[];
  readonly input?: { readonly width: number; readonly height: number };
  unit(random: Random): UnitOutputs;
}

const product = (shape: readonly number[]) => shape.reduce((all, size) => all * size, 1);
/** @param draw a number */
const filled = (shape: readonly number[], draw: () => number) => ({
  shape,
  values: Array.from({ length: product(shape) }, draw),
});
const logits = (random: Random, shape: readonly number[]) => filled(shape, () => between(random, -4, 4));
const shares = (random: Random, shape: readonly number[]) => filled(shape, () => random() ** 2);

/** Rows of a box, then numbers of 0..1. */
function rowsOf(random: Random, rows: number, more: number, box: () => readonly number[]) {
  const values = Array.from({ length: rows }, () => [...box(), ...Array.from({ length: more }, random)]);
  return { shape: [rows, 4 + more], values: values.flat() };
}

const pixels = (random: Random) => () => [
  between(random, 0, 64),
  between(random, 0, 48),
  between(random, 1, 40),
  between(random, 1, 40),
];
const THREE = ['bird', 'cat', 'frog'];
const INPUT = { width: 64, height: 48 };
const CLASSES = { labels: THREE, unit: (random: Random) => ({ y: logits(random, [3]) }) };

/** The compiler sees to it that no decoder is left out. */
export const EXAMPLES: Readonly<Record<DecoderName, Example>> = {
  classification: { task: 'classification', output: { decoder: 'classification', tensors: { y: 'y' } }, ...CLASSES },
  'text-classification': {
    task: 'classification',
    output: { decoder: 'text-classification', tensors: { y: 'y' } },
    ...CLASSES,
  },
  keyword: { task: 'keyword', output: { decoder: 'keyword', tensors: { y: 'y' }, ignore: ['frog'] }, ...CLASSES },
  'multi-label': { task: 'classification', output: { decoder: 'multi-label', tensors: { y: 'y' } }, ...CLASSES },
  yolov5: {
    task: 'detection',
    output: { decoder: 'yolov5', tensors: { output: 'y' } },
    labels: THREE,
    input: INPUT,
    unit: (random) => ({ y: rowsOf(random, 40, 4, pixels(random)) }),
  },
  yolov8: {
    task: 'detection',
    output: { decoder: 'yolov8', tensors: { output: 'y' }, layout: 'rows', nms: 'agnostic' },
    labels: THREE,
    input: INPUT,
    unit: (random) => ({ y: rowsOf(random, 40, 3, pixels(random)) }),
  },
  yolox: {
    task: 'detection',
    output: { decoder: 'yolox', tensors: { head: 'y' }, strides: [16, 32] },
    labels: THREE,
    input: INPUT,
    unit: (random) => ({ y: rowsOf(random, 16, 4, () => Array.from({ length: 4 }, () => between(random, -1, 2))) }),
  },
  ssd: {
    task: 'detection',
    output: {
      decoder: 'ssd',
      tensors: { scores: 's', boxes: 'b' },
      priors: { maps: [{ columns: 4, rows: 3, sizes: [16, [32, 16]] }] },
    },
    labels: ['background', ...THREE],
    input: INPUT,
    unit: (random) => ({ s: logits(random, [24, 4]), b: logits(random, [24, 4]) }),
  },
  'anchor-free': {
    task: 'detection',
    output: { decoder: 'anchor-free', tensors: { output: 'y' }, strides: [16], activation: 'sigmoid' },
    labels: THREE,
    input: INPUT,
    unit: (random) => ({ y: logits(random, [12, 7]) }),
  },
  'scores-boxes': {
    task: 'detection',
    output: { decoder: 'scores-boxes', tensors: { scores: 's', boxes: 'b' }, form: 'centre', background: 0 },
    labels: ['face'],
    unit: (random) => ({ s: shares(random, [30, 2]), b: shares(random, [30, 4]) }),
  },
  'box-rows': {
    task: 'detection',
    output: { decoder: 'box-rows', tensors: { output: 'y' } },
    labels: THREE,
    input: INPUT,
    unit(random) {
      const rows = Array.from({ length: 30 }, () => {
        const [x, y, w, h] = pixels(random)() as [number, number, number, number];
        return [x, y, x + w, y + h, random(), whole(random, 0, 2)];
      });
      return { y: { shape: [30, 6], values: rows.flat() } };
    },
  },
  grid: {
    task: 'detection',
    output: {
      decoder: 'grid',
      tensors: { output: 'y' },
      layout: 'channels-first',
      levels: [{ stride: 16 }],
      channels: [
        { role: 'obj', activation: 'sigmoid' },
        { role: 'x', activation: 'tanh' },
        { role: 'y', activation: 'tanh' },
        { role: 'w', activation: 'sigmoid' },
        { role: 'h', activation: 'sigmoid' },
        { role: 'class', count: 3, activation: 'softmax' },
      ],
      score: 'pow(obj, 0.6) * pow(class, 0.4)',
      box: { x: '(column + x) * stride', y: '(row + y) * stride', w: 'w * input_width', h: 'h * input_height' },
    },
    labels: THREE,
    input: INPUT,
    unit: (random) => ({ y: logits(random, [8, 3, 4]) }),
  },
  segmentation: {
    task: 'segmentation',
    output: { decoder: 'segmentation', tensors: { y: 'y' }, mask_side_max: 8 },
    labels: THREE,
    unit: (random) => ({ y: logits(random, [3, 12, 20]) }),
  },
  'anomaly-reconstruction': {
    task: 'anomaly',
    output: { decoder: 'anomaly-reconstruction', tensors: { y: 'y' }, threshold: 0.3 },
    unit: (random) => ({ [RECONSTRUCTION_ERROR]: shares(random, []) }),
  },
  'anomaly-score': {
    task: 'anomaly',
    output: { decoder: 'anomaly-score', tensors: { y: 'y' }, threshold: 0.5 },
    unit: (random) => ({ y: shares(random, [1]) }),
  },
  regression: {
    task: 'regression',
    output: { decoder: 'regression', tensors: { y: 'y' }, names: ['a', 'b'], scale: [10] },
    unit: (random) => ({ y: logits(random, [2]) }),
  },
  embedding: {
    task: 'embedding',
    output: { decoder: 'embedding', tensors: { y: 'y' } },
    unit: (random) => ({ y: logits(random, [16]) }),
  },
  raw: {
    task: 'raw',
    output: { decoder: 'raw', tensors: { first: 'y', second: 'z' } },
    unit: (random) => ({ y: logits(random, [2, 3]), z: logits(random, [1]) }),
  },
};

/** @param over keys of the output that differ */
export function optionsOf({ task, output, labels, input }: Omit<Example, 'unit'>, over: object = {}): DecoderOptions {
  return {
    task,
    output: OutputSchema.parse({ ...output, ...over }),
    ...(labels === undefined ? {} : { labels: { names: labels, texts: {} } }),
    ...(input === undefined ? {} : { input }),
  };
}

/** A run whose units these are, in their order. */
export function runOf(units: readonly UnitOutputs[]): BatchOutputs {
  const tensors = new Map<string, BatchTensor>();
  for (const [name, { shape }] of Object.entries(units[0] ?? {})) {
    const values = Float32Array.from(units.flatMap((unit) => unit[name]?.values ?? []));
    tensors.set(name, { dtype: 'float32', data: new Uint8Array(values.buffer), shape: [units.length, ...shape] });
  }
  return { batch: units.length, tensors };
}
