import { BrinkError } from '@brink/protocol';
import { create, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { type Dtype, numberOf } from './dtype.ts';
import {
  type AttributeProto,
  AttributeProto_AttributeType,
  AttributeProtoSchema,
  type GraphProto,
  GraphProtoSchema,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  NodeProtoSchema,
  type TensorProto,
  TensorProtoSchema,
  type ValueInfoProto,
  ValueInfoProtoSchema,
} from './gen/onnx/onnx_pb.js';
import type { Dimension } from './read.ts';

type Data = Float32Array | Float64Array | Int8Array | Uint8Array | Int32Array | BigInt64Array;
/** Whole numbers become INT or INTS: write floats as { f: 1 } where they happen to be whole. */
type AttributeValue = number | string | readonly number[] | TensorProto | GraphProto | { readonly f: number };

/** A tensor with data. @param shape [] for a scalar @throws BrinkError E_MODEL_PARSE where data and shape disagree */
export function tensor(name: string, shape: readonly number[], data: Data): TensorProto {
  const elements = shape.reduce((product, size) => product * size, 1);
  if (elements !== data.length) {
    throw new BrinkError(
      'E_MODEL_PARSE',
      `tensor "${name}" of shape [${shape}] needs ${elements} elements; ${data.length} given`,
    );
  }
  return create(TensorProtoSchema, {
    name,
    dims: shape.map(BigInt),
    dataType: numberOf(dtypeOfData(data)),
    rawData: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  });
}

/** An input or output. @param shape a string is a symbolic dimension, undefined an unnamed one */
export function value(name: string, dtype: Dtype, shape: readonly Dimension[]): ValueInfoProto {
  const dim = shape.map((size) => {
    if (typeof size === 'number') return { value: { case: 'dimValue' as const, value: BigInt(size) } };
    return size === undefined ? {} : { value: { case: 'dimParam' as const, value: size } };
  });
  return create(ValueInfoProtoSchema, {
    name,
    type: { value: { case: 'tensorType', value: { elemType: numberOf(dtype), shape: { dim } } } },
  });
}

/** A node of the default domain; `domain:Type` names another one. */
export function node(
  operator: string,
  inputs: readonly string[],
  outputs: readonly string[],
  attributes: Readonly<Record<string, AttributeValue>> = {},
): NodeProto {
  const at = operator.lastIndexOf(':');
  return create(NodeProtoSchema, {
    opType: operator.slice(at + 1),
    domain: at < 0 ? '' : operator.slice(0, at),
    name: `${operator}:${outputs[0] ?? ''}`,
    input: [...inputs],
    output: [...outputs],
    attribute: Object.entries(attributes).map(([name, of]) => attribute(name, of)),
  });
}

export interface GraphParts {
  readonly name?: string;
  readonly inputs: readonly ValueInfoProto[];
  readonly outputs: readonly ValueInfoProto[];
  readonly nodes: readonly NodeProto[];
  readonly tensors?: readonly TensorProto[];
}

export function graph(parts: GraphParts): GraphProto {
  return create(GraphProtoSchema, {
    name: parts.name ?? 'graph',
    input: [...parts.inputs],
    output: [...parts.outputs],
    node: [...parts.nodes],
    initializer: [...(parts.tensors ?? [])],
  });
}

/** A whole model. @param opset of the default domain; IR version 8 goes with every opset up to 18 */
export function model(
  of: GraphProto,
  o: { opset?: number; irVersion?: number; metadata?: Record<string, string>; domains?: readonly string[] } = {},
): ModelProto {
  const others = (o.domains ?? []).map((domain) => ({ domain, version: 1n }));
  const init: MessageInitShape<typeof ModelProtoSchema> = {
    irVersion: BigInt(o.irVersion ?? 8),
    producerName: 'brink',
    opsetImport: [{ domain: '', version: BigInt(o.opset ?? 17) }, ...others],
    metadataProps: Object.entries(o.metadata ?? {}).map(([key, text]) => ({ key, value: text })),
    graph: of,
  };
  return create(ModelProtoSchema, init);
}

/** The bytes of an ONNX file. */
export function encode(of: ModelProto): Uint8Array {
  return toBinary(ModelProtoSchema, of);
}

function attribute(name: string, of: AttributeValue): AttributeProto {
  const kind = AttributeProto_AttributeType;
  const make = (init: MessageInitShape<typeof AttributeProtoSchema>) => create(AttributeProtoSchema, { name, ...init });
  if (typeof of === 'string') return make({ type: kind.STRING, s: new TextEncoder().encode(of) });
  if (typeof of === 'number')
    return Number.isInteger(of) ? make({ type: kind.INT, i: BigInt(of) }) : make({ type: kind.FLOAT, f: of });
  if (isList(of)) return make({ type: kind.INTS, ints: of.map(BigInt) });
  if ('f' in of) return make({ type: kind.FLOAT, f: of.f });
  return of.$typeName === 'onnx.TensorProto' ? make({ type: kind.TENSOR, t: of }) : make({ type: kind.GRAPH, g: of });
}

function isList(of: AttributeValue): of is readonly number[] {
  return Array.isArray(of);
}

function dtypeOfData(data: Data): Dtype {
  if (data instanceof Float32Array) return 'float32';
  if (data instanceof Float64Array) return 'float64';
  if (data instanceof Int8Array) return 'int8';
  if (data instanceof Uint8Array) return 'uint8';
  return data instanceof Int32Array ? 'int32' : 'int64';
}
