import { createDecoder, type Decode, type Labels, parseLabels } from '@brink/decoders';
import { type ModelInfo, PICTURE_INPUT, prependPictureInput, readModel } from '@brink/onnx';
import { BrinkError, type Passport } from '@brink/protocol';
import type { Head } from '../scheduler/job.ts';
import { agree } from './agreement.ts';
import { readFiles, readPassport, type VersionFolder } from './folder.ts';

/** A version's folder, read, verified, and made ready for a runner. */
export interface Preparation {
  readonly passport: Passport;
  readonly passportSha256: string;
  readonly modelSha256: string;
  /** by path */
  readonly files: ReadonlyMap<string, Buffer>;
  /** The graph as the file has it. */
  readonly native: ModelInfo;
  /** The graph that units run on: uint8 pictures in, normalisation inside. */
  readonly derived: Uint8Array;
  /** What a unit brings, as the derived graph calls it. */
  readonly heads: readonly Head[];
  readonly batchMax: number;
  readonly labels: Labels | undefined;
  readonly decode: Decode;
}

/**
 * @param passport as it was read already
 * @throws BrinkError E_PASSPORT, E_MODEL_HASH, E_MODEL_PARSE, E_MODEL_EXTERNAL, E_MODEL_OP
 */
export async function prepare(
  folder: VersionFolder,
  { passport, sha256 }: Awaited<ReturnType<typeof readPassport>>,
): Promise<Preparation> {
  const files = await readFiles(folder, passport);
  const graph = graphOf(files);
  const native = readModel(graph);
  const { head, batchMax } = agree(passport, native);
  const [input] = passport.inputs;
  if (input === undefined || !('image' in input)) throw new BrinkError('E_PASSPORT', 'inputs is empty');
  const labels = labelsOf(passport, files);
  return {
    passport,
    passportSha256: sha256,
    modelSha256: passport.files.find(({ path }) => path === 'model.onnx')?.sha256 ?? '',
    files,
    native,
    derived: prependPictureInput(graph, input.tensor, input.image),
    heads: [{ name: PICTURE_INPUT, dtype: head.dtype, shape: head.shape }],
    batchMax,
    labels,
    decode: createDecoder({ task: passport.task, output: passport.output, labels }),
  };
}

/** The graph as the file has it, read and verified again. @throws BrinkError as `prepare` */
export async function readNative(folder: VersionFolder, passportSha256: string): Promise<Uint8Array> {
  const { passport, sha256 } = await readPassport(folder);
  if (sha256 !== passportSha256) throw changedMeanwhile(folder);
  return graphOf(await readFiles(folder, passport));
}

/** Versions do not change: another passport is another version. */
export function changedMeanwhile(folder: VersionFolder): BrinkError {
  return new BrinkError('E_PASSPORT', `${folder.path}/model.json was changed after the model was loaded`);
}

function graphOf(files: ReadonlyMap<string, Buffer>): Buffer {
  const graph = files.get('model.onnx');
  if (graph === undefined) throw new BrinkError('E_PASSPORT', 'files does not list model.onnx');
  return graph;
}

function labelsOf(passport: Passport, files: ReadonlyMap<string, Buffer>): Labels | undefined {
  const { labels } = passport.output;
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
