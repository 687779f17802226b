import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import { WIDTH } from './models.ts';

/** Elements under the sine: a few thousand of them take some microseconds. */
const ELEMENTS = 4096;

/**
 * The scores are the pixels, but only after `turns` rounds of sines: a run takes long enough to be caught in the act, and its
 * answer says whose it is. @param turns some 20 µs each
 */
export function slowGraph(turns: number, batch: string | number = 'batch'): Uint8Array {
  const body = graph({
    name: 'body',
    inputs: [value('i', 'int64', []), value('go', 'bool', []), value('carried', 'float32', [ELEMENTS])],
    outputs: [value('go.out', 'bool', []), value('carried.out', 'float32', [ELEMENTS])],
    nodes: [node('Identity', ['go'], ['go.out']), node('Sin', ['carried'], ['carried.out'])],
  });
  return encode(
    model(
      graph({
        inputs: [value('x', 'float32', [batch, 1, 1, WIDTH])],
        outputs: [value('y', 'float32', [batch, WIDTH])],
        tensors: [
          tensor('shape', [2], BigInt64Array.of(-1n, BigInt(WIDTH))),
          tensor('turns', [], BigInt64Array.of(BigInt(turns))),
          tensor('many', [ELEMENTS], new Float32Array(ELEMENTS).fill(1)),
          tensor('none', [], Float32Array.of(0)),
        ],
        nodes: [
          // Of the input, or it would be computed once, when the graph is loaded.
          node('ReduceMax', ['x'], ['max'], { keepdims: 0 }),
          node('Mul', ['many', 'max'], ['start']),
          node('Loop', ['turns', '', 'start'], ['looped'], { body }),
          node('ReduceMean', ['looped'], ['mean'], { keepdims: 0 }),
          node('Mul', ['mean', 'none'], ['nothing']),
          node('Add', ['x', 'nothing'], ['same']),
          node('Reshape', ['same', 'shape'], ['y']),
        ],
      }),
    ),
  );
}
