import { encode, graph, model, node, tensor, value } from '@brink/onnx';

// Stand-ins where no model is trained yet: a formula each, as a graph of a few nodes, which says something true about its stream.
// Nothing in them was learned, and nothing about people or machines should be concluded from them.

export interface Formula {
  readonly graph: Uint8Array;
  /** What belongs to it besides the graph, by name. */
  readonly files?: Readonly<Record<string, string>>;
  /** Without `files`. */
  readonly passport: Record<string, unknown> & { readonly name: string; readonly version: number };
}

const TIME = { axes: [2] };
const one = (name: string) => value(name, 'float32', ['batch', 1]);
const flat = () => tensor('flat', [2], BigInt64Array.of(-1n, 1n));

/** How much the wrist moves: standard deviation over one second of each channel of the accelerometer, their mean. */
const motionEnergy: Formula = {
  graph: encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 3, 10])],
        outputs: [one('energy')],
        tensors: [flat()],
        nodes: [
          node('ReduceMean', ['x'], ['mean'], TIME),
          node('Sub', ['x', 'mean'], ['swing']),
          node('Mul', ['swing', 'swing'], ['squared']),
          node('ReduceMean', ['squared'], ['variance'], TIME),
          node('Sqrt', ['variance'], ['deviation']),
          node('ReduceMean', ['deviation'], ['all'], { axes: [1, 2] }),
          node('Reshape', ['all', 'flat'], ['energy']),
        ],
      }),
    ),
  ),
  passport: {
    ...{ passport: 1, name: 'motion-energy', version: 1, task: 'regression', licence: 'Apache-2.0' },
    inputs: [{ tensor: 'x', signal: { rate_hz: 10, window: 10, hop: 10, channels: ['ax', 'ay', 'az'] } }],
    batch_max: 8,
    output: { decoder: 'regression', tensors: { energy: 'energy' }, names: ['energy'] },
  },
};

/** How far the last hour of a day lies from its mean, in standard deviations of the day. */
const dayDeviation: Formula = {
  graph: encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 1, 288])],
        outputs: [one('score')],
        tensors: [
          flat(),
          tensor('from', [1], BigInt64Array.of(276n)),
          tensor('to', [1], BigInt64Array.of(288n)),
          tensor('axis', [1], BigInt64Array.of(2n)),
          tensor('little', [], Float32Array.of(0.001)),
        ],
        nodes: [
          node('ReduceMean', ['x'], ['day'], TIME),
          node('Sub', ['x', 'day'], ['swing']),
          node('Mul', ['swing', 'swing'], ['squared']),
          node('ReduceMean', ['squared'], ['variance'], TIME),
          node('Sqrt', ['variance'], ['deviation']),
          node('Slice', ['x', 'from', 'to', 'axis'], ['last']),
          node('ReduceMean', ['last'], ['hour'], TIME),
          node('Sub', ['hour', 'day'], ['apart']),
          node('Abs', ['apart'], ['distance']),
          node('Add', ['deviation', 'little'], ['divisor']),
          node('Div', ['distance', 'divisor'], ['ratio']),
          node('Reshape', ['ratio', 'flat'], ['score']),
        ],
      }),
    ),
  ),
  passport: {
    ...{ passport: 1, name: 'day-deviation', version: 1, task: 'anomaly', licence: 'Apache-2.0' },
    // Every 5 minutes; a day, looked at every hour.
    inputs: [{ tensor: 'x', signal: { rate_hz: 1 / 300, window: 288, hop: 12, channels: ['value'] } }],
    batch_max: 8,
    output: { decoder: 'anomaly-score', tensors: { score: 'score' }, activation: 'ratio', threshold: 2.5 },
  },
};

/** From the lowest to the highest sample of one heartbeat; the rate comes from the distance of the R peaks. */
const beatHeight: Formula = {
  graph: encode(
    model(
      graph({
        inputs: [value('x', 'float32', ['batch', 1, 187])],
        outputs: [one('height')],
        tensors: [flat()],
        nodes: [
          node('ReduceMax', ['x'], ['high'], TIME),
          node('ReduceMin', ['x'], ['low'], TIME),
          node('Sub', ['high', 'low'], ['between']),
          node('Reshape', ['between', 'flat'], ['height']),
        ],
      }),
    ),
  ),
  passport: {
    ...{ passport: 1, name: 'beat-height', version: 1, task: 'regression', licence: 'Apache-2.0' },
    inputs: [
      {
        tensor: 'x',
        signal: {
          ...{ rate_hz: 125, window: 187, channels: ['ecg'] },
          trigger: { peaks: { band_hz: [5, 15], refractory_ms: 250 } },
          ...{ before: 0, until: 'next-peak', pad: 'zero', rate_as: 'bpm' },
        },
      },
    ],
    batch_max: 8,
    output: { decoder: 'regression', tensors: { height: 'height' }, names: ['height'] },
  },
};

/** Words that speak for a label; the graph adds them up. */
const WORDS = {
  light: ['light', 'lights', 'lamp', 'bright', 'dark', '灯'],
  music: ['music', 'song', 'play', 'radio', 'louder', '音乐'],
  weather: ['weather', 'rain', 'umbrella', 'cold', 'sunny', '天气'],
  alarm: ['alarm', 'wake', 'timer', 'remind', 'clock', '闹钟'],
} as const;
const LABELS = [...Object.keys(WORDS), 'none'];
const VOCABULARY = ['[PAD]', '[UNK]', ...Object.values(WORDS).flat()];
const FOR_A_WORD = 4;

/** A row for each word of the vocabulary, a column for each label. */
function weights(): Float32Array {
  const table = new Float32Array(VOCABULARY.length * LABELS.length);
  for (const [column, words] of Object.values(WORDS).entries()) {
    for (const word of words) table[VOCABULARY.indexOf(word) * LABELS.length + column] = FOR_A_WORD;
  }
  return table;
}

const tokenizer = {
  ...{ version: '1.0', added_tokens: [], normalizer: { type: 'Lowercase' }, post_processor: null, decoder: null },
  pre_tokenizer: { type: 'Whitespace' },
  model: {
    type: 'WordLevel',
    vocab: Object.fromEntries(VOCABULARY.map((word, number) => [word, number])),
    unk_token: '[UNK]',
  },
};

/** What a household command is about: its words are looked up and added; "none" where there is no such word. */
const householdWords: Formula = {
  graph: encode(
    model(
      graph({
        inputs: [value('ids', 'int64', ['batch', 16])],
        outputs: [value('logits', 'float32', ['batch', LABELS.length])],
        tensors: [
          tensor('weights', [VOCABULARY.length, LABELS.length], weights()),
          tensor(
            'bias',
            [LABELS.length],
            Float32Array.from(LABELS, (label) => (label === 'none' ? FOR_A_WORD / 2 : 0)),
          ),
          tensor('words', [1], BigInt64Array.of(1n)),
        ],
        nodes: [
          node('Gather', ['weights', 'ids'], ['each']),
          node('ReduceSum', ['each', 'words'], ['sum'], { keepdims: 0 }),
          node('Add', ['sum', 'bias'], ['logits']),
        ],
      }),
    ),
  ),
  files: {
    'tokenizer.json': JSON.stringify(tokenizer),
    'labels.txt': `${LABELS.join('\n')}\n`,
    'labels.zh.txt': '灯\n音乐\n天气\n闹钟\n无\n',
  },
  passport: {
    ...{ passport: 1, name: 'household-words', version: 1, task: 'classification', licence: 'Apache-2.0' },
    inputs: [{ tensor: 'ids', text: { tokenizer: 'tokenizer.json', length_max: 16 } }],
    batch_max: 8,
    output: {
      decoder: 'text-classification',
      tensors: { logits: 'logits' },
      labels: { file: 'labels.txt', zh: 'labels.zh.txt' },
    },
  },
};

/** How much a machine shakes over a tenth of a second: as `motionEnergy`, of what pump-1 and pump-2 of docs/your-own-device.md send. */
const bearingShake: Formula = {
  graph: motionEnergy.graph,
  passport: {
    ...motionEnergy.passport,
    name: 'bearing-shake',
    inputs: [{ tensor: 'x', signal: { rate_hz: 100, window: 10, hop: 10, channels: ['ax', 'ay', 'az'] } }],
    output: { decoder: 'regression', tensors: { energy: 'energy' }, names: ['shake'] },
  },
};

export const formulas: readonly Formula[] = [motionEnergy, bearingShake, dayDeviation, beatHeight, householdWords];
