import { BrinkError, type OutputOf, RECONSTRUCTION_ERROR } from '@brink/protocol';
import { type Decode, type Decoded, type DecoderOptions, onlyTensor } from './decode.ts';
import { digits, probability, sigmoid } from './scores.ts';
import { type BatchOutputs, finiteSliceOf } from './tensors.ts';

/**
 * An autoencoder that was taught what is normal: what it cannot reconstruct is not. The derived graph gives the error. The
 * score is error / (error + threshold): 0.5 at the threshold, and nearer to 1 the stranger the unit.
 */
export function createAnomalyReconstruction({
  task,
  output,
}: DecoderOptions<OutputOf<'anomaly-reconstruction'>>): Decode {
  return (outputs, unit) => {
    const error = oneValue(outputs, RECONSTRUCTION_ERROR, unit);
    if (error < 0) throw new BrinkError('E_MODEL_OUTPUT', `output "${RECONSTRUCTION_ERROR}" is ${error}`);
    return judged(task, error > output.threshold, error / (error + output.threshold), { error });
  };
}

/** A model that gives the strangeness itself. `score` says how strange, whichever way the model counts. */
export function createAnomalyScore({ task, output }: DecoderOptions<OutputOf<'anomaly-score'>>): Decode {
  const name = onlyTensor(output);
  const { activation, threshold, beyond } = output;
  if (activation === 'ratio' && (threshold <= 0 || beyond === 'below')) {
    throw new BrinkError(
      'E_PASSPORT',
      'output.activation "ratio" is for distances; expected a threshold above 0, and "above"',
    );
  }
  return (outputs, unit) => {
    const value = oneValue(outputs, name, unit);
    const strange = beyond === 'above' ? value > threshold : value < threshold;
    const where = () => `with activation "${activation}", output "${name}"`;
    let score = activation === 'sigmoid' ? sigmoid(value) : value;
    if (activation === 'ratio') score = Math.max(0, value) / (Math.max(0, value) + threshold);
    score = probability(score, where);
    return judged(task, strange, beyond === 'above' ? score : 1 - score, { value });
  };
}

function oneValue(outputs: BatchOutputs, name: string, unit: number): number {
  const values = finiteSliceOf(outputs, name, unit);
  if (values.length === 1) return values[0] as number;
  throw new BrinkError('E_PASSPORT', `output "${name}" has ${values.length} values per unit; an anomaly takes one`);
}

function judged(
  task: DecoderOptions['task'],
  strange: boolean,
  score: number,
  values: Record<string, number>,
): Decoded {
  const label = strange ? 'anomaly' : 'normal';
  const [[key, raw]] = Object.entries(values) as [[string, number]];
  return { result: { task, label, score: digits(score), values }, top: [{ label: key, raw }] };
}
