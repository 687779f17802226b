import type { Task } from './decision.ts';
import type { Passport } from './passport/passport.ts';

/** What a model must be for the objects that it finds to be masked in pictures. */
export interface Detector {
  readonly task: Task;
  /** Made of others, one after the other. */
  readonly isChain: boolean;
  /** How a picture becomes its input; undefined where its input is not one picture and nothing else. */
  readonly fit: 'stretch' | 'letterbox' | 'crop' | undefined;
  /** What it finds with a lower score it leaves out. */
  readonly scoreMin: number | undefined;
}

export function detectorOf({ task, inputs, state, output }: Passport): Detector {
  const [first, ...more] = inputs.filter((input) => !('constant' in input));
  const alone = more.length === 0 && state.length === 0 && first !== undefined && 'image' in first;
  const scoreMin = 'score_min' in output ? output.score_min : undefined;
  return { task, isChain: false, fit: alone ? first.image.fit : undefined, scoreMin };
}

/**
 * Why nothing can be masked with this model: asked by control before a configuration is in force, and by the gateway for the
 * passport that it really has.
 * @param scoreMin what the mask wants
 * @returns undefined where it can
 */
export function detectorMisfit(
  { task, isChain, fit, scoreMin: has }: Detector,
  scoreMin: number | undefined,
): { key: 'model' | 'score_min'; found: string; expected: string } | undefined {
  const expected = 'a detector that takes one picture';
  if (isChain) return { key: 'model', found: 'it is a chain of models', expected };
  if (task !== 'detection') return { key: 'model', found: `its task is ${task}`, expected };
  if (fit === undefined) return { key: 'model', found: 'it takes more than one picture, or none', expected };
  if (fit === 'crop') {
    const found = 'it sees only the middle of a picture (fit: crop)';
    return { key: 'model', found, expected: 'one with fit: letterbox or stretch' };
  }
  if (scoreMin === undefined || has === undefined || has <= scoreMin) return undefined;
  return {
    key: 'score_min',
    found: `score_min: ${scoreMin}, and the model leaves out what scores less than ${has} (output.score_min of its passport)`,
    expected: `at least ${has}, or a model that finds all from ${scoreMin}`,
  };
}
