import { BrinkError, type OutputOf } from '@brink/protocol';
import { type Decode, type DecoderOptions, onlyTensor, type PictureSize, pictureOf } from './decode.ts';
import { detect, type Found } from './detection.ts';
import { type Best, type Cells, cellsOf, eachBox, largestOf, levelsOf, offsetOf } from './levels.ts';
import { type BatchOutputs, finiteSliceOf, unitShape, type Values } from './tensors.ts';

/** [boxes, values] or the other way round. */
interface Table {
  readonly data: Values;
  readonly boxes: number;
  readonly values: number;
  readonly boxStep: number;
  readonly valueStep: number;
}

/**
 * YOLOv5 (x y w h, objectness, classes; score = objectness · class) and YOLOv8 (x y w h, classes) as Ultralytics exports
 * them: boxes are decoded by the graph (github.com/ultralytics/ultralytics, nn/modules/head.py).
 */
export function createYolo(options: DecoderOptions<OutputOf<'yolov5' | 'yolov8'>>): Decode {
  const { output, labels } = options;
  const name = onlyTensor(output);
  const size = output.unit === 'pixels' ? pictureOf(options) : { width: 1, height: 1 };
  const before = output.decoder === 'yolov5' ? 5 : 4;
  return (outputs, unit, language) => {
    const known = labels === undefined ? undefined : before + labels.names.length;
    const table = tableOf(outputs, name, unit, output.layout, known);
    const classes = table.values - before;
    if (classes < (before === 5 ? 0 : 1)) {
      throw new BrinkError(
        'E_PASSPORT',
        `output "${name}" has ${table.values} values per box; expected ${before} and classes`,
      );
    }
    return detect(options, { classes: Math.max(1, classes), language }, (found) => {
      if (before === 5) searchSure(found, table, output.score_min, size);
      else for (let box = 0; box < table.boxes; box++) search(found, table, box * table.boxStep, 1, 4, size);
    });
  };
}

/** Most boxes are ruled out by their objectness alone; the surest of them is looked at for the evidence. */
function searchSure(found: Found, table: Table, scoreMin: number, size: PictureSize): void {
  const { data, boxes, boxStep, valueStep } = table;
  const surest = { at: -1, objectness: 0 };
  for (let box = 0, at = 0; box < boxes; box++, at += boxStep) {
    const objectness = data[at + 4 * valueStep] as number;
    if (objectness < 0 || objectness >= scoreMin) search(found, table, at, objectness, 5, size);
    else if (objectness > surest.objectness) {
      surest.at = at;
      surest.objectness = objectness;
    }
  }
  if (surest.at >= 0) search(found, table, surest.at, surest.objectness, 5, size);
}

/** One box, which begins at `at` and whose classes come after `before` values. */
function search(found: Found, table: Table, at: number, objectness: number, before: number, size: PictureSize): void {
  const { data, values, valueStep } = table;
  const best: Best = { index: 0, value: 1 };
  if (values > before) largestOf(data, at + before * valueStep, valueStep, values - before, best);
  if (found.judge(objectness * best.value, best.index)) take(found, table, at, size);
}

function take(found: Found, { data, valueStep }: Table, at: number, { width, height }: PictureSize): void {
  const [x, y] = [(data[at] as number) / width, (data[at + valueStep] as number) / height];
  const [w, h] = [(data[at + 2 * valueStep] as number) / width, (data[at + 3 * valueStep] as number) / height];
  found.take(x - w / 2, y - h / 2, x + w / 2, y + h / 2);
}

/** @param known how many values a box must have, where that is known @throws BrinkError E_PASSPORT */
function tableOf(
  outputs: BatchOutputs,
  name: string,
  unit: number,
  layout: 'rows' | 'columns',
  known: number | undefined,
): Table {
  const data = finiteSliceOf(outputs, name, unit);
  const shape = unitShape(outputs, name, data.length);
  const values = shape === undefined ? known : shape.at(layout === 'rows' ? -1 : -2);
  if (values === undefined || data.length % values !== 0) {
    throw new BrinkError(
      'E_PASSPORT',
      `output "${name}" has ${data.length} numbers per unit, of no known shape; expected ${known ?? 'labels or a shape'}`,
    );
  }
  if (known !== undefined && values !== known) {
    throw new BrinkError(
      'E_PASSPORT',
      `output "${name}" is [${shape}], in ${layout} ${values} values per box; the labels need ${known}`,
    );
  }
  const boxes = data.length / values;
  return layout === 'rows'
    ? { data, boxes, values, boxStep: values, valueStep: 1 }
    : { data, boxes, values, boxStep: 1, valueStep: boxes };
}

/**
 * YOLOX before its boxes are decoded: centre = (cell + offset) · stride, size = e^value · stride, score = objectness · class
 * (Ge et al., "YOLOX: Exceeding YOLO Series in 2021"; github.com/Megvii-BaseDetection/YOLOX, demo/ONNXRuntime).
 */
export function createYolox(options: DecoderOptions<OutputOf<'yolox'>>): Decode {
  const { output } = options;
  const input = pictureOf(options);
  const names = [onlyTensor(output)];
  const levels = levelsOf(
    output.strides.map((stride) => ({ stride, anchors: 1 })),
    input,
  );
  const layout = output.layout === 'rows' ? 'channels-last' : 'channels-first';
  return (outputs, unit, language) => {
    const cells = cellsOf(outputs, unit, { names, levels, layout });
    const classes = (cells[0]?.channels ?? 0) - 5;
    if (classes < 1) {
      throw new BrinkError(
        'E_PASSPORT',
        `output "${names[0]}" has ${classes + 5} values per box; expected 5 and classes`,
      );
    }
    return detect(options, { classes, language }, (found) => {
      const best: Best = { index: 0, value: 0 };
      eachBox(levels, (at) => {
        const of = cells[at.level] as Cells;
        const { data, channelStep } = of;
        const from = offsetOf(of, at);
        largestOf(data, from + 5 * channelStep, channelStep, classes, best);
        if (!found.judge((data[from + 4 * channelStep] as number) * best.value, best.index)) return;
        const stride = levels[at.level]?.stride ?? 0;
        const x = (((data[from] as number) + at.column) * stride) / input.width;
        const y = (((data[from + channelStep] as number) + at.row) * stride) / input.height;
        const w = (Math.exp(data[from + 2 * channelStep] as number) * stride) / input.width;
        const h = (Math.exp(data[from + 3 * channelStep] as number) * stride) / input.height;
        found.take(x - w / 2, y - h / 2, x + w / 2, y + h / 2);
      });
    });
  };
}
