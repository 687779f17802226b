import { BrinkError, OutputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { createDecoder } from './decoder.ts';
import { EXAMPLES, optionsOf, runOf, seeded } from './examples.testing.ts';

const GRID = EXAMPLES.grid.output as unknown as { channels: object[]; box: object };

function refusal(act: () => unknown): string {
  try {
    act();
    return 'nothing';
  } catch (error) {
    return BrinkError.from(error).message;
  }
}
const building = (name: 'grid' | 'anchor-free' | 'ssd' | 'yolov5', over: object, more: object = {}) =>
  refusal(() => createDecoder({ ...optionsOf(EXAMPLES[name], over), ...more }));
const running = (name: keyof typeof EXAMPLES, over: object, more: object = {}) =>
  refusal(() => {
    const options = { ...optionsOf(EXAMPLES[name], over), ...more };
    createDecoder(options)(runOf([EXAMPLES[name].unit(seeded(1))]), 0, 'en');
  });

describe('a detector is refused before its first unit', () => {
  it.each([
    ['no picture among the inputs', building('grid', {}, { input: undefined }), /measures in pixels.*an `image`/],
    ['an expression that is none', building('grid', { score: 'obj *' }), /output\.score: character 6/],
    [
      'a score that falls where the class grows',
      building('grid', { score: 'obj - class' }),
      /output\.score "obj - class" falls to .* grows with it/,
    ],
    [
      'a box of unknown names',
      building('grid', { box: { ...GRID.box, x: 'left' } }),
      /output\.box\.x: character 1 .*"left"/,
    ],
    [
      'no score in the channels',
      building('grid', { channels: GRID.channels.slice(1, 5) }),
      /neither "obj" nor "class"/,
    ],
    ['a role twice', building('grid', { channels: [...GRID.channels, { role: 'x' }] }), /channels\[6\] is "x" again/],
    [
      'two objectness channels',
      building('grid', { channels: [{ role: 'obj', count: 2 }] }),
      /channels\[0\]\.count is 2; "obj" has one/,
    ],
    [
      'softmax where there is one value',
      building('grid', { channels: [{ role: 'obj', activation: 'softmax' }] }),
      /only "class" takes it/,
    ],
    [
      'a level without its output',
      building('grid', { levels: [{ stride: 8 }, { stride: 16 }], tensors: { head_8: 'a', head_32: 'b' } }),
      /expected <name>_8, <name>_16/,
    ],
    [
      'different anchors in one output with channels first',
      building('grid', {
        levels: [
          { stride: 8 },
          {
            stride: 16,
            anchors: [
              [1, 1],
              [2, 2],
            ],
          },
        ],
      }),
      /different numbers of anchors/,
    ],
    [
      'scores without boxes',
      building('anchor-free', { tensors: { scores: 'y' } }),
      /expected output, or scores and boxes/,
    ],
    [
      'a role that means nothing',
      building('anchor-free', { tensors: { output: 'y', faces: 'z' } }),
      /has output, faces/,
    ],
    ['priors from no file', building('ssd', { priors: { file: 'p.json' } }), /"p\.json", which files does not list/],
    [
      'priors that are no JSON',
      building('ssd', { priors: { file: 'p.json' } }, { files: new Map([['p.json', Buffer.from('{')]]) }),
      /p\.json is not JSON/,
    ],
    [
      'priors that are no priors',
      building('ssd', { priors: { file: 'p.json' } }, { files: new Map([['p.json', Buffer.from('[[1,2,3]]')]]) }),
      /has 3 numbers; expected four/,
    ],
    [
      'priors without end',
      building('ssd', { priors: { maps: [{ columns: 4096, rows: 4096, sizes: [1] }] } }),
      /make 16777216 priors; expected at most/,
    ],
  ])('for %s', (_, message, pattern) => {
    expect(message).toMatch(/^E_PASSPORT: /);
    expect(message).toMatch(pattern);
  });

  it.each([
    ['an unknown decoder', { decoder: 'yolov99', tensors: { y: 'y' } }],
    ['a key of another decoder', { decoder: 'yolov8', tensors: { y: 'y' }, strides: [8] }],
    ['two outputs where it takes one', { decoder: 'yolov8', tensors: { y: 'y', z: 'z' } }],
    [
      'a column too few',
      { decoder: 'box-rows', tensors: { y: 'y' }, columns: ['x0', 'y0', 'x1', 'y1', 'score', 'skip'] },
    ],
    [
      'a column twice',
      { decoder: 'box-rows', tensors: { y: 'y' }, columns: ['x0', 'y0', 'x1', 'y1', 'score', 'class', 'x0'] },
    ],
    ['a role too few', { decoder: 'scores-boxes', tensors: { scores: 's' } }],
    ['a role too many', { decoder: 'ssd', tensors: { scores: 's', boxes: 'b', faces: 'f' }, priors: { file: 'a' } }],
    [
      'a prior file outside the folder',
      { decoder: 'ssd', tensors: { scores: 's', boxes: 'b' }, priors: { file: '../a' } },
    ],
    ['a threshold of 0', { decoder: 'anomaly-reconstruction', tensors: { y: 'y' }, threshold: 0 }],
    ['more tensors than a decision holds', { decoder: 'raw', tensors: {} }],
  ])('by the schema: %s', (_, output) => {
    expect(OutputSchema.safeParse(output).success).toBe(false);
  });
});

describe('an output that does not fit the passport', () => {
  const labels = { names: ['one', 'two'], texts: {} };
  it.each([
    ['labels', running('grid', {}, { labels }), /scores 3 classes; there are 2 labels/],
    ['cells', running('grid', { levels: [{ stride: 8 }] }), /96 numbers per unit; cells of 8×6 need 8 × 48/],
    ['cells of YOLOX', running('yolox', { strides: [16] }), /128 numbers.*4×3 need a multiple of 12/],
    [
      'the layout of YOLOv5',
      running('yolov5', { layout: 'columns' }),
      /is \[40,8\], in columns 40 values per box; the labels need 8/,
    ],
    ['priors', running('ssd', { priors: { maps: [{ columns: 4, rows: 3, sizes: [16] }] } }), /12 priors need 48/],
    ['the background', running('scores-boxes', { background: 2 }), /class 2 being the background/],
    [
      'classes as an output',
      running('scores-boxes', { tensors: { scores: 's', boxes: 'b', classes: 's' } }),
      /60 classes/,
    ],
    [
      'the columns',
      running('box-rows', { columns: ['skip', 'x0', 'y0', 'x1', 'y1', 'score', 'class'] }),
      /shape \[1,30,6\]; expected rows of 7/,
    ],
    ['a class', running('box-rows', { score_min: 0 }, { labels }), /box of class 2; there are 2 labels/],
    ['bins', running('anchor-free', { bins: 16 }), /7 values per box; expected classes and 64/],
  ])('%s', (_, message, pattern) => {
    expect(message).toMatch(/^E_PASSPORT: /);
    expect(message).toMatch(pattern);
  });

  it('in numbers is the fault of the model: scores that are none, boxes that are none', () => {
    const options = optionsOf(EXAMPLES['scores-boxes'], { form: 'corners' });
    const decode = createDecoder(options);
    const unit = (score: number) =>
      runOf([{ s: { shape: [1, 2], values: [0, score] }, b: { shape: [1, 4], values: [0, 0, 1, 1] } }]);
    expect(decode(unit(1.00001), 0, 'en').result.score).toBe(1);
    expect(refusal(() => decode(unit(7), 0, 'en'))).toMatch(/^E_MODEL_OUTPUT: a box's score for class 1 is 7/);
    const root = createDecoder(optionsOf(EXAMPLES.grid, { score: 'sqrt(obj - 2)' }));
    expect(refusal(() => root(runOf([EXAMPLES.grid.unit(seeded(1))]), 0, 'en'))).toMatch(/^E_MODEL_OUTPUT: .* is NaN/);
  });
});

describe('what a detector says', () => {
  const boxes = [
    [0.1, 0.1, 0.5, 0.5],
    [0.12, 0.1, 0.5, 0.5],
    [0.6, 0.6, 1.4, 1.2],
    [1.1, 0, 1.2, 1],
    [0.5, 0.5, 0.4, 0.6],
  ];
  const unit = (scores: number[][]) =>
    runOf([{ s: { shape: [5, 3], values: scores.flat() }, b: { shape: [5, 4], values: boxes.flat() } }]);
  const scores = [
    [0, 0.8, 0.1],
    [0, 0.1, 0.7],
    [0, 0.6, 0.1],
    [0, 0.9, 0],
    [0, 0.95, 0],
  ];
  const decode = (over: object, names?: string[]) =>
    createDecoder({
      ...optionsOf(EXAMPLES['scores-boxes'], { form: 'corners', ...over }),
      labels: names && { names, texts: { zh: names.map((name) => `${name}文`) } },
    });

  it('is cut to the picture; boxes beyond it and boxes turned over are none', () => {
    expect(decode({}, ['face', 'hand'])(unit(scores), 0, 'zh').result).toEqual({
      task: 'detection',
      label: 'face',
      label_text: 'face文',
      score: 0.8,
      objects: [
        { label: 'face', label_text: 'face文', score: 0.8, box: [0.1, 0.1, 0.5, 0.5] },
        { label: 'hand', label_text: 'hand文', score: 0.7, box: [0.12, 0.1, 0.5, 0.5] },
        { label: 'face', label_text: 'face文', score: 0.6, box: [0.6, 0.6, 1, 1] },
      ],
    });
  });

  it('is one box of two classes that overlap, where all classes compete', () => {
    expect(decode({ nms: 'agnostic' })(unit(scores), 0, 'en').result.objects?.map(({ label }) => label)).toEqual([
      '1',
      '1',
    ]);
  });

  it('names classes with or without the background among the labels, and by their number without labels', () => {
    const label = (names?: string[]) => decode({}, names)(unit(scores), 0, 'en').result.label;
    expect(label(['face', 'hand'])).toBe('face');
    expect(label(['nothing', 'face', 'hand'])).toBe('face');
    expect(label()).toBe('1');
  });

  it('is none and 0 where nothing reaches score_min; the evidence has the best that did not', () => {
    const { result, top } = decode({ score_min: 0.99 }, ['face', 'hand'])(unit(scores), 0, 'en');
    expect(result).toEqual({ task: 'detection', label: 'none', score: 0, objects: [] });
    expect(top).toEqual([{ label: 'face', raw: 0.95 }]);
  });
});

describe('a box that its objectness rules out', () => {
  const rows = (objectness: number[]) =>
    runOf([{ y: { shape: [2, 8], values: objectness.flatMap((of) => [32, 24, 10, 10, of, 0.1, 0.9, 0.2]) } }]);
  const decode = createDecoder(optionsOf(EXAMPLES.yolov5));

  it('is not looked at, but the surest of them stands in the evidence', () => {
    const { result, top } = decode(rows([0.1, 0.2]), 0, 'en');
    expect(result).toMatchObject({ label: 'none', objects: [] });
    expect(top).toEqual([{ label: 'cat', raw: 0.18 }]);
    expect(decode(rows([0.1, 0.5]), 0, 'en').result).toMatchObject({ label: 'cat', score: 0.45 });
  });

  it('is refused where that is no objectness', () => {
    expect(refusal(() => decode(rows([-3, 0.5]), 0, 'en'))).toMatch(/^E_MODEL_OUTPUT: .* expected a score of 0..1/);
    expect(refusal(() => decode(rows([3, 0.5]), 0, 'en'))).toMatch(/^E_MODEL_OUTPUT: .* expected a score of 0..1/);
  });
});

describe('a grid of 484 cells and 80 classes', () => {
  it('takes well under 2 ms per unit, although all of its cells are candidates', () => {
    const channels = [...GRID.channels.slice(0, 5), { role: 'class', count: 80 }];
    const options = optionsOf({ ...EXAMPLES.grid, input: { width: 352, height: 352 } }, { channels, score_min: 0.3 });
    const decode = createDecoder({ ...options, labels: undefined });
    const random = seeded(1);
    const run = runOf([{ y: { shape: [85, 22, 22], values: Array.from({ length: 85 * 484 }, random) } }]);
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 30; round++) {
      const startedAt = performance.now();
      expect(decode(run, 0, 'en').result.objects?.length).toBeGreaterThan(10);
      best = Math.min(best, performance.now() - startedAt);
    }
    // The fastest of many: the others say how busy the machine is.
    expect(best).toBeLessThan(2);
  });
});
