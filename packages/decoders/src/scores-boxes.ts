import { BrinkError, type OutputOf } from '@brink/protocol';
import { classRowsOf } from './class-rows.ts';
import { type Decode, type DecoderOptions, pictureOf } from './decode.ts';
import { detect, type Found } from './detection.ts';
import type { Best } from './levels.ts';
import { type BatchOutputs, finiteSliceOf, type Values } from './tensors.ts';

type Output = OutputOf<'scores-boxes'>;

/**
 * Boxes and scores apart, both decoded by the graph: UltraFace (github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB,
 * the files with post-processing), DETR, and with `classes` and `count` the outputs of TensorFlow's detection API.
 */
export function createScoresBoxes(options: DecoderOptions<Output>): Decode {
  const { output, labels } = options;
  const { boxes: boxesName, scores: scoresName, classes: classesName } = output.tensors as Record<string, string>;
  const size = output.unit === 'pixels' ? pictureOf(options) : { width: 1, height: 1 };
  return (outputs, unit, language) => {
    const boxes = finiteSliceOf(outputs, boxesName as string, unit);
    if (boxes.length % 4 !== 0) {
      throw new BrinkError(
        'E_PASSPORT',
        `output "${boxesName}" has ${boxes.length} numbers per unit; expected 4 per box`,
      );
    }
    const rows = boxes.length / 4;
    const { activation } = output;
    const background = classesName === undefined ? output.background : null;
    const scores = classRowsOf(outputs, unit, { name: scoresName as string, rows, activation, background });
    const kinds = kindsOf(outputs, unit, classesName, rows, scores.classes);
    const classes = kinds === undefined ? scores.classes : (labels?.names.length ?? 1);
    const count = countOf(output, outputs, unit, rows);
    return detect(options, { classes, background, language }, (found) => {
      const best: Best = { index: 0, value: 0 };
      for (let row = 0; row < count; row++) {
        scores.best(row, best);
        if (kinds !== undefined) best.index = kinds[row] as number;
        const object = kinds === undefined || best.index !== output.background;
        if (object && found.judge(best.value, best.index)) take(found, output.form, boxes, row * 4, size);
      }
    });
  };
}

/** Where the class of a box is an output of its own. */
function kindsOf(outputs: BatchOutputs, unit: number, name: string | undefined, rows: number, columns: number) {
  if (name === undefined) return undefined;
  const kinds = finiteSliceOf(outputs, name, unit);
  if (kinds.length !== rows || columns !== 1) {
    throw new BrinkError(
      'E_PASSPORT',
      `output "${name}" has ${kinds.length} classes, and there are ${columns} scores per box; expected ${rows} and 1`,
    );
  }
  return kinds;
}

/** How many of the rows are boxes. */
function countOf({ tensors }: Output, outputs: BatchOutputs, unit: number, rows: number): number {
  const { count } = tensors;
  if (count === undefined) return rows;
  return Math.min(rows, Math.max(0, Math.round(finiteSliceOf(outputs, count, unit)[0] as number)));
}

function take(found: Found, form: Output['form'], boxes: Values, at: number, size: { width: number; height: number }) {
  const [a, b, c, d] = [boxes[at], boxes[at + 1], boxes[at + 2], boxes[at + 3]] as [number, number, number, number];
  const { width, height } = size;
  if (form === 'corners') found.take(a / width, b / height, c / width, d / height);
  else if (form === 'corners-yx') found.take(b / width, a / height, d / width, c / height);
  else if (form === 'corner-size') found.take(a / width, b / height, (a + c) / width, (b + d) / height);
  else found.take((a - c / 2) / width, (b - d / 2) / height, (a + c / 2) / width, (b + d / 2) / height);
}
