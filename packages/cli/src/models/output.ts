import { join } from 'node:path';
import { createDecoder, type Labels, parseLabels } from '@brink/decoders';
import type { ModelInfo } from '@brink/onnx';
import { BrinkError, labelFiles, type OutputSpec, type Passport } from '@brink/protocol';
import type { ModelProblem } from './passport.ts';
import { bytesOf } from './source.ts';

/** Does the decoder take what the graph gives, and are there as many labels as classes? */
export async function checkOutput(
  folder: string,
  passport: Passport,
  info: ModelInfo,
  problems: ModelProblem[],
): Promise<void> {
  const { output, task } = passport;
  const file = labelFiles(output)?.file;
  const text = file === undefined ? undefined : (await bytesOf(join(folder, file)))?.toString('utf8');
  const labels: Labels | undefined = text === undefined ? undefined : { names: parseLabels(text), texts: {} };
  const picture = passport.inputs.find((input) => 'image' in input);
  try {
    createDecoder({ task, output, labels, ...(picture === undefined ? {} : { input: picture.image }) });
  } catch (reason) {
    const { detail } = BrinkError.from(reason);
    problems.push({ path: 'output', given: detail, expected: 'task, decoder and tensors that go together' });
  }
  const [name] = Object.values(output.tensors);
  const tensor = info.outputs.find((candidate) => candidate.name === name);
  const classes = classesOf(output, tensor?.shape?.slice(1) ?? []);
  if (classes === undefined || labels === undefined || labels.names.length === classes) return;
  problems.push({
    path: 'output.labels.file',
    given: `${labels.names.length} labels`,
    expected: `${classes}, one per line, as many as ${name} has classes`,
  });
}

/** How many classes an output of this shape has, where the shape says it. @param shape without the batch */
function classesOf(output: OutputSpec, shape: readonly unknown[]): number | undefined {
  const [first, last] = [shape[0], shape.at(-1)];
  const values = 'layout' in output && output.layout === 'columns' ? first : last;
  const size = (of: unknown, less: number) => (typeof of === 'number' && of > less ? of - less : undefined);
  switch (output.decoder) {
    case 'classification':
    case 'multi-label':
    case 'keyword':
    case 'text-classification':
      return size(last, 0);
    case 'yolov8':
      return size(values, 4);
    case 'yolov5':
    case 'yolox':
      return size(values, 5);
    default:
      return undefined;
  }
}
