import { PassportSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { encode, graph, model, node, value } from '../build.ts';
import { type Dimension, type ModelInfo, readModel } from '../read.ts';
import { draftPassport } from './draft.ts';
import { parseNames } from './ultralytics.ts';

type Tensors = Record<string, Dimension[]>;
const info = (inputs: Tensors, outputs: Tensors, metadata: Record<string, string> = {}): ModelInfo =>
  readModel(
    encode(
      model(
        graph({
          inputs: Object.entries(inputs).map(([name, shape]) => value(name, 'float32', shape)),
          outputs: Object.entries(outputs).map(([name, shape]) => value(name, 'float32', shape)),
          nodes: [node('Identity', [Object.keys(inputs)[0]!], [Object.keys(outputs)[0]!])],
        }),
        { metadata },
      ),
    ),
  );
const files = [{ path: 'model.onnx', sha256: '0'.repeat(64), bytes: 1 }];
const draft = (of: ModelInfo, more: object = {}) => draftPassport(of, { name: 'mine', version: 2, files, ...more });

// As ultralytics 8 writes them.
const YOLO = {
  description: 'Ultralytics YOLO11n model trained on /usr/src/ultralytics/cfg/datasets/coco8.yaml',
  author: 'Ultralytics',
  version: '8.3.40',
  license: 'AGPL-3.0 License (https://ultralytics.com/license)',
  stride: '32',
  task: 'detect',
  batch: '1',
  imgsz: '[480, 640]',
  names: `{0: 'person', 1: "driver's seat", 2: 'caf\\xe9'}`,
  args: "{'batch': 1, 'half': False, 'dynamic': False, 'nms': False}",
};

describe("Ultralytics' metadata", () => {
  it('make a whole passport of a detector', () => {
    const {
      draft: passport,
      complete,
      missing,
      labels,
    } = draft(info({ images: [1, 3, 480, 640] }, { output0: [1, 7, 6300] }, YOLO));
    expect(missing).toEqual([]);
    expect(complete).toBe(true);
    expect(labels).toEqual(['person', "driver's seat", 'café']);
    expect(PassportSchema.parse(passport)).toMatchObject({
      task: 'detection',
      licence: 'AGPL-3.0',
      batch_max: 1,
      inputs: [
        {
          tensor: 'images',
          image: { width: 640, height: 480, fit: 'letterbox', pad: 114, layout: 'nchw', colour: 'rgb' },
        },
      ],
      output: { decoder: 'yolov8', layout: 'columns', tensors: { output: 'output0' }, labels: { file: 'labels.txt' } },
    });
  });

  it('take size and batch from imgsz and a free dimension, where the export is dynamic', () => {
    const { draft: passport, complete } = draft(
      info({ images: ['batch', 3, 'height', 'width'] }, { output0: ['batch', 7, 'anchors'] }, YOLO),
    );
    expect(complete).toBe(true);
    expect(passport).toMatchObject({ batch_max: 8, inputs: [{ image: { width: 640, height: 480 } }] });
  });

  it.each([
    [[1, 7, 8400], 'yolov8', 'columns'],
    [[1, 8400, 7], 'yolov8', 'rows'],
    [[1, 25200, 8], 'yolov5', 'rows'],
  ])('know the decoder by the shape: %j is %s, %s', (shape, decoder, layout) => {
    const { draft: passport } = draft(info({ images: [1, 3, 640, 640] }, { output0: shape }, YOLO));
    expect(passport).toMatchObject({ output: { decoder, layout } });
  });

  it('of YOLOv5 are only stride and names', () => {
    const metadata = { stride: '32', names: YOLO.names };
    const detector = draft(info({ images: [1, 3, 640, 640] }, { output0: [1, 25200, 8] }, metadata));
    expect(detector).toMatchObject({ complete: true, draft: { output: { decoder: 'yolov5' } } });
    const classifier = draft(info({ images: [1, 3, 224, 224] }, { output0: [1, 3] }, metadata));
    expect(classifier).toMatchObject({
      complete: true,
      draft: {
        task: 'classification',
        inputs: [{ image: { fit: 'crop', mean: [0.485, 0.456, 0.406] } }],
        output: { activation: 'softmax' },
      },
    });
  });

  it('make a classifier, whose softmax is in the graph since v8', () => {
    const classify = { ...YOLO, task: 'classify', imgsz: '[224, 224]' };
    const { draft: passport, complete } = draft(info({ images: [1, 3, 224, 224] }, { output0: [1, 3] }, classify));
    expect(complete).toBe(true);
    expect(passport).toMatchObject({
      output: { decoder: 'classification', activation: 'none' },
      inputs: [{ image: { fit: 'crop' } }],
    });
  });

  it.each([
    ['segment', [1, 39, 8400], 'masks of single objects'],
    ['pose', [1, 56, 8400], 'key points'],
    ['obb', [1, 8, 8400], 'turned boxes'],
  ])('say what is missing for %s', (task, shape, what) => {
    const { complete, missing } = draft(info({ images: [1, 3, 640, 640] }, { output0: shape }, { ...YOLO, task }));
    expect(complete).toBe(false);
    expect(missing.join()).toContain(what);
  });

  it.each([
    ['by their shape', [1, 300, 6], {}],
    ['by their shape, with one class', [1, 300, 6], { names: "{0: 'face'}" }],
    ['end to end', [1, 100, 6], { end2end: 'True', names: "{0: 'face'}" }],
    ['with nms in its arguments', [1, 50, 6], { args: "{'nms': True}" }],
    ['with nms as a key of its own', [1, 50, 6], { nms: 'True' }],
  ])('make a passport of boxes that are finished, %s', (_name, shape, over) => {
    const {
      draft: passport,
      complete,
      missing,
    } = draft(info({ images: [1, 3, 640, 640] }, { output0: shape }, { ...YOLO, ...over }));
    expect([missing, complete]).toEqual([[], true]);
    expect(PassportSchema.parse(passport)).toMatchObject({
      output: { decoder: 'box-rows', nms: 'none', unit: 'pixels' },
    });
  });

  it('do not take a head of one class for finished boxes', () => {
    const over = { ...YOLO, names: "{0: 'face'}" };
    const { draft: passport } = draft(info({ images: [1, 3, 640, 640] }, { output0: [1, 25_200, 6] }, over));
    expect(passport).toMatchObject({ output: { decoder: 'yolov5', layout: 'rows' } });
  });

  it('say what is wrong with boxes that are said to be finished', () => {
    const over = { ...YOLO, end2end: 'True' };
    const { missing } = draft(info({ images: [1, 3, 640, 640] }, { output0: [1, 300, 7] }, over));
    expect(missing.join()).toMatch(/"output0" float32 \[1, 300, 7\]; expected \[batch, boxes, 6\]/);
  });

  it('that do not go with the shape are said with both', () => {
    const { missing } = draft(info({ images: [1, 3, 640, 640] }, { output0: [1, 84, 8400] }, YOLO));
    expect(missing).toEqual([
      'output: "output0" float32 [1, 84, 8400] for 3 classes; expected 7 (yolov8) or 8 (yolov5) values for each box',
    ]);
  });

  it.each([
    [`['a', 'b']`, ['a', 'b']],
    [`{1: 'b', 0: 'a'}`, ['a', 'b']],
    [`{0: 'it\\'s'}`, ["it's"]],
    [`{0: '人', 1: '车'}`, ['人', '车']],
    [`{0: 'a', 99999999: 'b'}`, undefined],
    ['', undefined],
    ['nonsense', undefined],
  ])('have names as Python prints them: %s', (text, names) => {
    expect(parseNames(text)).toEqual(names);
  });
});

describe("Hugging Face's files", () => {
  const config = {
    architectures: ['ViTForImageClassification'],
    id2label: { '0': 'cat', '1': 'dog', '10': 'owl', '2': 'elk' },
  };
  const preprocessor = {
    do_resize: true,
    size: { height: 224, width: 224 },
    resample: 3,
    do_rescale: true,
    rescale_factor: 0.00392156862745098,
    do_normalize: true,
    image_mean: [0.5, 0.5, 0.5],
    image_std: [0.5, 0.5, 0.5],
  };
  const vit = () =>
    info({ pixel_values: ['batch_size', 'num_channels', 'height', 'width'] }, { logits: ['batch_size', 4] });

  it('make a whole passport of a classifier', () => {
    const made = draft(vit(), { config, preprocessor });
    expect(made).toMatchObject({ complete: true, missing: [], doubts: [], labels: ['cat', 'dog', 'elk', 'owl'] });
    expect(PassportSchema.parse(made.draft)).toMatchObject({
      task: 'classification',
      batch_max: 8,
      inputs: [
        {
          tensor: 'pixel_values',
          image: { width: 224, height: 224, fit: 'stretch', kernel: 'bicubic', mean: [0.5, 0.5, 0.5], scale: 1 / 255 },
        },
      ],
      output: { decoder: 'classification', activation: 'softmax', tensors: { scores: 'logits' } },
    });
  });

  it.each([
    [
      'a crop out of a shorter side',
      { size: { shortest_edge: 256 }, do_center_crop: true, crop_size: { height: 224, width: 224 } },
      { width: 224, fit: 'crop' },
      1,
    ],
    [
      'numbers, as older files have',
      { size: 224, do_center_crop: true, crop_size: 224 },
      { width: 224, fit: 'crop' },
      0,
    ],
    ['a shorter side', { size: { shortest_edge: 224 } }, { width: 224, fit: 'crop' }, 0],
    ['no rescaling, no normalising', { do_rescale: false, do_normalize: false }, { scale: 1 }, 0],
    ['an unknown filter', { resample: 9 }, { kernel: 'bilinear' }, 1],
  ])('size: %s', (_name, over, image, doubts) => {
    const made = draft(vit(), { config, preprocessor: { ...preprocessor, ...over } });
    expect(made.complete).toBe(true);
    expect(made.draft).toMatchObject({ inputs: [{ image }] });
    expect(made.doubts).toHaveLength(doubts);
  });

  it('without a preprocessor say what is missing', () => {
    const { complete, missing } = draft(vit(), { config });
    expect(complete).toBe(false);
    expect(missing).toEqual([
      'inputs[0].image.scale, mean, std: there is no preprocessor_config.json beside the model',
      'inputs[0].image.width and height: the graph takes any',
    ]);
  });

  it('choose the decoder by architecture and problem type', () => {
    const of = (more: object, outputs: Tensors = { logits: ['n', 4] }) =>
      draft(info({ pixel_values: ['n', 3, 224, 224] }, outputs), { config: { ...config, ...more }, preprocessor })
        .draft;
    expect(of({ problem_type: 'multi_label_classification' })).toMatchObject({ output: { decoder: 'multi-label' } });
    expect(of({ problem_type: 'regression' })).toMatchObject({ task: 'regression', output: { decoder: 'regression' } });
    expect(of({ architectures: ['SegformerForSemanticSegmentation'] })).toMatchObject({ task: 'segmentation' });
    const boxes = { logits: ['n', 100, 5], pred_boxes: ['n', 100, 4] };
    const detr = { architectures: ['DetrForObjectDetection'], model_type: 'detr' };
    expect(of(detr, boxes)).toMatchObject({
      output: { decoder: 'scores-boxes', activation: 'softmax', background: 4, form: 'centre' },
    });
    const later = { architectures: ['RTDetrForObjectDetection'], model_type: 'rt_detr' };
    expect(of(later, boxes)).toMatchObject({ output: { activation: 'sigmoid', nms: 'none' } });
  });

  describe('of language models', () => {
    const text = { architectures: ['BertForSequenceClassification'], id2label: { 0: 'a', 1: 'b' } };
    const bert = (length: Dimension) =>
      info(
        { input_ids: ['n', length], token_type_ids: ['n', length], attention_mask: ['n', length] },
        { logits: ['n', 2] },
      );
    const tokenizer = { path: 'tokenizer.json', sha256: '1'.repeat(64), bytes: 2 };

    it('say what becomes of a text, each input in its role', () => {
      const made = draft(bert('s'), { config: text, files: [...files, tokenizer] });
      expect(made.missing).toEqual([]);
      expect(made.complete).toBe(true);
      expect(made.doubts).toEqual([expect.stringMatching(/length_max is 128: longer texts are cut/)]);
      const passport = PassportSchema.parse(made.draft);
      const of = { tokenizer: 'tokenizer.json', length_max: 128 };
      expect(passport.inputs).toEqual([
        { tensor: 'input_ids', text: { ...of, as: 'ids' } },
        { tensor: 'attention_mask', text: { ...of, as: 'mask' } },
        { tensor: 'token_type_ids', text: { ...of, as: 'types' } },
      ]);
      expect(passport.output).toMatchObject({ decoder: 'text-classification', labels: { file: 'labels.txt' } });
    });

    it('take the length that the graph has, or no more than the model has places for', () => {
      const lengthOf = (length: Dimension, more: object = {}) => {
        const made = draft(bert(length), { config: { ...text, ...more }, files: [...files, tokenizer] });
        return PassportSchema.parse(made.draft).inputs.map((input) => 'text' in input && input.text.length_max);
      };
      expect(lengthOf(48)).toEqual([48, 48, 48]);
      expect(lengthOf('s', { max_position_embeddings: 64 })).toEqual([64, 64, 64]);
      expect(lengthOf('s', { max_position_embeddings: 'x' })).toEqual([128, 128, 128]);
    });

    it('miss their tokenizer where it is not there', () => {
      const { complete, missing } = draft(bert('s'), { config: text });
      expect(complete).toBe(false);
      expect(missing).toEqual(['inputs[0].text.tokenizer: there is no tokenizer.json beside the model']);
    });
  });

  it.each([[null], [7], ['x'], [[]], [{}], [{ id2label: [] }]])('that are %j are none', (config) => {
    expect(draft(vit(), { config }).labels).toBeUndefined();
  });
});

describe('the graph alone', () => {
  it('shows pictures and classes, and the rest is missing', () => {
    const { draft: passport, complete, missing } = draft(info({ x: [1, 1, 28, 28] }, { y: [1, 10] }));
    expect(complete).toBe(false);
    expect(passport).toMatchObject({
      batch_max: 1,
      inputs: [{ tensor: 'x', image: { width: 28, height: 28, colour: 'grey', layout: 'nchw' } }],
      output: { decoder: 'classification', tensors: { scores: 'y' } },
    });
    expect(missing).toEqual([
      'inputs[0].image.scale, mean, std: how the model was trained; 1/255 is a guess',
      'output.labels.file: labels.txt, 10 lines, one for each class',
    ]);
  });

  it('names every input that nobody speaks of', () => {
    const { missing } = draft(
      info(
        { input: [undefined, undefined], state: [2, undefined, 128], sr: [] },
        { y: ['n', 1], stateN: [2, undefined, 128] },
      ),
    );
    expect(missing.slice(1)).toEqual([
      'inputs: the graph takes "input" float32 [?, ?]; say image, audio, signal, text, constant, or state',
      'inputs: the graph takes "state" float32 [2, ?, 128]; write "state": [{ "in": "state", "out": "stateN", "shape": [2, 1, 128] }]',
      'inputs: the graph takes "sr" float32 []; write { "tensor": "sr", "constant": 0, "dtype": "float32" }',
    ]);
  });
});
