import type { ModelInfo } from '../read.ts';
import {
  isRecord,
  LENGTH_MAX,
  lastSize,
  type Part,
  type PictureShape,
  pictureInput,
  shapeText,
  TEXT_INPUTS,
  TOKENIZER,
} from './part.ts';

/** Pillow's numbers of its filters, as `resample` has them. */
const KERNELS: Readonly<Record<number, string>> = { 0: 'nearest', 1: 'lanczos3', 2: 'bilinear', 3: 'bicubic' };
/** DETR's first descendants end in a softmax with a last column for "nothing"; the later ones score each class by itself. */
const SOFTMAX_DETECTORS = new Set(['detr', 'yolos', 'table-transformer']);

/** Whether a text becomes what the graph takes. */
export const takesText = (info: ModelInfo) => info.inputs.some(({ name }) => name === 'input_ids');

/**
 * What Hugging Face's `config.json` and `preprocessor_config.json` say.
 * @param config as parsed; unknown keys are passed over
 * @param files of the folder @returns undefined where it is none of theirs
 */
export function huggingFacePart(
  info: ModelInfo,
  config: unknown,
  preprocessor: unknown,
  files: readonly { readonly path: string }[] = [],
): Part | undefined {
  if (!isRecord(config) || !(isRecord(config['id2label']) || Array.isArray(config['architectures']))) return undefined;
  const architecture = Array.isArray(config['architectures']) ? String(config['architectures'][0]) : '';
  const labels = labelsOf(config['id2label']);
  const head = headOf(info, architecture, config, labels);
  const source = typeof config['_name_or_path'] === 'string' ? config['_name_or_path'].slice(0, 200) : '';
  const shared = { ...(source === '' ? {} : { source }), ...head.part, labels };
  if (takesText(info)) {
    const text = textOf(info, config, files);
    return { ...shared, ...text, missing: [...text.missing, ...head.missing] };
  }
  const picture = pictureInput(info);
  const seen =
    picture === undefined ? undefined : imageOf(picture.shape, isRecord(preprocessor) ? preprocessor : undefined);
  const other = `inputs: ${architecture || 'the model'} takes no picture; say audio, signal or constant for each of its inputs`;
  return {
    ...shared,
    inputs: picture === undefined || seen === undefined ? [] : [{ tensor: picture.tensor.name, image: seen.image }],
    missing: [...(seen === undefined ? [other] : seen.missing), ...head.missing],
    doubts: seen?.doubts ?? [],
  };
}

function labelsOf(id2label: unknown): string[] | undefined {
  if (!isRecord(id2label)) return undefined;
  const names = Object.keys(id2label)
    .toSorted((a, b) => Number(a) - Number(b))
    .map((key) => String(id2label[key]).replaceAll(/\s+/g, ' '));
  return names.length === 0 ? undefined : names;
}

interface HeadPart {
  readonly part: { task?: string; output?: Record<string, unknown> };
  readonly missing: readonly string[];
}

function headOf(
  info: ModelInfo,
  architecture: string,
  config: Record<string, unknown>,
  labels: readonly string[] | undefined,
): HeadPart {
  const named = (name: string) => info.outputs.find((output) => output.name === name)?.name;
  const scores = named('logits') ?? info.outputs[0]?.name ?? '';
  const [, kind = ''] =
    /For(ImageClassification|AudioClassification|SequenceClassification|ObjectDetection|SemanticSegmentation)/.exec(
      architecture,
    ) ?? [];
  switch (kind) {
    case 'ImageClassification':
    case 'AudioClassification':
    case 'SequenceClassification':
      return classifier(String(config['problem_type'] ?? ''), scores, takesText(info));
    case 'SemanticSegmentation':
      return { part: { task: 'segmentation', output: { decoder: 'segmentation', tensors: { scores } } }, missing: [] };
    case 'ObjectDetection': {
      const boxes = named('pred_boxes');
      if (boxes === undefined)
        return {
          part: { task: 'detection' },
          missing: [`output.tensors: expected "logits" and "pred_boxes"; the graph gives ${outputs(info)}`],
        };
      const softmax = SOFTMAX_DETECTORS.has(String(config['model_type'] ?? ''));
      const last = softmax && labels !== undefined ? { background: labels.length } : {};
      const output = {
        decoder: 'scores-boxes',
        tensors: { scores, boxes },
        form: 'centre',
        unit: 'picture',
        activation: softmax ? 'softmax' : 'sigmoid',
        ...last,
        nms: 'none',
      };
      return { part: { task: 'detection', output }, missing: [] };
    }
    default:
      return {
        part: {},
        missing: [`task and output: "${architecture}" is none that is known here; the graph gives ${outputs(info)}`],
      };
  }
}

function classifier(problem: string, scores: string, text: boolean): HeadPart {
  const tensors = { scores };
  if (problem === 'regression')
    return { part: { task: 'regression', output: { decoder: 'regression', tensors } }, missing: [] };
  const multi = problem === 'multi_label_classification';
  const decoder = multi ? 'multi-label' : text ? 'text-classification' : 'classification';
  return { part: { task: 'classification', output: { decoder, tensors } }, missing: [] };
}

/** Numbers of tokens, and what goes with them, as far as the graph takes it. */
function textOf(info: ModelInfo, config: Record<string, unknown>, files: readonly { readonly path: string }[]) {
  const fixed = lastSize(info.inputs.find(({ name }) => name === 'input_ids'));
  const most = Number(config['max_position_embeddings'] ?? LENGTH_MAX);
  const length = fixed ?? (most >= 1 ? Math.min(LENGTH_MAX, most) : LENGTH_MAX);
  const inputs = Object.entries(TEXT_INPUTS)
    .filter(([tensor]) => info.inputs.some(({ name }) => name === tensor))
    .map(([tensor, as]) => ({ tensor, text: { tokenizer: TOKENIZER, length_max: length, as } }));
  const there = files.some(({ path }) => path === TOKENIZER);
  return {
    inputs,
    missing: there ? [] : [`inputs[0].text.tokenizer: there is no ${TOKENIZER} beside the model`],
    doubts:
      fixed !== undefined
        ? []
        : [`inputs[].text.length_max is ${length}: longer texts are cut; every unit costs as much`],
  };
}

const outputs = (info: ModelInfo) => info.outputs.map((output) => `"${output.name}" ${shapeText(output)}`).join(', ');

interface Seen {
  readonly image: object;
  readonly missing: string[];
  readonly doubts: string[];
}

function imageOf(shape: PictureShape, preprocessor: Record<string, unknown> | undefined): Seen {
  const base = { layout: shape.layout, colour: shape.channels === 1 ? 'grey' : 'rgb' };
  if (preprocessor === undefined) {
    const missing = ['inputs[0].image.scale, mean, std: there is no preprocessor_config.json beside the model'];
    if (shape.width === undefined) missing.push('inputs[0].image.width and height: the graph takes any');
    return { image: { width: shape.width, height: shape.height, ...base }, missing, doubts: [] };
  }
  const { doubts, ...size } = sizeOf(shape, preprocessor);
  const kernel = KERNELS[Number(preprocessor['resample'] ?? 2)];
  const numbers = (key: string) =>
    Array.isArray(preprocessor[key]) ? { list: preprocessor[key].map(Number) } : undefined;
  const normalised = preprocessor['do_normalize'] !== false;
  const image = {
    ...size,
    ...base,
    kernel: kernel ?? 'bilinear',
    scale: preprocessor['do_rescale'] === false ? 1 : Number(preprocessor['rescale_factor'] ?? 1 / 255),
    ...(normalised ? { mean: numbers('image_mean')?.list, std: numbers('image_std')?.list } : {}),
  };
  const missing: string[] = [];
  if (size.width === undefined || size.height === undefined)
    missing.push('inputs[0].image.width and height: neither graph nor preprocessor_config.json says');
  if (normalised && (image.mean === undefined || image.std === undefined))
    missing.push(
      'inputs[0].image.mean and std: preprocessor_config.json normalises, but has no image_mean and image_std',
    );
  if (kernel === undefined)
    doubts.push(`resample ${String(preprocessor['resample'])} of preprocessor_config.json is taken as bilinear`);
  return { image, missing, doubts };
}

/** `{height, width}`, `{shortest_edge}` or a number; older files have lists. */
function sides(of: unknown): { width: number; height: number } | undefined {
  if (typeof of === 'number') return { width: of, height: of };
  if (!isRecord(of)) return undefined;
  const edge = of['shortest_edge'];
  if (typeof edge === 'number' && of['longest_edge'] === undefined) return { width: edge, height: edge };
  const { width, height } = of;
  return typeof width === 'number' && typeof height === 'number' ? { width, height } : undefined;
}

function sizeOf(shape: PictureShape, preprocessor: Record<string, unknown>) {
  const resized = preprocessor['do_resize'] === false ? undefined : sides(preprocessor['size']);
  const cropped = preprocessor['do_center_crop'] === true ? sides(preprocessor['crop_size']) : undefined;
  const edge = isRecord(preprocessor['size']) && 'shortest_edge' in preprocessor['size'];
  const said = cropped ?? resized;
  const doubts: string[] = [];
  if (cropped !== undefined && resized !== undefined && resized.width !== cropped.width) {
    doubts.push(
      `preprocessor_config.json crops ${cropped.width} out of ${resized.width}; \`fit: crop\` takes the whole shorter side: compare results`,
    );
  }
  if (isRecord(preprocessor['size']) && 'longest_edge' in preprocessor['size']) {
    doubts.push(
      'preprocessor_config.json keeps proportions up to a longest edge; here every picture has one size: `fit` says how',
    );
  }
  const fit = cropped !== undefined || edge ? 'crop' : 'stretch';
  return { width: shape.width ?? said?.width, height: shape.height ?? said?.height, fit, doubts };
}
