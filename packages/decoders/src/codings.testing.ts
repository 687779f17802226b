import type { DecoderOptions } from './decode.ts';
import { between, type Random, type UnitOutputs, whole } from './examples.testing.ts';
import type { Corners } from './nms.ts';

// Every coding of boxes, there and back: an encoder written from the definition of the coding makes outputs of known objects,
// and the decoder must find these objects.

export const INPUT = { width: 128, height: 96 };
export const LABELS = ['bird', 'cat', 'frog'];

export interface Thing {
  readonly kind: number;
  readonly score: number;
  /** in pixels of the input: centre and size */
  readonly x: number;
  readonly y: number;
  readonly w: number;
  readonly h: number;
}

export interface Coding {
  readonly output: { readonly decoder: DecoderOptions['output']['decoder'] } & Readonly<Record<string, unknown>>;
  readonly files?: ReadonlyMap<string, Uint8Array>;
  /** in pixels: it cannot say smaller ones */
  readonly sideMin?: number;
  encode(things: readonly Thing[]): UnitOutputs;
}

/** Things of one unit, one in each of some cells of 32 × 32, so that every coding has a place for each. */
export function drawn(random: Random): Thing[] {
  const cells = Array.from({ length: 12 }, (_, cell) => cell).filter(() => random() < 0.4);
  return cells.map((cell) => ({
    kind: whole(random, 0, 2),
    score: between(random, 0.5, 0.99),
    x: (cell % 4) * 32 + between(random, 8, 24),
    y: Math.floor(cell / 4) * 32 + between(random, 8, 24),
    w: between(random, 4, 16),
    h: between(random, 4, 16),
  }));
}

export const cornersOf = ({ x, y, w, h }: Thing): Corners => [
  (x - w / 2) / INPUT.width,
  (y - h / 2) / INPUT.height,
  (x + w / 2) / INPUT.width,
  (y + h / 2) / INPUT.height,
];

const logit = (share: number) => Math.log(share / (1 - share));
const oneHot = ({ kind, score }: Thing, classes = 3) =>
  Array.from({ length: classes }, (_, at) => (at === kind ? score : 0));

/** Rows or, the other way round, columns. */
function table(rows: readonly (readonly number[])[], width: number, columns = false) {
  if (!columns) return { shape: [rows.length, width], values: rows.flat() };
  const values = Array.from({ length: width }, (_, at) => rows.map((row) => row[at]!)).flat();
  return { shape: [width, rows.length], values };
}

/** A row for every cell of the strides: that of the thing whose centre lies in it, at the stride that suits, or `empty`. */
function perCell(
  things: readonly Thing[],
  strides: readonly number[],
  empty: readonly number[],
  row: (thing: Thing, place: { column: number; row: number; stride: number }) => readonly number[],
): number[][][] {
  return strides.map((stride, level) => {
    const [columns, rows] = [Math.ceil(INPUT.width / stride), Math.ceil(INPUT.height / stride)];
    return Array.from({ length: columns * rows }, (_, cell) => {
      const place = { column: cell % columns, row: Math.floor(cell / columns), stride };
      const here = things.filter(
        ({ x, y }, at) =>
          at % strides.length === level &&
          Math.floor(x / stride) === place.column &&
          Math.floor(y / stride) === place.row,
      );
      return [...(here[0] === undefined ? empty : row(here[0], place))];
    });
  });
}

const zeros = (count: number) => new Array<number>(count).fill(0);

function yolo(decoder: 'yolov5' | 'yolov8', layout: 'rows' | 'columns', unit: 'pixels' | 'picture'): Coding {
  const [width, height] = unit === 'pixels' ? [1, 1] : [INPUT.width, INPUT.height];
  return {
    output: { decoder, tensors: { output: 'y' }, layout, unit },
    encode: (things) => {
      const rows = things.map((thing) => {
        const box = [thing.x / width, thing.y / height, thing.w / width, thing.h / height];
        const certain = { ...thing, score: thing.score ** 0.5 };
        return decoder === 'yolov8' ? [...box, ...oneHot(thing)] : [...box, thing.score ** 0.5, ...oneHot(certain)];
      });
      const span = decoder === 'yolov8' ? 7 : 8;
      return { y: table([...rows, zeros(span)], span, layout === 'columns') };
    },
  };
}

function yolox(layout: 'rows' | 'columns'): Coding {
  return {
    output: { decoder: 'yolox', tensors: { head: 'y' }, strides: [8, 16, 32], layout },
    encode: (things) => {
      const rows = perCell(things, [8, 16, 32], zeros(8), (thing, { column, row, stride }) => [
        thing.x / stride - column,
        thing.y / stride - row,
        Math.log(thing.w / stride),
        Math.log(thing.h / stride),
        1,
        ...oneHot(thing),
      ]);
      return { y: table(rows.flat(), 8, layout === 'columns') };
    },
  };
}

const VARIANCES = [0.1, 0.2, 0.3, 0.4] as const;
/** x y w h in pixels of the priors that the maps below make: two for each of 4 × 3 cells. */
const PRIORS = Array.from({ length: 12 }, (_, cell) => [8, 12].map((side) => ({ cell, side }))).flat();
const priorOf = ({ cell, side }: { cell: number; side: number }) =>
  [(cell % 4) * 32 + 16, Math.floor(cell / 4) * 32 + 16, side, side * 2] as const;
const MAPS = {
  maps: [
    {
      columns: 4,
      rows: 3,
      sizes: [
        [8, 16],
        [12, 24],
      ],
    },
  ],
};
const inParts = (pixels: readonly number[]) =>
  pixels.map((value, at) => value / (at % 2 === 0 ? INPUT.width : INPUT.height));

function ssd(o: {
  priors?: object;
  order?: 'xywh' | 'yxhw';
  background?: number | null;
  files?: Coding['files'];
}): Coding {
  const { priors = MAPS, order = 'xywh', background = 0 } = o;
  const output = { decoder: 'ssd' as const, tensors: { scores: 's', boxes: 'b' }, priors, order, background };
  return {
    output: { ...output, variances: [...VARIANCES], activation: 'none' },
    ...(o.files === undefined ? {} : { files: o.files }),
    encode: (things) => {
      const rows = PRIORS.map((prior) => {
        const [px, py, pw, ph] = priorOf(prior);
        // Of the two priors of a cell the second has the thing.
        const thing = things.find(({ x, y }) => prior.side === 12 && Math.abs(x - px) < 16 && Math.abs(y - py) < 16);
        if (thing === undefined) return { scores: background === 0 ? [1, 0, 0, 0] : zeros(3), box: zeros(4) };
        const box = [
          (thing.x - px) / (VARIANCES[0] * pw),
          (thing.y - py) / (VARIANCES[1] * ph),
          Math.log(thing.w / pw) / VARIANCES[2],
          Math.log(thing.h / ph) / VARIANCES[3],
        ];
        const scores = oneHot(thing);
        // A background that is surer than the object is no object.
        return { scores: background === 0 ? [1, ...scores] : scores, box };
      });
      const swap = ([x, y, w, h]: readonly number[]) => (order === 'xywh' ? [x!, y!, w!, h!] : [y!, x!, h!, w!]);
      const classes = background === 0 ? 4 : 3;
      const scores = rows.map((row) => row.scores);
      return {
        s: table(scores, classes),
        b: table(
          rows.map(({ box }) => swap(box)),
          4,
        ),
      };
    },
  };
}

const encoder = new TextEncoder();
const CENTRES = PRIORS.map((prior) => inParts(priorOf(prior)));
const CORNERS = CENTRES.map(([x, y, w, h]) => [x! - w! / 2, y! - h! / 2, x! + w! / 2, y! + h! / 2]);
const FILES = new Map([
  ['priors.json', encoder.encode(JSON.stringify(CENTRES))],
  // One byte off, as a file that lies somewhere in a buffer may be.
  ['priors.bin', new Uint8Array([0, ...new Uint8Array(Float32Array.from(CORNERS.flat()).buffer)]).subarray(1)],
]);

interface AnchorFree {
  readonly centre?: number;
  readonly distances?: 'strides' | 'pixels';
  readonly layout?: 'rows' | 'columns';
  readonly bins?: number;
  readonly shape: 'one' | 'roles' | 'levels';
}

/** Logits whose softmax has this mean over 0, 1, 2, …: all weight on the two neighbours. */
function binsOf(mean: number, bins: number): number[] {
  const low = Math.min(bins - 2, Math.floor(mean));
  const share = mean - low;
  return Array.from({ length: bins }, (_, at) =>
    at === low ? Math.log(1 - share + 1e-30) : at === low + 1 ? Math.log(share + 1e-30) : -60,
  );
}

function anchorFree({ centre = 0.5, distances = 'strides', layout = 'rows', bins, shape }: AnchorFree): Coding {
  const strides = [8, 16];
  const tensors = {
    one: { output: 'y' },
    roles: { scores: 's', boxes: 'b', objectness: 'o' },
    levels: { scores_8: 's8', boxes_8: 'b8', scores_16: 's16', boxes_16: 'b16' },
  }[shape];
  const sides = 4 * (bins ?? 1);
  const extra = bins === undefined ? {} : { bins };
  return {
    output: { decoder: 'anchor-free', tensors, strides, centre, distances, layout, ...extra },
    // A distribution has no distances below 0: the point lies in the box.
    sideMin: bins === undefined ? 0 : 17,
    encode: (things) => {
      const levels = perCell(things, strides, zeros(3 + sides), (thing, { column, row, stride }) => {
        const [x, y] = [(column + centre) * stride, (row + centre) * stride];
        const [w, h] = [thing.w / 2, thing.h / 2];
        const scale = distances === 'strides' ? stride : 1;
        const given = [x - (thing.x - w), y - (thing.y - h), thing.x + w - x, thing.y + h - y].map((of) => of / scale);
        return [...oneHot(thing), ...(bins === undefined ? given : given.flatMap((of) => binsOf(of, bins)))];
      });
      const columns = layout === 'columns';
      const part = (rows: number[][], from: number, to?: number) =>
        table(
          rows.map((row) => row.slice(from, to)),
          (to ?? 3 + sides) - from,
          columns,
        );
      if (shape === 'one') return { y: part(levels.flat(), 0) };
      if (shape === 'levels') {
        const [eight, sixteen] = levels as [number[][], number[][]];
        return { s8: part(eight, 0, 3), b8: part(eight, 3), s16: part(sixteen, 0, 3), b16: part(sixteen, 3) };
      }
      const all = levels.flat();
      return { s: part(all, 0, 3), b: part(all, 3), o: { shape: [all.length], values: all.map(() => 1) } };
    },
  };
}

function scoresBoxes(form: 'corners' | 'corners-yx' | 'centre' | 'corner-size', unit: 'pixels' | 'picture'): Coding {
  const [width, height] = unit === 'pixels' ? [1, 1] : [INPUT.width, INPUT.height];
  return {
    output: { decoder: 'scores-boxes', tensors: { scores: 's', boxes: 'b' }, form, unit, background: 3 },
    encode: (things) => {
      const boxes = things.map((thing) => {
        const [x0, y0] = [(thing.x - thing.w / 2) / width, (thing.y - thing.h / 2) / height];
        const [w, h] = [thing.w / width, thing.h / height];
        return {
          corners: [x0, y0, x0 + w, y0 + h],
          'corners-yx': [y0, x0, y0 + h, x0 + w],
          centre: [thing.x / width, thing.y / height, w, h],
          'corner-size': [x0, y0, w, h],
        }[form];
      });
      const scores = things.map((thing) => [...oneHot(thing), 0.4]);
      return { s: table([...scores, [0, 0, 0, 1]], 4), b: table([...boxes, zeros(4)], 4) };
    },
  };
}

/** TensorFlow's detection API: the class is an output, and so is how many rows count. */
const TENSORFLOW: Coding = {
  output: {
    decoder: 'scores-boxes',
    tensors: { scores: 's', boxes: 'b', classes: 'c', count: 'n' },
    form: 'corners-yx',
  },
  encode: (things) => {
    const boxes = things.map((thing) => {
      const [x0, y0, x1, y1] = cornersOf(thing);
      return [y0, x0, y1, x1];
    });
    return {
      b: table([...boxes, [0, 0, 1, 1]], 4),
      s: { shape: [things.length + 1], values: [...things.map(({ score }) => score), 0.99] },
      c: { shape: [things.length + 1], values: [...things.map(({ kind }) => kind), 1] },
      n: { shape: [1], values: [things.length] },
    };
  },
};

/** Rows of finished boxes, and rows of zeros behind them. */
function boxRows(unit: 'pixels' | 'picture', columns?: readonly string[]): Coding {
  const [width, height] = unit === 'pixels' ? [INPUT.width, INPUT.height] : [1, 1];
  const order = columns ?? ['x0', 'y0', 'x1', 'y1', 'score', 'class'];
  return {
    output: { decoder: 'box-rows', tensors: { output: 'y' }, unit, ...(columns === undefined ? {} : { columns }) },
    encode: (things) => {
      const rows = things.map((thing) => {
        const [x0, y0, x1, y1] = cornersOf(thing);
        const { score, kind } = thing;
        const row = { x0: x0 * width, y0: y0 * height, x1: x1 * width, y1: y1 * height, score, class: kind, skip: 7 };
        return order.map((column) => row[column as keyof typeof row]);
      });
      return { y: table([...rows, zeros(order.length), zeros(order.length)], order.length) };
    },
  };
}

export const FASTEST_DET = [
  { role: 'obj' },
  { role: 'x', activation: 'tanh' },
  { role: 'y', activation: 'tanh' },
  { role: 'w', activation: 'sigmoid' },
  { role: 'h', activation: 'sigmoid' },
  { role: 'class', count: 3 },
];

/** FastestDet's coding in every layout; anchors of one box per cell change nothing. */
function gridOf(layout: 'channels-first' | 'channels-last' | 'anchors-first'): Coding {
  return {
    output: {
      decoder: 'grid',
      tensors: { output: 'y' },
      layout,
      levels: [{ stride: 16 }],
      channels: FASTEST_DET,
      score: 'pow(obj, 0.6) * pow(class, 0.4)',
      box: { x: '(column + x) * stride', y: '(row + y) * stride', w: 'w * input_width', h: 'h * input_height' },
    },
    encode: (things) => {
      const rows = perCell(things, [16], zeros(8), (thing, { column, row, stride }) => [
        thing.score,
        Math.atanh(thing.x / stride - column),
        Math.atanh(thing.y / stride - row),
        logit(thing.w / INPUT.width),
        logit(thing.h / INPUT.height),
        ...oneHot(thing),
      ]);
      return { y: table(rows.flat(), 8, layout === 'channels-first') };
    },
  };
}

/** YOLOv5 before its boxes are decoded: two levels, three anchors, 2σ(v) − ½ and (2σ(v))². */
function yolov5Head(layout: 'channels-first' | 'channels-last' | 'anchors-first', apart: boolean): Coding {
  const anchors: readonly [number, number][] = [
    [6, 6],
    [10, 14],
    [24, 24],
  ];
  const strides = [8, 16];
  const fill = [0, 0, 0, 0, -20, -20, -20, -20];
  return {
    output: {
      decoder: 'grid',
      tensors: apart ? { head_8: 'y8', head_16: 'y16' } : { head: 'y' },
      layout,
      levels: strides.map((stride) => ({ stride, anchors })),
      channels: [
        ...['x', 'y', 'w', 'h', 'obj'].map((role) => ({ role, activation: 'sigmoid' })),
        { role: 'class', count: 3, activation: 'sigmoid' },
      ],
      box: {
        x: '(column + 2 * x - 0.5) * stride',
        y: '(row + 2 * y - 0.5) * stride',
        w: 'pow(2 * w, 2) * anchor_width',
        h: 'pow(2 * h, 2) * anchor_height',
      },
    },
    encode: (things) => {
      const levels = perCell(things, strides, fill, (thing, { column, row, stride }) => [
        logit((thing.x / stride - column + 0.5) / 2),
        logit((thing.y / stride - row + 0.5) / 2),
        logit(Math.sqrt(thing.w / anchors[1]![0]) / 2),
        logit(Math.sqrt(thing.h / anchors[1]![1]) / 2),
        20,
        ...oneHot(thing).map((share) => logit(Math.max(1e-6, share))),
      ]);
      const whole = levels.map((rows) => spread(rows, fill, layout));
      if (apart) return { y8: whole[0]!, y16: whole[1]! };
      if (layout !== 'channels-first') {
        return {
          y: { shape: [whole[0]!.values.length + whole[1]!.values.length], values: whole.flatMap((of) => of.values) },
        };
      }
      return { y: spread(levels.flat(), fill, layout) };
    },
  };
}

/** Three anchors per cell, of which the middle one has what was found. */
function spread(rows: readonly (readonly number[])[], fill: readonly number[], layout: string) {
  if (layout === 'anchors-first') {
    const empty = rows.map(() => fill);
    return table([...empty, ...rows, ...empty], fill.length);
  }
  return table(
    rows.map((row) => [...fill, ...row, ...fill]),
    fill.length * 3,
    layout === 'channels-first',
  );
}

/** Distances as a grid: corners, and a class that is a share of its cell. */
const GRID_CORNERS: Coding = {
  // Nor has a logarithm: the middle of the cell lies in the box.
  sideMin: 20,
  output: {
    decoder: 'grid',
    tensors: { output: 'y' },
    layout: 'channels-last',
    levels: [{ stride: 32 }],
    channels: [
      { role: 'class', count: 3 },
      { role: 'skip', count: 2 },
      { role: 'left', activation: 'exp' },
      { role: 'top', activation: 'exp' },
      { role: 'right', activation: 'exp' },
      { role: 'bottom', activation: 'exp' },
    ],
    score: 'class',
    box: {
      x0: '(column + 0.5) * stride - left',
      y0: '(row + 0.5) * stride - top',
      x1: '(column + 0.5) * stride + right',
      y1: '(row + 0.5) * stride + bottom',
    },
  },
  encode: (things) => {
    const rows = perCell(things, [32], zeros(9), (thing, { column, row }) => {
      const [x, y] = [(column + 0.5) * 32, (row + 0.5) * 32];
      const [w, h] = [thing.w / 2, thing.h / 2];
      const sides = [x - thing.x + w, y - thing.y + h, thing.x + w - x, thing.y + h - y];
      return [...oneHot(thing), 7, 7, ...sides.map(Math.log)];
    });
    return { y: table(rows.flat(), 9) };
  },
};

export const CODINGS: Readonly<Record<string, Coding>> = {
  'yolov5, rows in pixels': yolo('yolov5', 'rows', 'pixels'),
  'yolov5, columns, parts of the picture': yolo('yolov5', 'columns', 'picture'),
  'yolov8, columns in pixels': yolo('yolov8', 'columns', 'pixels'),
  'yolov8, rows, parts of the picture': yolo('yolov8', 'rows', 'picture'),
  'yolox, rows': yolox('rows'),
  'yolox, columns': yolox('columns'),
  'ssd, priors made from maps': ssd({}),
  'ssd, TensorFlow order, no background': ssd({ order: 'yxhw', background: null }),
  'ssd, priors from JSON': ssd({ priors: { file: 'priors.json' }, files: FILES }),
  'ssd, priors from float32 corners': ssd({ priors: { file: 'priors.bin', form: 'corners' }, files: FILES }),
  'anchor-free, one output': anchorFree({ shape: 'one' }),
  'anchor-free, columns in pixels from corners of cells': anchorFree({
    shape: 'one',
    layout: 'columns',
    distances: 'pixels',
    centre: 0,
  }),
  'anchor-free, roles with objectness': anchorFree({ shape: 'roles' }),
  'anchor-free, levels apart, columns': anchorFree({ shape: 'levels', layout: 'columns' }),
  'anchor-free, distributions': anchorFree({ shape: 'roles', bins: 8 }),
  'scores-boxes, corners': scoresBoxes('corners', 'picture'),
  'scores-boxes, corners in pixels': scoresBoxes('corners', 'pixels'),
  'scores-boxes, corners y x': scoresBoxes('corners-yx', 'picture'),
  'scores-boxes, centres in pixels': scoresBoxes('centre', 'pixels'),
  'scores-boxes, corner and size': scoresBoxes('corner-size', 'picture'),
  'scores-boxes, TensorFlow detection API': TENSORFLOW,
  'box-rows, pixels': boxRows('pixels'),
  'box-rows, parts of the picture': boxRows('picture'),
  'box-rows, class and score first': boxRows('pixels', ['skip', 'class', 'score', 'x0', 'y0', 'x1', 'y1']),
  'grid, corners, levels without objectness': GRID_CORNERS,
  'grid, FastestDet, channels first': gridOf('channels-first'),
  'grid, FastestDet, channels last': gridOf('channels-last'),
  'grid, FastestDet, anchors first': gridOf('anchors-first'),
  'grid, YOLOv5 head, channels first': yolov5Head('channels-first', false),
  'grid, YOLOv5 head, channels last': yolov5Head('channels-last', false),
  'grid, YOLOv5 head, anchors first': yolov5Head('anchors-first', false),
  'grid, YOLOv5 head, levels apart': yolov5Head('anchors-first', true),
  'grid, YOLOv5 head, levels apart, channels first': yolov5Head('channels-first', true),
};
