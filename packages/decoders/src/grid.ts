import { BrinkError, type OutputOf } from '@brink/protocol';
import { type Decode, type DecoderOptions, type PictureSize, pictureOf } from './decode.ts';
import { detect } from './detection.ts';
import { compile, compileScore, type Expression } from './expression.ts';
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

type GridOutput = OutputOf<'grid'>;
type Activation = GridOutput['channels'][number]['activation'];

/** Of box expressions, behind the channels by role. */
const PLACE = ['column', 'row', 'stride', 'anchor_width', 'anchor_height', 'input_width', 'input_height'] as const;

interface Channel {
  readonly offset: number;
  readonly activate: (value: number) => number;
}

/** What the channels of one box are. */
interface Channels {
  readonly count: number;
  readonly obj: Channel | undefined;
  readonly classes: { readonly offset: number; readonly count: number; readonly activation: Activation } | undefined;
  /** those that a box is made of, by role */
  readonly box: ReadonlyMap<string, Channel>;
}

/**
 * The general detector: every cell has one vector per anchor, the passport says what each of its numbers is, and expressions
 * say how score and box come of them. `class` in the score is the largest of the cell's classes, so the score must grow with it.
 */
export function createGrid(options: DecoderOptions<GridOutput>): Decode {
  const { output } = options;
  const input = pictureOf(options);
  const channels = channelsOf(output);
  const levels = levelsOf(
    output.levels.map(({ stride, anchors }) => ({ stride, anchors: anchors?.length ?? 1 })),
    input,
  );
  const names = namesOf(output, levels);
  const score = compileScore(output.score, scoreNames(channels), 'output.score');
  const boxOf = createBox(output, channels, input);
  const classes = channels.classes?.count ?? 1;
  return (outputs, unit, language) => {
    const cells = cellsOf(outputs, unit, { names, levels, layout: output.layout, channels: channels.count });
    return detect(options, { classes, language }, (found) => {
      const values = new Float64Array(2);
      const best: Best = { index: 0, value: 0 };
      eachBox(levels, (at) => {
        const of = cells[at.level] as Cells;
        const from = offsetOf(of, at);
        readScore(of, from, channels, best, values);
        if (found.judge(score(values), best.index)) boxOf(of, from, at, found.take);
      });
    });
  };
}

/** obj and class, in the order of `scoreNames`. */
function readScore({ data, channelStep }: Cells, from: number, channels: Channels, best: Best, values: Float64Array) {
  let next = 0;
  const { obj, classes } = channels;
  if (obj !== undefined) values[next++] = obj.activate(data[from + obj.offset * channelStep] as number);
  if (classes === undefined) return;
  const first = from + classes.offset * channelStep;
  largestOf(data, first, channelStep, classes.count, best);
  if (classes.activation !== 'softmax') {
    values[next] = ACTIVATIONS[classes.activation](best.value);
    return;
  }
  let sum = 0;
  for (let i = 0; i < classes.count; i++) sum += Math.exp((data[first + i * channelStep] as number) - best.value);
  values[next] = 1 / sum;
}

// All of them grow, so the largest value before is the largest after.
const ACTIVATIONS: Readonly<Record<Exclude<Activation, 'softmax'>, (value: number) => number>> = {
  none: (value) => value,
  sigmoid,
  tanh: Math.tanh,
  exp: Math.exp,
};

type TakeBox = (x0: number, y0: number, x1: number, y1: number) => void;

/** @returns the box of one cell, as parts of the picture */
function createBox(output: GridOutput, channels: Channels, input: PictureSize) {
  const variables = [...channels.box.keys(), ...PLACE];
  const read = [...channels.box.values()];
  const values = new Float64Array(variables.length);
  const expression = ([key, source]: [string, string]) => compile(source, variables, `output.box.${key}`);
  const corners = 'x0' in output.box;
  const keys = corners ? ['x0', 'y0', 'x1', 'y1'] : ['x', 'y', 'w', 'h'];
  const [a, b, c, d] = keys.map((key) => expression([key, (output.box as Record<string, string>)[key] as string])) as [
    Expression,
    Expression,
    Expression,
    Expression,
  ];
  const { width, height } = input;
  return (of: Cells, from: number, at: Place, take: TakeBox) => {
    let next = 0;
    for (const { offset, activate } of read) {
      values[next++] = activate(of.data[from + offset * of.channelStep] as number);
    }
    const level = output.levels[at.level];
    const [anchorWidth, anchorHeight] = level?.anchors?.[at.anchor] ?? [0, 0];
    const place = [at.column, at.row, level?.stride ?? 0, anchorWidth, anchorHeight, width, height];
    for (const value of place) values[next++] = value;
    const [p, q, r, s] = [a(values) / width, b(values) / height, c(values) / width, d(values) / height];
    if (corners) take(p, q, r, s);
    else take(p - r / 2, q - s / 2, p + r / 2, q + s / 2);
  };
}

/** @throws BrinkError E_PASSPORT for roles that come twice, or mean nothing */
function channelsOf({ channels }: GridOutput): Channels {
  const offsets = new Map<string, number>();
  let count = 0;
  for (const [at, channel] of channels.entries()) {
    checkChannel(channel, `output.channels[${at}]`);
    if (channel.role !== 'skip') {
      if (offsets.has(channel.role)) {
        throw new BrinkError(
          'E_PASSPORT',
          `output.channels[${at}] is "${channel.role}" again; expected each role once`,
        );
      }
      offsets.set(channel.role, count);
    }
    count += channel.count;
  }
  if (!offsets.has('obj') && !offsets.has('class')) {
    throw new BrinkError('E_PASSPORT', 'output.channels has neither "obj" nor "class"; a score needs one of them');
  }
  const box = new Map<string, Channel>();
  for (const [role, offset] of offsets)
    if (role !== 'class') box.set(role, { offset, activate: activationOf(channels, role) });
  const obj = box.get('obj');
  box.delete('obj');
  const classes = channels.find(({ role }) => role === 'class');
  return { count, obj, box, classes: classes && { ...classes, offset: offsets.get('class') ?? 0 } };
}

function checkChannel({ role, count, activation }: GridOutput['channels'][number], path: string): void {
  if (role !== 'class' && role !== 'skip' && count !== 1) {
    throw new BrinkError('E_PASSPORT', `${path}.count is ${count}; "${role}" has one channel`);
  }
  if (role !== 'class' && activation === 'softmax') {
    throw new BrinkError('E_PASSPORT', `${path}.activation is "softmax"; only "class" takes it`);
  }
}

function activationOf(channels: GridOutput['channels'], role: string): (value: number) => number {
  const activation = channels.find((channel) => channel.role === role)?.activation ?? 'none';
  return ACTIVATIONS[activation === 'softmax' ? 'none' : activation];
}

const scoreNames = ({ obj, classes }: Channels) => [
  ...(obj === undefined ? [] : ['obj']),
  ...(classes === undefined ? [] : ['class']),
];

function namesOf({ tensors, levels: given, layout }: GridOutput, levels: readonly Level[]): readonly string[] {
  const names = levelNames(tensors, undefined, levels);
  if (names === undefined || Object.keys(tensors).length !== names.length) {
    const expected = given.map(({ stride }) => `<name>_${stride}`).join(', ');
    throw new BrinkError(
      'E_PASSPORT',
      `output.tensors has ${Object.keys(tensors).join(', ')}; expected one entry, or ${expected}`,
    );
  }
  const alike = levels.every(({ anchors }) => anchors === levels[0]?.anchors);
  if (names.length === 1 && layout === 'channels-first' && !alike) {
    throw new BrinkError(
      'E_PASSPORT',
      'output.levels have different numbers of anchors; one output with channels first cannot hold them',
    );
  }
  return names;
}
