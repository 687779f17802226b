import { BrinkError } from '@brink/protocol';
import { DTYPES, type Dtype, dtypeOf } from './dtype.ts';
import {
  type ModelProto,
  type TensorProto,
  TensorProto_DataLocation,
  TensorProto_DataType,
  type ValueInfoProto,
} from './gen/onnx/onnx_pb.js';
import { graphOf, nodesOf, parseModel, tensorsOf } from './parse.ts';

/** A number, a symbolic name ("batch"), or undefined where the file says nothing. */
export type Dimension = number | string | undefined;

export interface TensorInfo {
  readonly name: string;
  /** undefined: an element type that no runtime of ours takes */
  readonly dtype: Dtype | undefined;
  /** undefined where the file does not even say how many dimensions there are */
  readonly shape: readonly Dimension[] | undefined;
}

export interface ModelInfo {
  readonly inputs: readonly TensorInfo[];
  readonly outputs: readonly TensorInfo[];
  /** Version of the default operator set. */
  readonly opset: number;
  /** `domain:Type`, the default domain written without its name (`Conv`, `com.microsoft:QGemm`). Sorted. */
  readonly operators: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  /** Tensors whose data lie in other files, as `name → path`; always empty for a model that was taken. */
  readonly externalData: readonly string[];
  /** Nodes in all, with the bodies of Loop, If, Scan and functions. */
  readonly nodes: number;
}

export const NODES_MAX = 20_000;

/** What ONNX Runtime builds in beside the standard and what its quantiser and optimiser write into files. */
const MICROSOFT_OPERATORS = new Set(
  `Attention BiasGelu DequantizeLinear DynamicQuantizeLSTM DynamicQuantizeMatMul EmbedLayerNormalization FastGelu FusedConv FusedGemm
   FusedMatMul Gelu MatMulInteger16 MatMulIntegerToFloat MatMulNBits MulInteger NhwcMaxPool QAttention QEmbedLayerNormalization QGemm
   QLinearAdd QLinearAveragePool QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMul QLinearReduceMean
   QLinearSigmoid QLinearSoftmax QLinearWhere QuantizeLinear SkipLayerNormalization`.split(/\s+/),
);

/**
 * Reads what an ONNX file says about itself. Loop, If and Scan are taken, although they can run for ever or ask for all memory there
 * is: a run ends at run_ms_max and a runner at memory_mb_max, in a process of its own, and networks that people use have them (the
 * speech detector silero-vad is one If). Their bodies are walked like the rest.
 * @throws BrinkError E_MODEL_PARSE (no ONNX graph), E_MODEL_EXTERNAL (data in other files, wherever they are), E_MODEL_OP (operators
 * that are not allowed, more than NODES_MAX nodes), E_UNSUPPORTED (inputs or outputs that are no tensors)
 */
export function readModel(bytes: Uint8Array): ModelInfo {
  const model = parseModel(bytes);
  const info = describe(model);
  if (info.externalData.length > 0) {
    throw new BrinkError('E_MODEL_EXTERNAL', `${listed(info.externalData)}; expected all data inside the one file`);
  }
  const functions = new Set(model.functions.map((definition) => `${definition.domain}:${definition.name}`));
  const refused = info.operators.filter((operator) => !functions.has(operator) && !allowed(operator));
  if (refused.length > 0) {
    throw new BrinkError(
      'E_MODEL_OP',
      `${listed(refused)}; expected operators of ONNX or those built into ONNX Runtime`,
    );
  }
  if (info.nodes > NODES_MAX)
    throw new BrinkError('E_MODEL_OP', `${info.nodes} nodes; at most ${NODES_MAX} are allowed`);
  refuseOtherKinds(model);
  return info;
}

/** @throws BrinkError E_UNSUPPORTED with the kind of what is no tensor, and of tensors whose elements no runtime of ours takes */
function refuseOtherKinds(model: ModelProto): void {
  const graph = graphOf(model);
  const sides = [
    ...graph.input.map((of) => ({ of, side: 'input' })),
    ...graph.output.map((of) => ({ of, side: 'output' })),
  ];
  for (const { of, side } of sides) {
    const type = of.type?.value;
    const name = `${side} "${of.name.slice(0, 80)}"`;
    // Outputs may go without a type, in files that nobody ran shape inference on.
    if (type === undefined || type.case === undefined) continue;
    if (type.case !== 'tensorType') {
      const kind = type.case.replace(/Type$/, '').replace('sparseTensor', 'sparse tensor');
      // sklearn-onnx gives probabilities of classifiers so, unless it is told not to.
      const hint =
        type.case === 'sequenceType' && side === 'output'
          ? ' (sklearn-onnx: convert with options={"zipmap": False})'
          : '';
      throw new BrinkError('E_UNSUPPORTED', `${name} is of kind ${kind}; expected a tensor${hint}`);
    }
    if (type.value.elemType !== 0 && dtypeOf(type.value.elemType) === undefined) {
      const element = TensorProto_DataType[type.value.elemType]?.toLowerCase() ?? `type ${type.value.elemType}`;
      throw new BrinkError('E_UNSUPPORTED', `${name} is a tensor of ${element}; expected one of ${DTYPES.join(', ')}`);
    }
  }
}

export function describe(model: ModelProto): ModelInfo {
  const graph = graphOf(model);
  const initialised = new Set(graph.initializer.map((tensor) => tensor.name));
  const operators = new Set<string>();
  let nodes = 0;
  for (const node of nodesOf(model)) {
    nodes += 1;
    operators.add(isDefault(node.domain) ? node.opType : `${node.domain}:${node.opType}`);
  }
  const external: string[] = [];
  for (const tensor of tensorsOf(model)) {
    const outside = tensor.dataLocation === TensorProto_DataLocation.EXTERNAL || tensor.externalData.length > 0;
    if (outside) external.push(`${tensor.name === '' ? '(unnamed)' : tensor.name} → ${locationOf(tensor)}`);
  }
  return {
    // Before IR version 4 every initialiser is listed as an input too.
    inputs: graph.input.filter((input) => !initialised.has(input.name)).map(tensorInfo),
    outputs: graph.output.map(tensorInfo),
    opset: Number(model.opsetImport.find((opset) => isDefault(opset.domain))?.version ?? 0n),
    operators: [...operators].sort(),
    metadata: Object.fromEntries(model.metadataProps.map((property) => [property.key, property.value])),
    externalData: external,
    nodes,
  };
}

/** Where the data are said to be: `../weights.bin`, `/etc/passwd`. Only ever shown. */
function locationOf(tensor: TensorProto): string {
  const location = tensor.externalData.find(({ key }) => key === 'location')?.value ?? '';
  return location === '' ? '(no path)' : location;
}

export function tensorInfo(value: ValueInfoProto): TensorInfo {
  const type = value.type?.value;
  if (type?.case !== 'tensorType') return { name: value.name, dtype: undefined, shape: undefined };
  const shape = type.value.shape?.dim.map((dimension) => {
    // Old exporters write 0 or −1 for "any size".
    if (dimension.value.case === 'dimValue')
      return dimension.value.value > 0n ? Number(dimension.value.value) : undefined;
    return dimension.value.case === 'dimParam' && dimension.value.value !== '' ? dimension.value.value : undefined;
  });
  return { name: value.name, dtype: dtypeOf(type.value.elemType), shape };
}

const isDefault = (domain: string) => domain === '' || domain === 'ai.onnx';

function allowed(operator: string): boolean {
  const at = operator.lastIndexOf(':');
  if (at < 0) return true;
  const domain = operator.slice(0, at);
  return domain === 'ai.onnx.ml' || (domain === 'com.microsoft' && MICROSOFT_OPERATORS.has(operator.slice(at + 1)));
}

/** Bounded, since the names come out of a file. */
function listed(names: readonly string[]): string {
  const shown = names.slice(0, 5).map((name) => `"${name.slice(0, 80)}"`);
  return shown.join(', ') + (names.length > 5 ? ` and ${names.length - 5} more` : '');
}
