import { BrinkError, type OutputOf } from '@brink/protocol';
import { type Decode, type DecoderOptions, onlyTensor } from './decode.ts';
import { digits, largest, namer, probability, sigmoid } from './scores.ts';
import { finiteSliceOf, type Values } from './tensors.ts';

const TOP_RAW = 5;

type ClassesOutput = OutputOf<'classification' | 'text-classification' | 'keyword' | 'multi-label'>;

/**
 * One tensor of one value per class, whatever the passport calls it. Scores are softmax, sigmoid, or the values themselves.
 * Where no class reaches score_min the label is "none" with score 0. Of a `keyword` so is a label that is no keyword;
 * `multi-label` differs in its defaults alone: every class is judged by itself.
 */
export function createClassification({ task, output, labels }: DecoderOptions<ClassesOutput>): Decode {
  const name = onlyTensor(output);
  const ignored = new Set('ignore' in output ? output.ignore : []);
  for (const label of ignored) {
    if (labels?.names.includes(label)) continue;
    throw new BrinkError('E_PASSPORT', `output.ignore has "${label}", which is none of the labels`);
  }
  return (outputs, unit, language) => {
    const raw = finiteSliceOf(outputs, name, unit, 'class');
    if (labels !== undefined && labels.names.length !== raw.length) {
      throw new BrinkError(
        'E_PASSPORT',
        `output "${name}" has ${raw.length} values per unit; there are ${labels.names.length} labels`,
      );
    }
    const named = namer(labels, language);
    const order = largest(raw, Math.max(output.top, TOP_RAW));
    const scores = activate(raw, order, output.activation, name);
    const classes = order.slice(0, output.top).flatMap((index, rank) => {
      const score = scores[rank] ?? 0;
      return score < output.score_min ? [] : [{ ...named(index), score }];
    });
    const [first] = classes;
    const best = first === undefined || ignored.has(first.label) ? { label: 'none', score: 0 } : first;
    return {
      result: { task, ...best, classes },
      top: order.slice(0, TOP_RAW).map((index) => ({ label: named(index).label, raw: digits(raw[index] ?? 0) })),
    };
  };
}

/** Scores of the classes in `order`. */
function activate(raw: Values, order: number[], activation: ClassesOutput['activation'], name: string): number[] {
  if (activation === 'sigmoid') return order.map((index) => digits(sigmoid(raw[index] ?? 0)));
  if (activation === 'none') {
    return order.map((index) => {
      const where = () => `with activation "none", output "${name}" for class ${index}`;
      return digits(probability(raw[index] ?? 0, where));
    });
  }
  const top = raw[order[0] ?? 0] ?? 0;
  let sum = 0;
  for (let i = 0; i < raw.length; i++) sum += Math.exp((raw[i] ?? 0) - top);
  return order.map((index) => digits(Math.exp((raw[index] ?? 0) - top) / sum));
}
