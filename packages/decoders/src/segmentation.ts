import { BrinkError, type OutputOf, type Result } from '@brink/protocol';
import { type Decode, type DecoderOptions, onlyTensor } from './decode.ts';
import { digits, namer, sigmoid } from './scores.ts';
import { type BatchOutputs, finiteSliceOf, unitShape, type Values } from './tensors.ts';

type Output = OutputOf<'segmentation'>;

/** The class of every cell, row by row. */
interface Areas {
  readonly kinds: Uint16Array;
  readonly width: number;
  readonly height: number;
  readonly classes: number;
}

/**
 * A class for every cell: `classes` are shares of the area, the label is the largest that is not background, and `tensors.mask`
 * is the picture of them, made smaller by taking the class that most cells of a block have. It covers the model's picture.
 */
export function createSegmentation({ task, output, labels }: DecoderOptions<Output>): Decode {
  const name = onlyTensor(output);
  return (outputs, unit, language) => {
    const areas = areasOf(outputs, unit, name, output, labels?.names.length);
    const cells = new Float64Array(areas.classes);
    for (const kind of areas.kinds) cells[kind] = (cells[kind] as number) + 1;
    const named = namer(labels, language);
    const classes = Array.from(cells, (count, index) => ({ index, count }))
      .filter(({ count }) => count > 0)
      .sort((a, b) => b.count - a.count || a.index - b.index)
      .map(({ index, count }) => ({ index, said: { ...named(index), score: digits(count / areas.kinds.length) } }));
    const best = classes.find(({ index }) => index !== output.background)?.said ?? { label: 'none', score: 0 };
    const mask = output.mask_side_max === 0 ? {} : { tensors: { mask: maskOf(areas, output.mask_side_max) } };
    return {
      result: { task, ...best, classes: classes.slice(0, output.top).map(({ said }) => said), ...mask },
      top: classes.slice(0, 5).map(({ said }) => ({ label: said.label, raw: said.score })),
    };
  };
}

/** @throws BrinkError E_PASSPORT where shape, layout and labels do not go together */
function areasOf(outputs: BatchOutputs, unit: number, name: string, output: Output, labels: number | undefined): Areas {
  const data = finiteSliceOf(outputs, name, unit);
  const { channels, height, width } = sizesOf(outputs, name, data.length, output.layout);
  const flat = output.layout === 'indices';
  const classes = flat ? (labels ?? largestClass(data) + 1) : Math.max(2, channels);
  if (labels !== undefined && labels !== classes) {
    throw new BrinkError('E_PASSPORT', `output "${name}" has ${classes} classes; there are ${labels} labels`);
  }
  const cells = width * height;
  const [cellStep, channelStep] = output.layout === 'channels-last' ? [channels, 1] : [1, cells];
  const activate = output.activation === 'sigmoid' ? sigmoid : (value: number) => value;
  const kindOf = (cell: number) => {
    if (flat) return indexOf(data[cell] as number, classes, name);
    if (channels > 1) return strongest(data, cell * cellStep, channelStep, channels);
    return activate(data[cell] as number) >= output.threshold ? 1 : 0;
  };
  const kinds = new Uint16Array(cells);
  for (let cell = 0; cell < cells; cell++) kinds[cell] = kindOf(cell);
  return { kinds, width, height, classes };
}

/** Dimensions of 1 in front of those that are looked for may be there or not. */
function sizesOf(outputs: BatchOutputs, name: string, elements: number, layout: Output['layout']) {
  const shape = unitShape(outputs, name, elements) ?? [];
  const last = shape.slice(layout === 'indices' ? -2 : -3);
  const [a = 0, b = 0, c = 0] = last;
  const sizes = {
    'channels-first': { channels: a, height: b, width: c },
    'channels-last': { channels: c, height: a, width: b },
    indices: { channels: 1, height: a, width: b },
  }[layout];
  if (sizes.channels * sizes.height * sizes.width === elements) return sizes;
  throw new BrinkError('E_PASSPORT', `output "${name}" is [${shape}] per unit; expected ${layout}`);
}

function largestClass(data: Values): number {
  let top = 0;
  for (let i = 0; i < data.length; i++) top = Math.max(top, data[i] as number);
  return Math.min(65_535, Math.floor(top));
}

function indexOf(value: number, classes: number, name: string): number {
  if (Number.isInteger(value) && value >= 0 && value < classes) return value;
  throw new BrinkError('E_MODEL_OUTPUT', `output "${name}" names class ${value}; expected 0 to ${classes - 1}`);
}

function strongest(data: Values, from: number, step: number, count: number): number {
  let [best, top] = [0, data[from] as number];
  for (let i = 1; i < count; i++) {
    const value = data[from + i * step] as number;
    if (value > top) [best, top] = [i, value];
  }
  return best;
}

/** At most `sideMax` cells high and wide, in the proportions of the output. */
function maskOf({ kinds, width, height, classes }: Areas, sideMax: number): NonNullable<Result['tensors']>[string] {
  const shrink = Math.max(1, width / sideMax, height / sideMax);
  const [columns, rows] = [Math.max(1, Math.round(width / shrink)), Math.max(1, Math.round(height / shrink))];
  const data = new Array<number>(columns * rows);
  const votes = new Uint32Array(classes);
  for (let row = 0; row < rows; row++) {
    const [top, bottom] = [Math.floor((row * height) / rows), Math.ceil(((row + 1) * height) / rows)];
    for (let column = 0; column < columns; column++) {
      const [left, right] = [Math.floor((column * width) / columns), Math.ceil(((column + 1) * width) / columns)];
      data[row * columns + column] = mostOf(kinds, width, { top, bottom, left, right }, votes);
    }
  }
  return { dtype: classes > 256 ? 'uint16' : 'uint8', shape: [rows, columns], data };
}

interface Block {
  readonly top: number;
  readonly bottom: number;
  readonly left: number;
  readonly right: number;
}

/** The class that most cells of a block have. @param votes all 0, before and after */
function mostOf(kinds: Uint16Array, width: number, { top, bottom, left, right }: Block, votes: Uint32Array): number {
  let most = kinds[top * width + left] as number;
  for (let y = top; y < bottom; y++) {
    for (let x = left; x < right; x++) {
      const kind = kinds[y * width + x] as number;
      votes[kind] = (votes[kind] as number) + 1;
      if ((votes[kind] as number) > (votes[most] as number)) most = kind;
    }
  }
  for (let y = top; y < bottom; y++) for (let x = left; x < right; x++) votes[kinds[y * width + x] as number] = 0;
  return most;
}
