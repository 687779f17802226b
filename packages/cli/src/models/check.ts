import {
  comparePassport,
  type DraftOptions,
  draftPassport,
  type ModelInfo,
  type PassportDraft,
  readModel,
  type TensorInfo,
  takesText,
} from '@brink/onnx';
import { wireHeads } from '@brink/preprocess';
import { BrinkError, type Passport } from '@brink/protocol';
import { checkOutput } from './output.ts';
import { checkFiles, checkPlace, type ModelProblem, parsePassport } from './passport.ts';
import { beside, bytesOf, jsonOf, type ModelSource, openSource, sha256 } from './source.ts';

export interface ModelCheck {
  readonly folder: string;
  readonly name?: string;
  readonly version?: number;
  readonly problems: readonly ModelProblem[];
  /** What model.onnx says about itself. */
  readonly graph?: {
    readonly inputs: readonly string[];
    readonly outputs: readonly string[];
    readonly opset: number;
    readonly metadata: Readonly<Record<string, string>>;
  };
  /** Where there is no model.json: what one would be made of. Without it, only the Open Inference Protocol reaches the model. */
  readonly draft?: PassportDraft;
}

/** With what was read on the way. */
export interface Examination {
  readonly check: ModelCheck;
  readonly source: ModelSource;
  readonly passport: Passport | undefined;
  readonly info: ModelInfo | undefined;
}

/**
 * Is this one that inference would load? Passport, hashes, and what the ONNX file says against both. Runs nothing.
 * @param given a version's folder, its model.json, or an ONNX file @throws BrinkError E_NOT_FOUND where there is nothing at all
 */
export async function examine(given: string): Promise<Examination> {
  const source = await openSource(given);
  const { folder, onnx, passportText } = source;
  const problems: ModelProblem[] = [];
  const info = onnx === undefined ? undefined : readGraph(onnx, problems);
  const seen = { folder, problems, ...source.place, ...(info === undefined ? {} : { graph: summary(info) }) };
  if (passportText === undefined) {
    const draft = info === undefined || onnx === undefined ? {} : { draft: await draftOf(source, info, onnx) };
    return { check: { ...seen, ...draft }, source, passport: undefined, info };
  }
  const passport = parsePassport(passportText, problems);
  if (passport === undefined) return { check: seen, source, passport, info };
  checkPlace(folder, passport, problems);
  const unreadable = onnx !== undefined && info === undefined ? 'model.onnx' : undefined;
  await checkFiles(folder, passport, problems, unreadable);
  if (info !== undefined) {
    problems.push(...comparison(passport, info));
    await checkOutput(folder, passport, info, problems);
  }
  return { check: { ...seen, name: passport.name, version: passport.version }, source, passport, info };
}

export async function checkModel(given: string): Promise<ModelCheck> {
  return (await examine(given)).check;
}

function comparison(passport: Passport, info: ModelInfo): readonly ModelProblem[] {
  try {
    return comparePassport(passport, info, wireHeads(passport));
  } catch (reason) {
    const { detail } = BrinkError.from(reason);
    return [{ path: 'inputs', given: detail, expected: 'inputs that can be made' }];
  }
}

/** @param over name and version as they will be, and more files than the model */
export async function draftOf(
  { folder, place }: ModelSource,
  info: ModelInfo,
  onnx: Buffer,
  over: Partial<DraftOptions> = {},
): Promise<PassportDraft> {
  const labels = await bytesOf(await beside(folder, 'labels.txt'));
  const files = [{ path: 'model.onnx', sha256: sha256(onnx), bytes: onnx.length }];
  if (labels !== undefined) files.push({ path: 'labels.txt', sha256: sha256(labels), bytes: labels.length });
  files.push(...(await tokenizerOf(folder, info)));
  return draftPassport(info, {
    name: place.name ?? 'my-model',
    version: place.version ?? 1,
    files,
    config: await jsonOf(folder, 'config.json'),
    preprocessor: await jsonOf(folder, 'preprocessor_config.json'),
    ...over,
  });
}

/** Where the graph takes what a tokenizer makes of a text, and there is one. */
export async function tokenizerOf(
  folder: string,
  info: ModelInfo,
): Promise<{ path: string; sha256: string; bytes: number }[]> {
  const path = 'tokenizer.json';
  const bytes = takesText(info) ? await bytesOf(await beside(folder, path)) : undefined;
  return bytes === undefined ? [] : [{ path, sha256: sha256(bytes), bytes: bytes.length }];
}

function readGraph(bytes: Buffer, problems: ModelProblem[]): ModelInfo | undefined {
  try {
    return readModel(bytes);
  } catch (reason) {
    const error = BrinkError.from(reason);
    problems.push({
      path: 'model.onnx',
      given: `${error.code}: ${error.detail}`,
      expected: 'an ONNX graph that may be run',
    });
    return undefined;
  }
}

const summary = (info: ModelInfo) => ({
  inputs: info.inputs.map(tensorText),
  outputs: info.outputs.map(tensorText),
  opset: info.opset,
  metadata: info.metadata,
});

const tensorText = ({ name, dtype, shape }: TensorInfo) =>
  `${name} ${dtype ?? 'an unknown type'} [${(shape ?? ['?']).map((size) => size ?? '?').join(', ')}]`;
