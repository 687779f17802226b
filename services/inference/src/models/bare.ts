import { type Labels, parseLabels } from '@brink/decoders';
import { draftPassport, type ModelInfo } from '@brink/onnx';
import { InputSchema, type InputSpec } from '@brink/protocol';
import { z } from 'zod';
import type { VersionFolder } from './folder.ts';

const InputsSchema = z.array(InputSchema);

/**
 * What a folder without a passport says of itself: `labels.txt`, what Ultralytics writes into its files, and what Hugging Face
 * puts beside them. Inputs only where all of them are known: a picture that is prepared by half a guess gives wrong answers.
 */
export function bareKnowledge(
  { name, version }: VersionFolder,
  native: ModelInfo,
  files: ReadonlyMap<string, Buffer>,
): { inputs: readonly InputSpec[]; labels: Labels | undefined } {
  const { draft, missing, labels } = draftPassport(native, {
    name,
    version,
    config: jsonOf(files.get('config.json')),
    preprocessor: jsonOf(files.get('preprocessor_config.json')),
  });
  const isKnown = !missing.some((path) => path.startsWith('inputs'));
  const inputs = isKnown ? InputsSchema.safeParse(draft['inputs']).data : undefined;
  const listed = files.get('labels.txt');
  const names = listed === undefined ? labels : parseLabels(listed.toString('utf8'));
  return { inputs: inputs ?? [], labels: names === undefined ? undefined : { names, texts: {} } };
}

/** undefined where there is none, or none that can be read: it is of no use then, and no reason to refuse the model. */
function jsonOf(bytes: Buffer | undefined): unknown {
  try {
    return bytes === undefined ? undefined : JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
