import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ImageTarget, imageTarget, isPrepared, type WireHead, wireHeads } from '@brink/preprocess';
import {
  BrinkError,
  type InputSpec,
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
  /** What its results say. */
  readonly task: Passport['task'];
}

/**
 * Reads a passport from `models/<name>/<version>/model.json`.
 * @throws BrinkError E_MODEL_UNKNOWN where there is none, E_PASSPORT where it cannot be used
 */
export async function readPreparation(modelsDir: string, name: string, version: number): Promise<Preparation> {
  const path = join(modelsDir, name, String(version), 'model.json');
  let bytes: Buffer;
  try {
    bytes = await readFile(path);
  } catch (reason) {
    throw new BrinkError('E_MODEL_UNKNOWN', `${path} cannot be read: ${BrinkError.from(reason).detail}`, {
      cause: reason,
    });
  }
  const passport = PassportSchema.safeParse(parseJson(bytes, path));
  if (!passport.success) {
    const [issue] = passport.error.issues;
    throw new BrinkError('E_PASSPORT', `${path}: ${issue?.path.join('.')}: ${issue?.message}`);
  }
  return { passportSha256: createHash('sha256').update(bytes).digest('hex'), ...preparationOf(passport.data) };
}

/** @throws BrinkError E_PASSPORT where its numbers cannot be together */
function preparationOf(passport: Passport): Omit<Preparation, 'passportSha256'> {
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
