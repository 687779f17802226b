import { decodePicture } from '@brink/decode';
import type { Decode } from '@brink/decoders';
import { imageTarget } from '@brink/preprocess';
import { BrinkError, type Passport } from '@brink/protocol';
import type { Head } from '../scheduler/job.ts';
import type { BatchRunner } from '../scheduler/lane.ts';
import { readGolden, type VersionFolder } from './folder.ts';
import { ranOrThrow } from './warmup.ts';

/**
 * Raw files through the same decoding, resizing, graph and decoder as frames: a model that does not say what its passport promises
 * is not served. @throws BrinkError E_MODEL_GOLDEN with what was given and what was expected
 */
export async function testGolden(
  folder: VersionFolder,
  passport: Passport,
  d: {
    runner: BatchRunner;
    heads: readonly Head[];
    decode: Decode;
    files: ReadonlyMap<string, Buffer>;
    runMsMax: number;
  },
): Promise<void> {
  const targets = passport.inputs.flatMap((input) => ('image' in input ? [imageTarget(input.image)] : []));
  for (const { input, expect, tolerance } of passport.golden) {
    const bytes = d.files.get(input) ?? (await readGolden(folder, input));
    const { pictures } = await decodePicture(bytes, { targets }).catch((reason: unknown) => {
      throw new BrinkError('E_MODEL_GOLDEN', `${input}: ${BrinkError.from(reason).message}`, { cause: reason });
    });
    const payloads = pictures.map(({ pixels }) => pixels);
    const run = ranOrThrow(await d.runner.run({ session: '', batch: 1, heads: d.heads, payloads }, d.runMsMax));
    const { result } = d.decode(run.outputs, 0, '');
    const score = result.score ?? 0;
    const wrong =
      (expect.label !== undefined && result.label !== expect.label) ||
      (expect.score !== undefined && Math.abs(score - expect.score) > tolerance.score);
    if (wrong) {
      const expected = expect.score === undefined ? '' : ` ${expect.score} ± ${tolerance.score}`;
      throw new BrinkError(
        'E_MODEL_GOLDEN',
        `${input} gives "${result.label}" ${score}; expected "${expect.label}"${expected}`,
      );
    }
  }
}
