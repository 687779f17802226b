import { BrinkError, type OutputOf } from '@brink/protocol';
import { type Decode, type DecoderOptions, type PictureSize, pictureOf } from './decode.ts';
import { detect, type Found } from './detection.ts';
import { compileScore } from './expression.ts';
import {
  type Best,
  type Cells,
  cellsOf,
  eachBox,
  type Level,
  largestOf,
  levelNames,
  levelsOf,
  offsetOf,
  type Place,
} from './levels.ts';
import { sigmoid } from './scores.ts';
import type { BatchOutputs } from './tensors.ts';

type Output = OutputOf<'anchor-free'>;

/** Which outputs play which role: one for all levels, or one for each. */
interface Roles {
  readonly output?: readonly string[] | undefined;
  readonly scores?: readonly string[] | undefined;
  readonly boxes?: readonly string[] | undefined;
  readonly objectness?: readonly string[] | undefined;
}

/**
 * Distances from a point in every cell to the four sides of its box: left, top, right, bottom (Tian et al., "FCOS", 2019;
 * with `bins` as the mean of a distribution, Li et al., "Generalized Focal Loss", 2020: NanoDet; SCRFD and others).
 */
export function createAnchorFree(options: DecoderOptions<Output>): Decode {
  const { output } = options;
  const { width, height } = pictureOf(options);
  const anchors = output.per_cell;
  const levels = levelsOf(
    output.strides.map((stride) => ({ stride, anchors })),
    { width, height },
  );
  const roles = rolesOf(output, levels);
  const variables = roles.objectness === undefined ? ['class'] : ['obj', 'class'];
  const score = compileScore(output.score ?? variables.join(' * '), variables, 'output.score');
  const activate = output.activation === 'sigmoid' ? sigmoid : (value: number) => value;
  const takeBox = createBox(output, { width, height });
  return (outputs, unit, language) => {
    const { scores, boxes, objectness } = readRoles(outputs, unit, roles, levels, output);
    const classes = (scores[0] as Cells).channels;
    return detect(options, { classes, language }, (found) => {
      const best: Best = { index: 0, value: 0 };
      const values = new Float64Array(2);
      eachBox(levels, (at) => {
        const of = scores[at.level] as Cells;
        largestOf(of.data, offsetOf(of, at), of.channelStep, classes, best);
        const object = objectness?.[at.level];
        if (object !== undefined) values[0] = activate(object.data[offsetOf(object, at)] as number);
        values[variables.length - 1] = activate(best.value);
        if (found.judge(score(values), best.index)) takeBox(boxes[at.level] as Cells, at, found);
      });
    });
  };
}

function createBox(output: Output, { width, height }: PictureSize) {
  const perSide = output.bins ?? 1;
  return (cells: Cells, at: Place, found: Found) => {
    const from = offsetOf(cells, at);
    const stride = output.strides[at.level] as number;
    const scale = output.distances === 'strides' ? stride : 1;
    const side = (index: number) => scale * distance(cells, from + index * perSide * cells.channelStep, perSide);
    const x = (at.column + output.centre) * stride;
    const y = (at.row + output.centre) * stride;
    found.take((x - side(0)) / width, (y - side(1)) / height, (x + side(2)) / width, (y + side(3)) / height);
  };
}

/** One value, or the mean of the distribution over 0, 1, 2, … whose logits they are. */
function distance({ data, channelStep }: Cells, from: number, bins: number): number {
  if (bins === 1) return data[from] as number;
  let top = Number.NEGATIVE_INFINITY;
  for (let i = 0; i < bins; i++) top = Math.max(top, data[from + i * channelStep] as number);
  let [sum, mean] = [0, 0];
  for (let i = 0; i < bins; i++) {
    const weight = Math.exp((data[from + i * channelStep] as number) - top);
    sum += weight;
    mean += weight * i;
  }
  return mean / sum;
}

function rolesOf({ tensors }: Output, levels: readonly Level[]): Roles {
  const [output, scores, boxes, objectness] = ['output', 'scores', 'boxes', 'objectness'].map((role) =>
    levelNames(tensors, role, levels),
  );
  const roles = { output, scores, boxes, objectness };
  const used = Object.values(roles).reduce((sum, names) => sum + (names?.length ?? 0), 0);
  const whole =
    output === undefined ? scores !== undefined && boxes !== undefined : scores === undefined && boxes === undefined;
  if (whole && used === Object.keys(tensors).length) return roles;
  throw new BrinkError(
    'E_PASSPORT',
    `output.tensors has ${Object.keys(tensors).join(', ')}; expected output, or scores and boxes (and objectness), or each with _<stride>`,
  );
}

function readRoles(outputs: BatchOutputs, unit: number, roles: Roles, levels: readonly Level[], output: Output) {
  const layout = output.layout === 'rows' ? ('channels-last' as const) : ('channels-first' as const);
  const read = (names: readonly string[], channels?: number) =>
    cellsOf(outputs, unit, { names, levels, layout, channels });
  const boxChannels = 4 * (output.bins ?? 1);
  const objectness = roles.objectness === undefined ? undefined : read(roles.objectness, 1);
  if (roles.output === undefined) {
    return { scores: read(roles.scores ?? []), boxes: read(roles.boxes ?? [], boxChannels), objectness };
  }
  const both = read(roles.output);
  const classes = (both[0]?.channels ?? 0) - boxChannels;
  if (classes < 1) {
    throw new BrinkError(
      'E_PASSPORT',
      `output "${roles.output[0]}" has ${classes + boxChannels} values per box; expected classes and ${boxChannels}`,
    );
  }
  const scores = both.map((cells) => ({ ...cells, channels: classes }));
  const boxes = both.map((cells) => ({ ...cells, start: cells.start + classes * cells.channelStep }));
  return { scores, boxes, objectness };
}
