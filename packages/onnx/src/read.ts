import { BrinkError } from '@brink/protocol';
import { type Dtype, dtypeOf } from './dtype.ts';
import { type ModelProto, TensorProto_DataLocation, type ValueInfoProto } from './gen/onnx/onnx_pb.js';
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
  /** Names of tensors whose data lie in other files. */
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
 * Reads what an ONNX file says about itself.
 * @throws BrinkError E_MODEL_PARSE (no ONNX graph), E_MODEL_EXTERNAL (data in other files), E_MODEL_OP (operators that are not allowed,
 * more than NODES_MAX nodes)
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
  return info;
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
    if (outside) external.push(tensor.name);
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

export function tensorInfo(value: ValueInfoProto): TensorInfo {
  const type = value.type?.value;
  if (type?.case !== 'tensorType') return { name: value.name, dtype: undefined, shape: undefined };
  const shape = type.value.shape?.dim.map((dimension) => {
    if (dimension.value.case === 'dimValue') return Number(dimension.value.value);
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
