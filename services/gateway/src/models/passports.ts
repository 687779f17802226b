import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type ImageTarget, imageTarget, isPrepared, type WireHead, wireHeads } from '@brink/preprocess';
import { BrinkError, type Passport, PassportSchema } from '@brink/protocol';

/** What the gateway must know of one version of a model to prepare units for it. */
export interface Preparation {
  /** sha256 of the bytes of model.json: every Decide names it. */
  readonly passportSha256: string;
  readonly head: WireHead;
  readonly target: ImageTarget;
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
  const [input, ...more] = passport.data.inputs.filter(isPrepared);
  const [head] = wireHeads(passport.data);
  if (
    input === undefined ||
    head === undefined ||
    !('image' in input) ||
    more.length + passport.data.state.length > 0
  ) {
    throw new BrinkError(
      'E_UNSUPPORTED',
      `${path}: a stream of this version brings one picture per unit; this model takes ${inputsText(passport.data)}`,
    );
  }
  return {
    passportSha256: createHash('sha256').update(bytes).digest('hex'),
    head,
    target: imageTarget(input.image),
    task: passport.data.task,
  };
}

function inputsText(passport: Passport): string {
  const kinds = passport.inputs.filter(isPrepared).map((input) => Object.keys(input).find((key) => key !== 'tensor'));
  return [...kinds, ...passport.state.map(() => 'recurrent state')].join(', ');
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
