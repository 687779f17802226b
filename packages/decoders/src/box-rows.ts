import { BrinkError, type OutputOf } from '@brink/protocol';
import { type Decode, type DecoderOptions, onlyTensor, pictureOf } from './decode.ts';
import { detect } from './detection.ts';
import { finiteSliceOf } from './tensors.ts';

/**
 * Finished boxes, one per row: x0 y0 x1 y1, score, class. What YOLOv10 and YOLO26 give, and what Ultralytics exports with nms=True
 * (docs.ultralytics.com/modes/export); rows that are not used are zeros there.
 */
export function createBoxRows(options: DecoderOptions<OutputOf<'box-rows'>>): Decode {
  const { output, labels } = options;
  const name = onlyTensor(output);
  const size = output.unit === 'pixels' ? pictureOf(options) : { width: 1, height: 1 };
  const { columns } = output;
  const width = columns.length;
  const [score, kind] = [columns.indexOf('score'), columns.indexOf('class')];
  const [x0, y0, x1, y1] = [columns.indexOf('x0'), columns.indexOf('y0'), columns.indexOf('x1'), columns.indexOf('y1')];
  const classes = labels?.names.length;
  return (outputs, unit, language) => {
    const data = finiteSliceOf(outputs, name, unit);
    const shape = outputs.tensors.get(name)?.shape;
    if (data.length % width !== 0 || (shape !== undefined && shape.at(-1) !== width)) {
      const given = shape === undefined ? `${data.length} numbers per unit` : `shape [${shape}]`;
      throw new BrinkError('E_PASSPORT', `output "${name}" has ${given}; expected rows of ${width}: ${columns}`);
    }
    return detect(options, { classes: classes ?? 1, language }, (found) => {
      for (let at = 0; at < data.length; at += width) {
        const value = (index: number) => data[at + index] as number;
        const number = Math.round(value(kind));
        if (!found.judge(value(score), number)) continue;
        if (number < 0 || (classes !== undefined && number >= classes)) {
          throw new BrinkError(
            'E_PASSPORT',
            `output "${name}" has a box of class ${number}; there are ${classes ?? 'no'} labels, from 0`,
          );
        }
        found.take(value(x0) / size.width, value(y0) / size.height, value(x1) / size.width, value(y1) / size.height);
      }
    });
  };
}
