import type { ModelInfo, TensorInfo } from '../read.ts';
import { type Part, type PictureShape, pictureInput, shapeText } from './part.ts';

const IMAGENET = { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
/** x0 y0 x1 y1, score, class: what YOLOv10 and exports with nms=True give. */
const BOX_ROW = 6;
/** So many at most, unless somebody asks for another number when exporting. */
const BOXES = 300;
const NOT_DECODED: Readonly<Record<string, string>> = {
  segment: 'masks of single objects',
  pose: 'key points',
  obb: 'turned boxes',
};

/**
 * What the exporter of Ultralytics writes into a file (description, author, version, license, stride, task, batch, imgsz, names,
 * args, since v8; only stride and names in YOLOv5), and what goes with it in their own preparation.
 * @returns undefined where the file is not theirs
 */
export function ultralyticsPart(info: ModelInfo): Part | undefined {
  const { metadata } = info;
  const labels = parseNames(metadata['names'] ?? '');
  const picture = pictureInput(info);
  if (labels === undefined || metadata['stride'] === undefined || picture === undefined) return undefined;
  const [output] = info.outputs;
  const task = metadata['task'] ?? (output?.shape?.length === 2 ? 'classify' : 'detect');
  const size = sizeOf(picture.shape, metadata);
  const head = task === 'classify' ? classifier(metadata, output) : detector(task, labels, metadata, info);
  return {
    ...described(metadata),
    task: task === 'classify' ? 'classification' : 'detection',
    inputs: [{ tensor: picture.tensor.name, image: { ...size.said, ...preparation(task, picture.shape, metadata) } }],
    ...('output' in head ? { output: head.output } : {}),
    labels,
    missing: [...size.missing, ...('missing' in head ? [head.missing] : [])],
    doubts: [],
  };
}

function described({ license, description }: Readonly<Record<string, string>>) {
  return {
    ...(license === undefined ? {} : { licence: license.replace(/ License.*$/, '') }),
    ...(description === undefined ? {} : { source: description.slice(0, 200) }),
  };
}

function sizeOf(shape: PictureShape, metadata: Readonly<Record<string, string>>) {
  const [height, width] = parseSizes(metadata['imgsz'] ?? '');
  const said = { width: shape.width ?? width, height: shape.height ?? height };
  const known = said.width !== undefined && said.height !== undefined;
  const missing = known
    ? []
    : ['inputs[0].image.width and height: the graph takes any, and the metadata have no imgsz'];
  return { said, missing };
}

function preparation(task: string, shape: PictureShape, metadata: Readonly<Record<string, string>>) {
  return {
    ...(task === 'classify' ? { fit: 'crop' } : { fit: 'letterbox', pad: 114 }),
    kernel: 'bilinear',
    colour: shape.channels === 1 ? 'grey' : 'rgb',
    layout: shape.layout,
    scale: 1 / 255,
    // Only YOLOv5 normalises what its classifiers take.
    ...(task === 'classify' && metadata['task'] === undefined ? IMAGENET : {}),
  };
}

type Head = { readonly output: Record<string, unknown> } | { readonly missing: string };

/** Since v8 the exported head ends in a softmax of its own. */
function classifier(metadata: Readonly<Record<string, string>>, output: TensorInfo | undefined): Head {
  const activation = metadata['task'] === undefined ? 'softmax' : 'none';
  return { output: { decoder: 'classification', tensors: { scores: output?.name ?? '' }, activation } };
}

function detector(
  task: string,
  labels: readonly string[],
  metadata: Readonly<Record<string, string>>,
  { outputs: [output] }: ModelInfo,
): Head {
  const other = NOT_DECODED[task];
  if (other !== undefined || task !== 'detect') {
    return {
      missing: `output: task "${task}" gives ${other ?? 'something'} that no decoder here reads; \`raw\` passes tensors on`,
    };
  }
  const given = output === undefined ? 'nothing' : `"${output.name}" ${shapeText(output)}`;
  const finished = isFinished(output, labels, metadata);
  if (output === undefined || output.shape?.length !== 3 || (finished && output.shape[2] !== BOX_ROW)) {
    const expected = finished ? `[batch, boxes, ${BOX_ROW}] of boxes that the model has finished` : '3 dimensions';
    return { missing: `output: ${given}; expected ${expected}` };
  }
  const tensors = { output: output.name };
  if (finished) return { output: { decoder: 'box-rows', tensors } };
  const [, a, b] = output.shape;
  if (a === 4 + labels.length) return { output: { decoder: 'yolov8', tensors, layout: 'columns', nms_iou: 0.7 } };
  if (b === 4 + labels.length) return { output: { decoder: 'yolov8', tensors, layout: 'rows', nms_iou: 0.7 } };
  if (b === 5 + labels.length) return { output: { decoder: 'yolov5', tensors, layout: 'rows' } };
  if (a === 5 + labels.length) return { output: { decoder: 'yolov5', tensors, layout: 'columns' } };
  const expected = `${4 + labels.length} (yolov8) or ${5 + labels.length} (yolov5)`;
  return { missing: `output: ${given} for ${labels.length} classes; expected ${expected} values for each box` };
}

/** Whether the graph gives boxes of which none is to be suppressed any more. */
function isFinished(
  output: TensorInfo | undefined,
  labels: readonly string[],
  { args = '', nms, end2end }: Readonly<Record<string, string>>,
): boolean {
  if (end2end === 'True' || nms === 'True' || /'nms': True/.test(args)) return true;
  const [, boxes, values] = output?.shape ?? [];
  // Nobody says so: rows of 6 are those of a head with one class or two, too, but no head of YOLOv5 or v8 has 300 rows.
  return values === BOX_ROW && (boxes === BOXES || (labels.length !== 1 && labels.length !== 2));
}

/** `{0: 'person', 1: "driver's seat"}`, or a list of names: as Python prints them. */
export function parseNames(text: string): string[] | undefined {
  const quoted = String.raw`'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"`;
  const entries = [...text.matchAll(new RegExp(String.raw`(?:(\d+)\s*:\s*)?(?:${quoted})`, 'g'))];
  const names: string[] = [];
  for (const [order, [, number, single, double]] of entries.entries()) {
    names[number === undefined ? order : Number(number)] = unescaped(single ?? double ?? '');
  }
  return names.length === 0 || names.length > entries.length ? undefined : names;
}

/** What Python's repr escapes; letters of other scripts it leaves as they are. */
function unescaped(text: string): string {
  return text.replace(/\\(x[0-9a-f]{2}|u[0-9a-f]{4}|.)/g, (_, code: string) =>
    code.length > 1
      ? String.fromCodePoint(Number.parseInt(code.slice(1), 16))
      : code === 'n' || code === 't'
        ? ' '
        : code,
  );
}

function parseSizes(text: string): number[] {
  return [...text.matchAll(/\d+/g)].map(([digits]) => Number(digits));
}
