import { BrinkError, type OutputOf } from '@brink/protocol';
import { classRowsOf } from './class-rows.ts';
import { type Decode, type DecoderOptions, pictureOf } from './decode.ts';
import { detect } from './detection.ts';
import type { Best } from './levels.ts';
import { priorsOf } from './priors.ts';
import { finiteSliceOf } from './tensors.ts';

/**
 * SSD (Liu et al., "SSD: Single Shot MultiBox Detector", 2016): centre = prior + value · variance · size of the prior,
 * size = size of the prior · e^(value · variance). TensorFlow's scale factors 10, 10, 5, 5 are the variances 0.1, 0.1, 0.2, 0.2.
 */
export function createSsd(options: DecoderOptions<OutputOf<'ssd'>>): Decode {
  const { output } = options;
  const { boxes: boxesName, scores: name } = output.tensors as Record<'boxes' | 'scores', string>;
  const priors = priorsOf(output.priors, () => pictureOf(options), options.files);
  const rows = priors.length / 4;
  const [vx, vy, vw, vh] = output.variances;
  // Where x, y, w and h lie among the four values.
  const [ix, iy, iw, ih] = output.order === 'xywh' ? ([0, 1, 2, 3] as const) : ([1, 0, 3, 2] as const);
  const { activation, background } = output;
  return (outputs, unit, language) => {
    const boxes = finiteSliceOf(outputs, boxesName, unit);
    if (boxes.length !== priors.length) {
      throw new BrinkError(
        'E_PASSPORT',
        `output "${boxesName}" has ${boxes.length} numbers per unit; ${rows} priors need ${priors.length}`,
      );
    }
    const scores = classRowsOf(outputs, unit, { name, rows, activation, background });
    return detect(options, { classes: scores.classes, background, language }, (found) => {
      const best: Best = { index: 0, value: 0 };
      const value = (at: number) => boxes[at] as number;
      for (let row = 0; row < rows; row++) {
        scores.best(row, best);
        if (!found.judge(best.value, best.index)) continue;
        const at = row * 4;
        const [px, py, pw, ph] = priors.subarray(at, at + 4) as unknown as [number, number, number, number];
        const x = px + value(at + ix) * vx * pw;
        const y = py + value(at + iy) * vy * ph;
        const w = pw * Math.exp(value(at + iw) * vw);
        const h = ph * Math.exp(value(at + ih) * vh);
        found.take(x - w / 2, y - h / 2, x + w / 2, y + h / 2);
      }
    });
  };
}
