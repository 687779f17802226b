import { createTextTensors } from '@brink/decode';
import { createDecoder, type Decode, type Labels, parseLabels } from '@brink/decoders';
import { deriveGraph, type ModelInfo, readModel } from '@brink/onnx';
import { BrinkError, type InputSpec, labelFiles, type Passport, PassportSchema } from '@brink/protocol';
import type { Head } from '../scheduler/job.ts';
import { type Agreement, agree } from './agreement.ts';
import { bareKnowledge } from './bare.ts';
import { type DerivedGraphs, derivedKey } from './derived.ts';
import { readBare, readFiles, readModelFile, readPassport, sha256, type VersionFolder } from './folder.ts';

/** What is known of a version's folder, read and verified: what a version that serves keeps. */
export interface Knowledge {
  readonly modelSha256: string;
  /** The graph as the file has it. */
  readonly native: ModelInfo;
  /** undefined: a folder without model.json. It takes requests of the Open Inference Protocol and no units. */
  readonly passport: Passport | undefined;
  /** What is known of its inputs: those of the passport, or what the file says about itself; empty where nothing is. */
  readonly inputs: readonly InputSpec[];
  readonly labels: Labels | undefined;
  /** What a unit (without a passport: a picture) brings, as the derived graph calls it: inputs in the order of the passport, states. */
  readonly heads: readonly Head[];
  /** Outputs of the derived graph that carry the next state, whole batch, in the order of the passport; bytes of one unit. */
  readonly states: readonly { readonly name: string; readonly bytes: number }[];
  /** undefined where there is no passport. */
  readonly decode: Decode | undefined;
}

/** A version's folder made ready for a runner. */
export interface Preparation {
  readonly knowledge: Knowledge;
  /** '' where there is none. */
  readonly passportSha256: string;
  /** by path */
  readonly files: ReadonlyMap<string, Buffer>;
  /** The graph that a runner loads first: the derived one that units and pictures run on, or the one in the file. */
  readonly graph: { readonly session: '' | 'native'; readonly bytes: Uint8Array };
  readonly batchMax: number;
  /** The graph takes one unit at a time: more of them need more runners. */
  readonly single: boolean;
}

/** @throws BrinkError E_PASSPORT, E_MODEL_HASH, E_MODEL_PARSE, E_MODEL_EXTERNAL, E_MODEL_OP @param passport as it was read already */
export async function prepare(
  folder: VersionFolder,
  { passport, sha256: passportSha256 }: Awaited<ReturnType<typeof readPassport>>,
  derived: DerivedGraphs,
): Promise<Preparation> {
  const files = await readFiles(folder, passport);
  const bytes = graphOf(files);
  const native = readModel(bytes);
  const agreement = agree(passport, native);
  const modelSha256 = passport.files.find(({ path }) => path === 'model.onnx')?.sha256 ?? '';
  const labels = labelsOf(passport, files);
  const decode = createDecoder({
    task: passport.task,
    output: passport.output,
    labels,
    files,
    input: pictureSize(passport),
  });
  // A tokenizer that cannot be used is said now, not with the first text.
  if (passport.inputs.some((input) => 'text' in input)) createTextTensors(passport, files);
  const { graph, inputs, states } = await derived.get(derivedKey(modelSha256, passport), () =>
    deriveGraph(bytes, passport, agreement.heads),
  );
  const heads = headsOf(agreement, inputs);
  const stateHeads = agreement.heads.slice(agreement.heads.length - passport.state.length);
  return {
    knowledge: {
      modelSha256,
      native,
      passport,
      inputs: passport.inputs,
      labels,
      heads,
      states: stateHeads.map((head, at) => ({ name: states[at] ?? '', bytes: head.bytes })),
      decode,
    },
    passportSha256,
    files,
    graph: { session: '', bytes: graph },
    batchMax: agreement.batchMax,
    single: agreement.single,
  };
}

/**
 * A folder with a model and no passport. Where the file says how pictures become its input, it also gets a graph that takes
 * pictures; else it takes tensors only. @throws BrinkError E_MODEL_PARSE, E_MODEL_EXTERNAL, E_MODEL_OP
 */
export async function prepareBare(folder: VersionFolder, derived: DerivedGraphs): Promise<Preparation> {
  const files = await readBare(folder);
  const bytes = graphOf(files);
  const native = readModel(bytes);
  const { inputs, labels } = bareKnowledge(folder, native, files);
  const modelSha256 = sha256(bytes);
  const pictures = await takingPictures(folder, { inputs, native, bytes, modelSha256 }, derived);
  return {
    knowledge: {
      ...{ modelSha256, native, passport: undefined, labels, states: [], decode: undefined },
      inputs: pictures === undefined ? [] : inputs,
      heads: pictures?.heads ?? [],
    },
    passportSha256: '',
    files,
    graph: pictures === undefined ? { session: 'native', bytes } : { session: '', bytes: pictures.graph },
    // Which dimension is the batch is not guessed.
    batchMax: 1,
    single: false,
  };
}

/** @returns undefined where nothing is known of its inputs, or what is known does not go together with the graph */
async function takingPictures(
  { name, version }: VersionFolder,
  of: { inputs: readonly InputSpec[]; native: ModelInfo; bytes: Uint8Array; modelSha256: string },
  derived: DerivedGraphs,
): Promise<{ graph: Uint8Array; heads: readonly Head[] } | undefined> {
  const outputs = of.native.outputs.map(({ name: output }) => [output, output]);
  const passport = PassportSchema.safeParse({
    ...{ passport: 1, name, version, task: 'raw', inputs: of.inputs },
    files: [{ path: 'model.onnx', sha256: of.modelSha256 }],
    output: { decoder: 'raw', tensors: Object.fromEntries(outputs) },
  }).data;
  if (passport === undefined) return undefined;
  try {
    const agreement = agree(passport, of.native);
    const { graph, inputs } = await derived.get(derivedKey(of.modelSha256, passport), () =>
      deriveGraph(of.bytes, passport, agreement.heads),
    );
    return { graph, heads: headsOf(agreement, inputs) };
  } catch (reason) {
    if (BrinkError.from(reason).code === 'E_PASSPORT') return undefined;
    throw reason;
  }
}

/**
 * The graph as the file has it, read again: nobody keeps it in memory. Only its bytes matter here, not what is around it.
 * @throws BrinkError E_MODEL_NOT_READY where the file is another one now
 */
export async function readNative(folder: VersionFolder, modelSha256: string): Promise<Uint8Array> {
  const graph = await readModelFile(folder).catch(() => undefined);
  if (graph !== undefined && sha256(graph) === modelSha256) return graph;
  throw new BrinkError(
    'E_MODEL_NOT_READY',
    `${folder.name} ${folder.version}: model.onnx is not the file any more that was loaded; load the model again, or add a version`,
  );
}

/** Is what was loaded still what is there? @throws BrinkError where it is not */
export async function checkUnchanged(
  folder: VersionFolder,
  loaded: { passportSha256: string; modelSha256: string },
): Promise<void> {
  const files = loaded.passportSha256 === '' ? await readBare(folder) : await readSame(folder, loaded.passportSha256);
  if (sha256(graphOf(files)) !== loaded.modelSha256) throw changedMeanwhile(folder);
}

async function readSame(folder: VersionFolder, passportSha256: string): Promise<ReadonlyMap<string, Buffer>> {
  const read = await readPassport(folder);
  if (read.sha256 !== passportSha256) throw changedMeanwhile(folder);
  return readFiles(folder, read.passport);
}

/** Versions do not change: another passport is another version. */
export function changedMeanwhile(folder: VersionFolder): BrinkError {
  return new BrinkError('E_PASSPORT', `${folder.path} was changed after the model was loaded`);
}

function headsOf({ heads }: Agreement, names: readonly string[]): Head[] {
  return heads.map(({ name, dtype, shape }, at) => ({ name: names[at] ?? name, dtype, shape }));
}

/** For decoders whose boxes come in pixels of what the model sees. */
function pictureSize({ inputs }: Passport): { width: number; height: number } | undefined {
  return inputs.flatMap((input) => ('image' in input ? [input.image] : []))[0];
}

function graphOf(files: ReadonlyMap<string, Buffer>): Buffer {
  const graph = files.get('model.onnx');
  if (graph === undefined) throw new BrinkError('E_PASSPORT', 'files does not list model.onnx');
  return graph;
}

function labelsOf(passport: Passport, files: ReadonlyMap<string, Buffer>): Labels | undefined {
  const labels = labelFiles(passport.output);
  if (labels === undefined) return undefined;
  const read = (key: string, path: string) => {
    const file = files.get(path);
    if (file === undefined) {
      throw new BrinkError('E_PASSPORT', `output.labels.${key} is "${path}", which files does not list`);
    }
    return parseLabels(file.toString('utf8'));
  };
  const { file, ...languages } = labels;
  const names = read('file', file);
  const texts: Record<string, string[]> = {};
  for (const [language, path] of Object.entries(languages)) {
    const lines = read(language, String(path));
    if (lines.length !== names.length) {
      throw new BrinkError(
        'E_PASSPORT',
        `output.labels.${language} has ${lines.length} lines; expected ${names.length}, as output.labels.file`,
      );
    }
    texts[language] = lines;
  }
  return { names, texts };
}
