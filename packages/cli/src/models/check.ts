import { readFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { type ModelInfo, readModel, type TensorInfo } from '@brink/onnx';
import { BrinkError, type ImageInput, isName, labelFiles, type Passport, PassportSchema } from '@brink/protocol';
import { draftPassport, guessImage, sha256, shapeText } from './draft.ts';

/** One thing that is wrong in a model's folder: what the passport says, what was found, and what to write. */
interface ModelProblem {
  /** `files[0].sha256`, or a file's name. */
  readonly path: string;
  readonly given: string;
  readonly expected: string;
  /** A line for model.json, where there is one that puts it right. */
  readonly write?: string;
}

export interface ModelCheck {
  readonly folder: string;
  readonly name?: string;
  readonly version?: number;
  readonly problems: readonly ModelProblem[];
  /** What model.onnx says about itself. */
  readonly graph?: {
    inputs: readonly string[];
    outputs: readonly string[];
    opset: number;
    metadata: Readonly<Record<string, string>>;
  };
  /** A passport to begin with, where there is none. */
  readonly draft?: object;
}

/**
 * Is this folder one that inference would load? Passport, hashes, and what the ONNX file says against both. Runs nothing.
 * @throws BrinkError E_NOT_FOUND where there is no model.onnx at all
 */
export async function checkModel(given: string): Promise<ModelCheck> {
  const folder = resolve(basename(given) === 'model.json' ? dirname(given) : given);
  const onnx = await bytesOf(join(folder, 'model.onnx'));
  const problems: ModelProblem[] = [];
  const info = onnx === undefined ? undefined : readGraph(onnx, problems);
  const text = (await bytesOf(join(folder, 'model.json')))?.toString('utf8');
  if (onnx === undefined && text === undefined) {
    throw new BrinkError(
      'E_NOT_FOUND',
      `${folder} has no model.onnx and no model.json; expected models/<name>/<version>/`,
    );
  }
  const graph = info === undefined ? {} : { graph: summary(info) };
  if (text === undefined) {
    problems.push({ path: 'model.json', given: 'no such file', expected: 'the passport of the model' });
    return { folder, problems, ...graph, draft: draftPassport(folder, onnx ?? Buffer.alloc(0), info) };
  }
  const passport = parsePassport(text, problems);
  if (passport === undefined) return { folder, problems, ...graph };
  checkPlace(folder, passport, problems);
  await checkFiles(folder, passport, problems);
  await checkLabels(folder, passport, problems);
  if (info !== undefined) {
    checkInputs(passport, info, problems);
    await checkOutput(folder, passport, info, problems);
  }
  for (const [at, golden] of passport.golden.entries()) {
    if ((await bytesOf(join(folder, golden.input))) === undefined) {
      problems.push({ path: `golden[${at}].input`, given: golden.input, expected: 'a file in this folder' });
    }
  }
  return { folder, name: passport.name, version: passport.version, problems, ...graph };
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

function parsePassport(text: string, problems: ModelProblem[]): Passport | undefined {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    problems.push({ path: 'model.json', given: BrinkError.from(error).detail, expected: 'JSON' });
    return undefined;
  }
  const parsed = PassportSchema.safeParse(json);
  if (parsed.success) return parsed.data;
  for (const issue of parsed.error.issues) {
    const path = issue.path.reduce<string>(
      (all, part) => (typeof part === 'number' ? `${all}[${part}]` : `${all}${all && '.'}${String(part)}`),
      '',
    );
    problems.push({
      path: path === '' ? 'model.json' : path,
      given: short(at(json, issue.path)),
      expected: issue.message,
    });
  }
  return undefined;
}

function checkPlace(folder: string, passport: Passport, problems: ModelProblem[]): void {
  const version = basename(folder);
  const name = basename(dirname(folder));
  if (/^\d+$/.test(version) && passport.version !== Number(version)) {
    problems.push({
      path: 'version',
      given: String(passport.version),
      expected: `${version}, as the folder says`,
      write: `"version": ${version}`,
    });
  }
  if (/^\d+$/.test(version) && isName(name) && passport.name !== name) {
    problems.push({
      path: 'name',
      given: passport.name,
      expected: `${name}, as the folder says`,
      write: `"name": "${name}"`,
    });
  }
}

async function checkFiles(folder: string, passport: Passport, problems: ModelProblem[]): Promise<void> {
  for (const [index, file] of passport.files.entries()) {
    const bytes = await bytesOf(join(folder, file.path));
    const path = `files[${index}]`;
    if (bytes === undefined) {
      problems.push({ path: `${path}.path`, given: file.path, expected: 'a file in this folder' });
      continue;
    }
    const hash = sha256(bytes);
    const write = fileLine(file.path, bytes);
    if (hash !== file.sha256)
      problems.push({
        path: `${path}.sha256`,
        given: file.sha256,
        expected: `${hash}, the hash of ${file.path}`,
        write,
      });
    else if (file.bytes !== undefined && file.bytes !== bytes.length) {
      problems.push({
        path: `${path}.bytes`,
        given: String(file.bytes),
        expected: `${bytes.length}, the size of ${file.path}`,
        write,
      });
    }
  }
}

/** Labels are weights too: what a class is called must not change unnoticed. */
async function checkLabels(folder: string, passport: Passport, problems: ModelProblem[]): Promise<void> {
  const listed = new Set(passport.files.map((file) => file.path));
  for (const [key, file] of Object.entries(labelFiles(passport.output) ?? {})) {
    if (typeof file !== 'string' || listed.has(file)) continue;
    const bytes = await bytesOf(join(folder, file));
    const write = bytes === undefined ? {} : { write: fileLine(file, bytes) };
    problems.push({
      path: `output.labels.${key}`,
      given: file,
      expected: 'a file that `files` lists with its hash',
      ...write,
    });
  }
}

const fileLine = (path: string, bytes: Buffer) =>
  `{ "path": "${path}", "sha256": "${sha256(bytes)}", "bytes": ${bytes.length} }`;

function checkInputs(passport: Passport, info: ModelInfo, problems: ModelProblem[]): void {
  for (const [index, input] of passport.inputs.entries()) {
    const path = `inputs[${index}]`;
    const tensor = info.inputs.find((candidate) => candidate.name === input.tensor);
    if (tensor === undefined) {
      const names = info.inputs.map((candidate) => candidate.name);
      problems.push({
        path: `${path}.tensor`,
        given: input.tensor,
        expected: `one of ${names.join(', ')}`,
        write: `"tensor": "${names[0] ?? ''}"`,
      });
      continue;
    }
    if ('image' in input) checkShape(`${path}.image`, input.image, tensor, problems);
    const batch = tensor.shape?.[0];
    if (typeof batch === 'number' && passport.batch_max > batch) {
      problems.push({
        path: 'batch_max',
        given: String(passport.batch_max),
        expected: `${batch}: the graph has a fixed batch`,
        write: `"batch_max": ${batch}`,
      });
    }
  }
}

function checkShape(path: string, image: ImageInput, tensor: TensorInfo, problems: ModelProblem[]): void {
  if (tensor.shape === undefined) return;
  const channels = image.colour === 'grey' ? 1 : 3;
  const wanted =
    image.layout === 'nchw' ? [channels, image.height, image.width] : [image.height, image.width, channels];
  const found = tensor.shape.slice(1);
  const fits =
    found.length === 3 && found.every((dimension, at) => typeof dimension !== 'number' || dimension === wanted[at]);
  if (fits) return;
  const guess = guessImage(tensor);
  problems.push({
    path,
    given: `${image.layout} ${image.colour} ${image.width}×${image.height}, that is [n, ${wanted.join(', ')}]`,
    expected: `what the graph takes: ${shapeText(tensor)}`,
    ...(guess === undefined ? {} : { write: `"image": ${JSON.stringify(guess)}` }),
  });
}

const ONE_VALUE_PER_CLASS: ReadonlySet<string> = new Set([
  'classification',
  'multi-label',
  'keyword',
  'text-classification',
]);

async function checkOutput(
  folder: string,
  passport: Passport,
  info: ModelInfo,
  problems: ModelProblem[],
): Promise<void> {
  for (const [role, name] of Object.entries(passport.output.tensors)) {
    const tensor = info.outputs.find((candidate) => candidate.name === name);
    if (tensor === undefined) {
      const names = info.outputs.map((candidate) => candidate.name);
      problems.push({
        path: `output.tensors.${role}`,
        given: name,
        expected: `one of ${names.join(', ')}`,
        write: `"tensors": { "${role}": "${names[0] ?? ''}" }`,
      });
      continue;
    }
    if (!ONE_VALUE_PER_CLASS.has(passport.output.decoder)) continue;
    const classes = tensor.shape?.at(-1);
    const labels = await labelCount(folder, passport);
    if (typeof classes === 'number' && labels !== undefined && labels !== classes) {
      problems.push({
        path: 'output.labels.file',
        given: `${labels} labels`,
        expected: `${classes}, one per line, as many as ${name} has`,
      });
    }
  }
}

async function labelCount(folder: string, passport: Passport): Promise<number | undefined> {
  const file = labelFiles(passport.output)?.file;
  if (file === undefined) return undefined;
  const text = (await bytesOf(join(folder, file)))?.toString('utf8');
  return text?.replace(/\r?\n$/, '').split(/\r?\n/).length;
}

const summary = (info: ModelInfo) => ({
  inputs: info.inputs.map((tensor) => `${tensor.name} ${shapeText(tensor)}`),
  outputs: info.outputs.map((tensor) => `${tensor.name} ${shapeText(tensor)}`),
  opset: info.opset,
  metadata: info.metadata,
});

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (inner, key) =>
      typeof inner === 'object' && inner !== null ? (inner as Record<PropertyKey, unknown>)[key] : undefined,
    value,
  );
}

function short(value: unknown): string {
  const text = value === undefined ? 'nothing' : JSON.stringify(value);
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
}

async function bytesOf(file: string): Promise<Buffer | undefined> {
  try {
    return await readFile(file);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EISDIR'].includes((error as NodeJS.ErrnoException).code ?? '')) return undefined;
    throw new BrinkError('E_NOT_FOUND', `${file} cannot be read: ${BrinkError.from(error).detail}`, { cause: error });
  }
}
