import { BrinkError } from '@brink/protocol';
import type { PictureSize } from './decode.ts';
import { type BatchOutputs, finiteSliceOf, type Values } from './tensors.ts';

// Detectors look at a picture through grids of cells, one grid per stride. This is where the numbers of a cell lie.

export interface Level {
  readonly stride: number;
  readonly columns: number;
  readonly rows: number;
  /** boxes per cell */
  readonly anchors: number;
}

/** Where one level's channels lie in its output. */
export interface Cells {
  readonly data: Values;
  readonly channels: number;
  readonly start: number;
  readonly anchorStep: number;
  readonly cellStep: number;
  readonly channelStep: number;
}

/** `channels-first` [anchors·channels, cells], `channels-last` [cells, anchors·channels], `anchors-first` [anchors, cells, channels] */
export type CellLayout = 'channels-first' | 'channels-last' | 'anchors-first';

/** A level has as many cells as strides fit, and one more where the last is cut (a convolution that pads). */
export function levelsOf(
  levels: readonly { readonly stride: number; readonly anchors: number }[],
  { width, height }: PictureSize,
): Level[] {
  return levels.map(({ stride, anchors }) => ({
    stride,
    anchors,
    columns: Math.ceil(width / stride),
    rows: Math.ceil(height / stride),
  }));
}

/**
 * Which outputs play a role: one for all levels, or one for each, `<role>_<stride>`.
 * @param role undefined: whatever the passport calls it
 * @returns undefined where none does @throws BrinkError E_PASSPORT where only some levels have theirs
 */
export function levelNames(
  tensors: Readonly<Record<string, string>>,
  role: string | undefined,
  levels: readonly Level[],
): readonly string[] | undefined {
  const entries = Object.entries(tensors);
  const [first] = entries;
  if (role === undefined && entries.length === 1 && first !== undefined) return [first[1]];
  if (role !== undefined && Object.hasOwn(tensors, role)) return [tensors[role] as string];
  const ofStride = (stride: number) =>
    entries.find(([key]) => (role === undefined ? key.endsWith(`_${stride}`) : key === `${role}_${stride}`))?.[1];
  const names = levels.flatMap(({ stride }) => ofStride(stride) ?? []);
  if (names.length === 0) return undefined;
  if (names.length === levels.length) return names;
  const expected = levels.map(({ stride }) => `${role ?? '<name>'}_${stride}`).join(', ');
  throw new BrinkError('E_PASSPORT', `output.tensors has ${Object.keys(tensors).join(', ')}; expected ${expected}`);
}

const boxesOf = ({ columns, rows, anchors }: Level) => columns * rows * anchors;

/**
 * One unit's cells, level by level.
 * @param names one output, or one for each level
 * @param channels how many a box has; undefined: as many as the output has for each
 * @throws BrinkError E_MODEL_OUTPUT; E_PASSPORT where the output has not as many numbers as the levels need
 */
export function cellsOf(
  outputs: BatchOutputs,
  unit: number,
  o: { names: readonly string[]; levels: readonly Level[]; layout: CellLayout; channels?: number | undefined },
): Cells[] {
  if (o.names.length > 1) {
    return o.levels.flatMap((level, at) =>
      cellsOf(outputs, unit, { ...o, names: [o.names[at] as string], levels: [level] }),
    );
  }
  const name = o.names[0] as string;
  const data = finiteSliceOf(outputs, name, unit);
  const boxes = o.levels.reduce((sum, level) => sum + boxesOf(level), 0);
  const channels = o.channels ?? data.length / boxes;
  if (!Number.isInteger(channels) || channels * boxes !== data.length) throw misfit(name, data.length, o, boxes);
  const cells = o.levels.reduce((sum, { columns, rows }) => sum + columns * rows, 0);
  let [boxesBefore, cellsBefore] = [0, 0];
  return o.levels.map((level) => {
    const from = boxesBefore * channels;
    const fromCell = cellsBefore;
    boxesBefore += boxesOf(level);
    cellsBefore += level.columns * level.rows;
    const of = { data, channels };
    if (o.layout === 'channels-first') {
      return { ...of, start: fromCell, anchorStep: channels * cells, cellStep: 1, channelStep: cells };
    }
    if (o.layout === 'channels-last') {
      return { ...of, start: from, anchorStep: channels, cellStep: level.anchors * channels, channelStep: 1 };
    }
    const anchorStep = level.columns * level.rows * channels;
    return { ...of, start: from, anchorStep, cellStep: channels, channelStep: 1 };
  });
}

function misfit(
  name: string,
  found: number,
  o: { levels: readonly Level[]; channels?: number | undefined },
  boxes: number,
): BrinkError {
  const grids = o.levels.map(({ columns, rows, anchors }) => `${columns}×${rows}${anchors > 1 ? `×${anchors}` : ''}`);
  const expected = o.channels === undefined ? `a multiple of ${boxes}` : `${o.channels} × ${boxes}`;
  return new BrinkError(
    'E_PASSPORT',
    `output "${name}" has ${found} numbers per unit; cells of ${grids.join(' + ')} need ${expected}`,
  );
}

/** One box among the cells. */
export interface Place {
  readonly level: number;
  readonly anchor: number;
  readonly column: number;
  readonly row: number;
  readonly cell: number;
}

/** Every box of every level, in the order of their cells. @param visit must not keep what it is given: it changes */
export function eachBox(levels: readonly Level[], visit: (at: Place) => void): void {
  // One object for all, since there may be tens of thousands of cells.
  const at = { level: 0, anchor: 0, column: 0, row: 0, cell: 0 };
  for (const [index, { columns, rows, anchors }] of levels.entries()) {
    at.level = index;
    for (let cell = 0; cell < columns * rows; cell++) {
      at.cell = cell;
      at.column = cell % columns;
      at.row = Math.floor(cell / columns);
      for (let anchor = 0; anchor < anchors; anchor++) {
        at.anchor = anchor;
        visit(at);
      }
    }
  }
}

/** Where the box at `at` begins in its level's numbers. */
export const offsetOf = (cells: Cells, at: { anchor: number; cell: number }) =>
  cells.start + at.anchor * cells.anchorStep + at.cell * cells.cellStep;

/** The largest of `count` values. @param best is written: index, value */
export function largestOf(data: Values, from: number, step: number, count: number, best: Best): void {
  best.index = 0;
  best.value = data[from] as number;
  for (let i = 1, at = from + step; i < count; i++, at += step) {
    const value = data[at] as number;
    if (value > best.value) {
      best.index = i;
      best.value = value;
    }
  }
}
export interface Best {
  index: number;
  value: number;
}
