import { BrinkError, type ImageInput } from '@brink/protocol';
import { encode, node, tensor, value } from './build.ts';
import { numberOf } from './dtype.ts';
import type { GraphProto, NodeProto, ValueInfoProto } from './gen/onnx/onnx_pb.js';
import { graphOf, parseModel } from './parse.ts';
import type { Dimension } from './read.ts';

/** Name of the input that the derived graph has in place of the native one. */
export const PICTURE_INPUT = 'brink_picture';

/** Broadcasting of Mul and Add as it is used here came with operator set 7. */
const OPSET_MIN = 7;
const FLOATS = ['float32', 'float16', 'float64'];

/**
 * A derived graph that takes pictures as they are decoded: `brink_picture`, uint8 [batch, height, width, channels], in place of
 * `tensorName`; layout and normalisation (x·scale − mean) / std run inside it. For nchw the transpose comes first, while the values
 * are one byte each: the other order was measured up to 80 % slower (SimpleCNN, batch 8). Everything else stays as it was.
 * @throws BrinkError E_MODEL_PARSE, or E_PASSPORT where input and graph do not go together
 */
export function prependPictureInput(bytes: Uint8Array, tensorName: string, image: ImageInput): Uint8Array {
  const model = parseModel(bytes);
  const graph = graphOf(model);
  const opset = Number(model.opsetImport.find(({ domain }) => domain === '' || domain === 'ai.onnx')?.version ?? 0n);
  if (opset < OPSET_MIN) {
    throw new BrinkError('E_PASSPORT', `operator set ${opset}; a picture input needs ${OPSET_MIN} or newer`);
  }
  refuseNameClash(graph);
  const at = graph.input.findIndex((input) => input.name === tensorName);
  const input = graph.input[at];
  if (input === undefined) {
    const names = graph.input.map(({ name }) => `"${name}"`).join(', ');
    throw new BrinkError('E_PASSPORT', `inputs.tensor "${tensorName}" is no input of the graph; it has ${names}`);
  }
  const channels = image.colour === 'grey' ? 1 : 3;
  graph.input[at] = value(PICTURE_INPUT, 'uint8', [batchOf(input), image.height, image.width, channels]);
  graph.node.unshift(...steps(tensorName, elementType(input), image, channels));
  return encode(model);
}

function steps(tensorName: string, target: number, image: ImageInput, channels: number): NodeProto[] {
  const nodes: NodeProto[] = [];
  let from = PICTURE_INPUT;
  /** Adds a node whose output is the native input if it is the last one. */
  const then = (operator: string, more: string[], attributes: Record<string, number | number[]> = {}) => {
    const to = `brink_${nodes.length}`;
    nodes.push(node(operator, [from, ...more], [to], attributes));
    from = to;
  };
  const constant = (name: string, values: Float32Array<ArrayBuffer>) => {
    const shape = image.layout === 'nchw' ? [1, channels, 1, 1] : [1, 1, 1, channels];
    // Constant nodes, not initialisers: those must be listed as inputs too before IR version 4.
    nodes.push(node('Constant', [], [name], { value: tensor(name, shape, values) }));
    return name;
  };
  const { factor, offset, identity } = foldNormalisation(image, channels);
  if (image.layout === 'nchw') then('Transpose', [], { perm: [0, 3, 1, 2] });
  if (!identity) {
    const scale = constant('brink_factor', factor);
    const shift = constant('brink_offset', offset);
    then('Cast', [], { to: numberOf('float32') });
    then('Mul', [scale]);
    then('Add', [shift]);
    if (target !== numberOf('float32')) then('Cast', [], { to: target });
  } else if (target !== numberOf('uint8')) {
    then('Cast', [], { to: target });
  } else if (nodes.length === 0) {
    then('Identity', []);
  }
  const last = nodes.at(-1);
  if (last !== undefined) last.output = [tensorName];
  return nodes;
}

/** (x·scale − mean) / std = x·factor + offset, per channel, in double precision until the end. */
export function foldNormalisation(
  image: ImageInput,
  channels: number,
): { factor: Float32Array<ArrayBuffer>; offset: Float32Array<ArrayBuffer>; identity: boolean } {
  const factor = new Float32Array(channels);
  const offset = new Float32Array(channels);
  for (let channel = 0; channel < channels; channel++) {
    const mean = image.mean[channel] ?? image.mean[0];
    const std = image.std[channel] ?? image.std[0];
    if (std === 0) throw new BrinkError('E_PASSPORT', `inputs.image.std[${channel}] is 0; values are divided by it`);
    factor[channel] = image.scale / std;
    offset[channel] = -mean / std;
  }
  return { factor, offset, identity: factor.every((by) => by === 1) && offset.every((by) => by === 0) };
}

function elementType(input: ValueInfoProto): number {
  const type = input.type?.value;
  const number = type?.case === 'tensorType' ? type.value.elemType : 0;
  if (![...FLOATS, 'uint8'].some((name) => numberOf(name) === number)) {
    throw new BrinkError(
      'E_PASSPORT',
      `input "${input.name}" is no tensor of ${FLOATS.join(', ')} or uint8, so no picture`,
    );
  }
  return number;
}

/** The batch dimension as the native graph has it: its symbol, or its number. */
function batchOf(input: ValueInfoProto): Dimension {
  const type = input.type?.value;
  const first = type?.case === 'tensorType' ? type.value.shape?.dim[0]?.value : undefined;
  if (first?.case === 'dimValue') return Number(first.value);
  return first?.case === 'dimParam' ? first.value : undefined;
}

function refuseNameClash(graph: GraphProto): void {
  const names = [...graph.input.map(({ name }) => name), ...graph.node.flatMap(({ output }) => output)];
  if (names.some((name) => name.startsWith('brink_'))) {
    throw new BrinkError(
      'E_MODEL_PARSE',
      'the graph has values whose names begin with "brink_"; it was derived already',
    );
  }
}
