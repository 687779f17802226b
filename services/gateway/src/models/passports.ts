import { createHash, hash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createTextTensors, type TextTensors } from '@brink/decode';
import { type ImageTarget, imageTarget, isPrepared, type WireHead, wireHeads } from '@brink/preprocess';
import {
  BrinkError,
  type ChainPassport,
  ChainPassportSchema,
  type InputSpec,
  isChain,
  type ModelNeeds,
  needsOf,
  type Passport,
  PassportSchema,
  type StateSpec,
} from '@brink/protocol';

/** What the gateway must know of one version of a model to prepare units for it. */
export interface Preparation {
  /** sha256 of the bytes of model.json: every Decide names it. */
  readonly passportSha256: string;
  /** What a unit brings: every input that is made of a frame, then every state. */
  readonly heads: readonly WireHead[];
  /** Bytes of all of them. */
  readonly bytes: number;
  /** The inputs that are made of a frame. */
  readonly inputs: readonly InputSpec[];
  /** The same for two versions that want the same of a frame. */
  readonly inputsKey: string;
  readonly needs: ModelNeeds;
  /** How large it wants pictures, where it takes any: one for each of its inputs. */
  readonly targets: readonly ImageTarget[];
  /** Samples per second of sounds and signals, where a frame does not say it; 1 of others. */
  readonly rateHz: number;
  /** The least time between two windows. */
  readonly hopSeconds: number;
  readonly states: readonly StateSpec[];
  /** Of a model that takes text: its words as numbers, one tensor per input. */
  readonly textTensors: TextTensors | undefined;
  /** What its results say. */
  readonly task: Passport['task'];
  /** What it finds with a lower score it leaves out; undefined where it finds nothing in pictures. */
  readonly scoreMin: number | undefined;
  /** And what is beyond so many, the best of them. */
  readonly objectsMax: number | undefined;
}

/**
 * Reads a passport from `models/<name>/<version>/model.json`.
 * @throws BrinkError E_MODEL_UNKNOWN where there is none, E_PASSPORT where it cannot be used
 */
export async function readPreparation(modelsDir: string, name: string, version: number): Promise<Preparation> {
  const { path, json, sha256 } = await readModelJson(modelsDir, name, version);
  const passport = PassportSchema.safeParse(json);
  if (passport.success) {
    const textTensors = await readTokenizer(join(path, '..'), passport.data);
    return { passportSha256: sha256, ...preparationOf(passport.data), textTensors };
  }
  const [issue] = passport.error.issues;
  throw new BrinkError('E_PASSPORT', `${path}: ${issue?.path.join('.')}: ${issue?.message}`);
}

/** @returns undefined where the model takes no text @throws BrinkError E_MODEL_HASH where the tokenizer is not the one of the passport */
async function readTokenizer(folder: string, passport: Passport): Promise<TextTensors | undefined> {
  const [first] = passport.inputs.flatMap((input) => ('text' in input ? [input.text.tokenizer] : []));
  if (first === undefined) return undefined;
  const bytes = await readFile(join(folder, first));
  const listed = passport.files.find(({ path }) => path === first)?.sha256;
  if (hash('sha256', bytes, 'hex') !== listed) {
    throw new BrinkError('E_MODEL_HASH', `${join(folder, first)} is not the file that its passport lists`);
  }
  return createTextTensors(passport, new Map([[first, bytes]]));
}

/**
 * The same of a chain of models.
 * @returns undefined where it is none @throws BrinkError E_PASSPORT
 */
export async function readChain(
  modelsDir: string,
  name: string,
  version: number,
): Promise<{ passport: ChainPassport; sha256: string } | undefined> {
  const read = await readModelJson(modelsDir, name, version).catch(() => undefined);
  if (read === undefined || !isChain(read.json)) return undefined;
  const passport = ChainPassportSchema.safeParse(read.json);
  if (passport.success) return { passport: passport.data, sha256: read.sha256 };
  const [issue] = passport.error.issues;
  throw new BrinkError('E_PASSPORT', `${read.path}: ${issue?.path.join('.')}: ${issue?.message}`);
}

async function readModelJson(
  modelsDir: string,
  name: string,
  version: number,
): Promise<{ path: string; json: unknown; sha256: string }> {
  const path = join(modelsDir, name, String(version), 'model.json');
  try {
    const bytes = await readFile(path);
    return { path, json: parseJson(bytes, path), sha256: createHash('sha256').update(bytes).digest('hex') };
  } catch (reason) {
    if (reason instanceof BrinkError) throw reason;
    throw new BrinkError('E_MODEL_UNKNOWN', `${path} cannot be read: ${BrinkError.from(reason).detail}`, {
      cause: reason,
    });
  }
}

/** @throws BrinkError E_PASSPORT where its numbers cannot be together */
function preparationOf(passport: Passport): Omit<Preparation, 'passportSha256' | 'textTensors'> {
  const inputs = passport.inputs.filter(isPrepared);
  const heads = wireHeads(passport);
  const { rateHz, hopSeconds } = paceOf(inputs);
  return {
    heads,
    bytes: heads.reduce((sum, head) => sum + head.bytes, 0),
    inputs,
    inputsKey: JSON.stringify(inputs),
    needs: needsOf(inputs),
    targets: inputs.flatMap((input) => ('image' in input ? [imageTarget(input.image)] : [])),
    rateHz,
    hopSeconds,
    states: passport.state,
    task: passport.task,
    scoreMin: 'score_min' in passport.output ? passport.output.score_min : undefined,
    objectsMax: 'objects_max' in passport.output ? passport.output.objects_max : undefined,
  };
}

/** Peaks of one kind are never closer than the refractory time, which a passport cannot set below a tenth of a second. */
const PEAK_SECONDS_MIN = 0.1;

function paceOf(inputs: readonly InputSpec[]): { rateHz: number; hopSeconds: number } {
  const paces = inputs.flatMap((input) => {
    const spec = 'audio' in input ? input.audio : 'signal' in input ? input.signal : undefined;
    if (spec === undefined) return [];
    const { rate_hz: rateHz, window, hop = window } = spec;
    return [{ rateHz, hopSeconds: 'trigger' in spec && spec.trigger !== undefined ? PEAK_SECONDS_MIN : hop / rateHz }];
  });
  const [first = { rateHz: 1, hopSeconds: 1 }] = paces;
  return first;
}

/** The highest version in the folder, or undefined: what a name means while inference has not said it. */
export async function highestVersion(modelsDir: string, name: string): Promise<number | undefined> {
  const entries = await readdir(join(modelsDir, name)).catch(() => []);
  const versions = entries.filter((entry) => /^[1-9][0-9]{0,8}$/.test(entry)).map(Number);
  return versions.length === 0 ? undefined : Math.max(...versions);
}

function parseJson(bytes: Buffer, path: string): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch (reason) {
    throw new BrinkError('E_PASSPORT', `${path} is not JSON: ${BrinkError.from(reason).detail}`, { cause: reason });
  }
}
