import { extname } from 'node:path';
import { type PreparedUnit, prepareFile, type RawEncoding } from '@brink/decode';
import { type BatchOutputs, type Decode, resultToOriginal } from '@brink/decoders';
import { firstState } from '@brink/preprocess';
import { BrinkError, type Expect, type Passport, type Result } from '@brink/protocol';
import type { BatchRunner } from '../scheduler/lane.ts';
import { differences } from './expectation.ts';
import { readGolden, type VersionFolder } from './folder.ts';
import type { Knowledge } from './preparation.ts';
import { ranOrThrow } from './warmup.ts';

interface Bench {
  readonly runner: BatchRunner;
  readonly knowledge: Knowledge;
  readonly decode: Decode;
  readonly runMsMax: number;
}

/**
 * Raw files through the same preparation, graph and decoder as frames: a model that does not say what its passport promises
 * is not served. Units of a recording go one after the other, and the recurrent state goes along.
 * @throws BrinkError E_MODEL_GOLDEN with what was given and what was expected
 */
export async function testGolden(
  folder: VersionFolder,
  passport: Passport,
  d: Bench & { files: ReadonlyMap<string, Buffer> },
): Promise<void> {
  for (const { input, expect, tolerance } of passport.golden) {
    const bytes = d.files.get(input) ?? (await readGolden(folder, input));
    const { units: more = [], ...first } = expect;
    const expected: Expect[] = more.length === 0 ? [first] : [...more];
    const results = await resultsOf({ input, bytes }, passport, expected.length, d).catch((reason: unknown) => {
      throw new BrinkError('E_MODEL_GOLDEN', `${input}: ${BrinkError.from(reason).message}`, { cause: reason });
    });
    if (results.length < expected.length) {
      throw new BrinkError(
        'E_MODEL_GOLDEN',
        `${input} makes ${results.length} units; expected at least ${expected.length}`,
      );
    }
    const wrong = [...differences(results[0] as Result, first, tolerance)];
    for (const [at, one] of more.entries()) {
      const of = differences(results[at] as Result, one, tolerance);
      wrong.push(...of.map((sentence) => `in unit ${at} ${sentence}`));
    }
    if (wrong.length > 0) throw new BrinkError('E_MODEL_GOLDEN', `${input} ${wrong.slice(0, 5).join('; ')}`);
  }
}

/** The bytes of raw samples do not tell what they are; their names do, as those of SoX. */
const RAW: Readonly<Record<string, RawEncoding>> = { '.f32': 'f32le', '.s16': 's16le' };

/** @param most of its first units */
async function resultsOf(
  { input, bytes }: { input: string; bytes: Uint8Array },
  passport: Passport,
  most: number,
  d: Bench & { files: ReadonlyMap<string, Buffer> },
): Promise<Result[]> {
  const encoding = RAW[extname(input)];
  const { files } = d;
  const units = await prepareFile(bytes, passport, encoding === undefined ? { files } : { files, encoding });
  let states = passport.state.map(firstState);
  const results: Result[] = [];
  for (const unit of units.slice(0, most)) {
    const payloads = [...unit.tensors, ...states];
    const { heads, states: next } = d.knowledge;
    const run = ranOrThrow(await d.runner.run({ session: '', batch: 1, heads, payloads }, d.runMsMax));
    states = next.map(({ name, bytes: size }) => stateOf(run.outputs, name, size));
    const { result } = d.decode(run.outputs, 0, '');
    results.push(withValues(onOriginal(result, unit, passport), unit));
  }
  return results;
}

/** The batch is 1, so the whole output is the state of the one unit. */
function stateOf({ tensors }: BatchOutputs, name: string, bytes: number): Uint8Array {
  const data = tensors.get(name)?.data;
  if (data?.byteLength === bytes) return data;
  throw new BrinkError('E_MODEL_OUTPUT', `state "${name}" has ${data?.byteLength ?? 0} bytes; expected ${bytes}`);
}

/** What was measured while the unit was cut stands beside what the model says. */
function withValues(result: Result, { values }: PreparedUnit): Result {
  return values === undefined ? result : { ...result, values: { ...result.values, ...values } };
}

/** Boxes are 0..1 of what the model sees; expectations are of the picture, as decisions are. */
function onOriginal(result: Result, { picture }: PreparedUnit, passport: Passport): Result {
  const [image] = passport.inputs.flatMap((input) => ('image' in input ? [input.image] : []));
  if (picture === undefined || image === undefined) return result;
  return resultToOriginal(result, picture.transform, image, picture);
}
