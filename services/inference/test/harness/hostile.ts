import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import { pixelsGraph, WIDTH } from './models.ts';

// Graphs that nobody wants, of four grey pixels like the good ones.

const x = () => value('x', 'float32', ['batch', 1, 1, WIDTH]);
const y = () => value('y', 'float32', ['batch', WIDTH]);
const shape = () => tensor('shape', [2], BigInt64Array.of(-1n, BigInt(WIDTH)));

/** A tensor whose data lie elsewhere. */
function outside(location: string) {
  const weights = tensor('weights', [WIDTH], new Float32Array(WIDTH));
  weights.rawData = new Uint8Array(0);
  // The same pairs of texts as the metadata of a model.
  const entries = model(graph({ inputs: [], outputs: [], nodes: [] }), { metadata: { location } }).metadataProps;
  weights.externalData = entries;
  weights.dataLocation = 1;
  return weights;
}

/** y = x + weights, and the weights are in another file. */
export function externalGraph(location: string): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [x()],
        outputs: [y()],
        tensors: [shape(), outside(location)],
        nodes: [node('Reshape', ['x', 'shape'], ['flat']), node('Add', ['flat', 'weights'], ['y'])],
      }),
    ),
  );
}

/** The same, but the tensor stands in an attribute of a node in the body of a Loop. */
export function externalInBodyGraph(location: string): Uint8Array {
  const body = graph({
    name: 'body',
    inputs: [value('i', 'int64', []), value('go', 'bool', []), value('carried', 'float32', ['batch', WIDTH])],
    outputs: [value('go.out', 'bool', []), value('carried.out', 'float32', ['batch', WIDTH])],
    nodes: [
      node('Identity', ['go'], ['go.out']),
      node('Constant', [], ['weights'], { value: outside(location) }),
      node('Add', ['carried', 'weights'], ['carried.out']),
    ],
  });
  return encode(
    model(
      graph({
        inputs: [x()],
        outputs: [y()],
        tensors: [shape(), tensor('trips', [], BigInt64Array.of(1n))],
        nodes: [node('Reshape', ['x', 'shape'], ['flat']), node('Loop', ['trips', '', 'flat'], ['y'], { body })],
      }),
    ),
  );
}

/** An operator of a domain that only a shared library of its maker knows. */
export function customGraph(): Uint8Array {
  return encode(
    model(graph({ inputs: [x()], outputs: [y()], nodes: [node('vendor.ops:Sharpen', ['x'], ['y'])] }), {
      domains: ['vendor.ops'],
    }),
  );
}

/** The same, hidden in a branch. */
export function customInBranchGraph(): Uint8Array {
  const branch = (operator: string) =>
    graph({ name: operator, inputs: [], outputs: [y()], nodes: [node(operator, ['flat'], ['y'])] });
  return encode(
    model(
      graph({
        inputs: [x()],
        outputs: [y()],
        tensors: [shape(), tensor('yes', [], Uint8Array.of(1))],
        nodes: [
          node('Reshape', ['x', 'shape'], ['flat']),
          node('Cast', ['yes'], ['if'], { to: 9 }),
          node('If', ['if'], ['y'], {
            then_branch: branch('Identity'),
            else_branch: branch('vendor.ops:Sharpen'),
          }),
        ],
      }),
      { domains: ['vendor.ops'] },
    ),
  );
}

/** Needs `side`² floats for a moment, whatever it is asked. 200,000² are 160 GB. */
export function giantGraph(side: number): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [x()],
        outputs: [y()],
        tensors: [shape(), tensor('giant', [2], BigInt64Array.of(BigInt(side), BigInt(side)))],
        nodes: [
          node('ConstantOfShape', ['giant'], ['many'], { value: tensor('one', [1], Float32Array.of(1)) }),
          ...collapse('many'),
        ],
      }),
    ),
  );
}

/** Needs (first pixel · `unit`)² floats: nothing for zeros, as warm-up has it. */
export function growingGraph(unit: number): Uint8Array {
  return encode(
    model(
      graph({
        inputs: [x()],
        outputs: [y()],
        tensors: [shape(), tensor('unit', [], Float32Array.of(unit)), tensor('two', [1], BigInt64Array.of(2n))],
        nodes: [
          node('ReduceMax', ['x'], ['max'], { keepdims: 0 }),
          node('Mul', ['max', 'unit'], ['side.float']),
          node('Cast', ['side.float'], ['side'], { to: 7 }),
          node('Expand', ['side', 'two'], ['giant']),
          node('ConstantOfShape', ['giant'], ['many'], { value: tensor('one', [1], Float32Array.of(1)) }),
          ...collapse('many'),
        ],
      }),
    ),
  );
}

/** The scores are the pixels, plus nothing that was made of `name`, which is computed all the same. */
function collapse(name: string) {
  return [
    node('ReduceSum', [name], ['sum'], { keepdims: 0 }),
    node('Cos', ['sum'], ['cos']),
    node('Floor', ['cos'], ['floor']),
    node('Sub', ['floor', 'floor'], ['nothing']),
    node('Reshape', ['x', 'shape'], ['flat']),
    node('Add', ['flat', 'nothing'], ['y']),
  ];
}

/** Sine upon sine, 2^62 times, whatever it is asked. */
export function endlessGraph(): Uint8Array {
  const carried = (name: string) => value(name, 'float32', ['batch', WIDTH]);
  const body = graph({
    name: 'body',
    inputs: [value('i', 'int64', []), value('go', 'bool', []), carried('carried')],
    outputs: [value('go.out', 'bool', []), carried('carried.out')],
    nodes: [node('Identity', ['go'], ['go.out']), node('Sin', ['carried'], ['carried.out'])],
  });
  return encode(
    model(
      graph({
        inputs: [x()],
        outputs: [y()],
        tensors: [shape(), tensor('trips', [], BigInt64Array.of(2n ** 62n))],
        nodes: [node('Reshape', ['x', 'shape'], ['flat']), node('Loop', ['trips', '', 'flat'], ['y'], { body })],
      }),
    ),
  );
}

/** More nodes than are allowed. */
export function crowdedGraph(nodes: number): Uint8Array {
  const names = ['flat', ...Array.from({ length: nodes }, (_, i) => `n${i}`)];
  const chain = names.slice(1).map((name, i) => node('Identity', [names[i] as string], [name]));
  return encode(
    model(
      graph({
        inputs: [x()],
        outputs: [y()],
        tensors: [shape()],
        nodes: [node('Reshape', ['x', 'shape'], ['flat']), ...chain, node('Identity', [names.at(-1) as string], ['y'])],
      }),
    ),
  );
}

/** A good graph with every eleventh byte turned over. */
export function garbledGraph(): Uint8Array {
  return pixelsGraph().map((byte, at) => (at % 11 === 0 ? byte ^ 0xff : byte));
}
