import { PassportSchema } from '@brink/protocol';
import { lineFor } from '../compare.ts';
import type { ModelInfo } from '../read.ts';
import { huggingFacePart } from './hugging-face.ts';
import { isRecord, lastSize, type Part, pictureInput, shapeText } from './part.ts';
import { ultralyticsPart } from './ultralytics.ts';

export interface DraftOptions {
  readonly name: string;
  readonly version: number;
  /** of the folder; model.onnx at least */
  readonly files?: readonly { readonly path: string; readonly sha256: string; readonly bytes?: number }[];
  /** Hugging Face's config.json, parsed */
  readonly config?: unknown;
  /** Hugging Face's preprocessor_config.json, parsed */
  readonly preprocessor?: unknown;
}

export interface PassportDraft {
  /** As model.json, without what is missing. */
  readonly draft: Readonly<Record<string, unknown>>;
  /** It is a passport already: nothing is missing. */
  readonly complete: boolean;
  /** Each with its path in the passport, and what is known of it. */
  readonly missing: readonly string[];
  /** What was taken from the sources and may differ from what the model was trained with. */
  readonly doubts: readonly string[];
  /** Names of the classes that the sources have; the passport expects them as labels.txt. */
  readonly labels: readonly string[] | undefined;
}

const LABELS = 'labels.txt';
/** Where the graph takes any number of units. */
const BATCH_MAX = 8;

/**
 * A passport from what the ONNX file says, the metadata that Ultralytics' exporter writes into it, and Hugging Face's files beside it.
 * Nothing is invented: what no source says is missing. Pure.
 */
export function draftPassport(info: ModelInfo, o: DraftOptions): PassportDraft {
  const part = ultralyticsPart(info) ?? huggingFacePart(info, o.config, o.preprocessor, o.files) ?? shapesPart(info);
  const output = outputOf(info, part, o);
  const missing = [...part.missing, ...forgotten(info, part), ...output.missing];
  const draft: Record<string, unknown> = {
    passport: 1,
    name: o.name,
    version: o.version,
    task: part.task ?? 'raw',
    ...(part.licence === undefined ? {} : { licence: part.licence }),
    ...(part.source === undefined ? {} : { source: part.source }),
    files: o.files ?? [],
    inputs: part.inputs,
    batch_max: info.inputs.some(({ shape }) => typeof shape?.[0] === 'number') ? 1 : BATCH_MAX,
    ...(output.said === undefined ? {} : { output: output.said }),
  };
  const complete = missing.length === 0 && o.files !== undefined && PassportSchema.safeParse(draft).success;
  return { draft, complete, missing, doubts: part.doubts, labels: part.labels };
}

/** With its labels, where there are any. */
function outputOf(info: ModelInfo, { output, labels }: Part, o: DraftOptions): { said?: object; missing: string[] } {
  if (output === undefined) return { missing: [] };
  if (!labelled(output)) return { said: output, missing: [] };
  if (labels !== undefined || o.files?.some(({ path }) => path === LABELS) === true) {
    return { said: { ...output, labels: { file: LABELS } }, missing: [] };
  }
  const named = isRecord(output['tensors']) ? Object.values(output['tensors']) : [];
  const classes = lastSize(info.outputs.find(({ name }) => named.includes(name)));
  const lines = classes === undefined ? 'one line for each class' : `${classes} lines, one for each class`;
  return { said: output, missing: [`output.labels.file: ${LABELS}, ${lines}`] };
}

const labelled = (output: Readonly<Record<string, unknown>>) =>
  !['regression', 'embedding', 'raw', 'anomaly-score', 'anomaly-reconstruction'].includes(String(output['decoder']));

/** Inputs of the graph that the draft says nothing about. */
function forgotten(info: ModelInfo, { inputs }: Part): string[] {
  const said = new Set(inputs.map((input) => (isRecord(input) ? input['tensor'] : undefined)));
  return info.inputs
    .filter(({ name }) => !said.has(name))
    .map((tensor) => {
      const line = lineFor(tensor, info);
      const hint = line === undefined ? 'say image, audio, signal, text, constant, or state' : `write ${line}`;
      return `inputs: the graph takes "${tensor.name}" ${shapeText(tensor)}; ${hint}`;
    });
}

/** Where nothing but the graph speaks: pictures show by their shape, classes by theirs. */
function shapesPart(info: ModelInfo): Part {
  const picture = pictureInput(info);
  const [output] = info.outputs;
  const missing: string[] = [];
  const inputs: object[] = [];
  if (picture !== undefined) {
    const { channels, width, height, layout } = picture.shape;
    inputs.push({
      tensor: picture.tensor.name,
      image: { width, height, layout, colour: channels === 1 ? 'grey' : 'rgb', scale: 1 / 255 },
    });
    if (width === undefined || height === undefined)
      missing.push('inputs[0].image.width and height: the graph takes any');
    missing.push('inputs[0].image.scale, mean, std: how the model was trained; 1/255 is a guess');
  }
  if (picture === undefined || info.outputs.length !== 1 || output?.shape?.length !== 2) {
    const given = info.outputs.map((one) => `"${one.name}" ${shapeText(one)}`).join(', ');
    missing.push(`task and output: the graph gives ${given}; say which decoder reads it`);
    return { inputs, missing, doubts: [] };
  }
  const decoder = { decoder: 'classification', tensors: { scores: output.name } };
  return { task: 'classification', inputs, output: decoder, missing, doubts: [] };
}
