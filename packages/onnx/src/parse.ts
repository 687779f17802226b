import { BrinkError } from '@brink/protocol';
import { fromBinary } from '@bufbuild/protobuf';
import {
  type GraphProto,
  type ModelProto,
  ModelProtoSchema,
  type NodeProto,
  type SparseTensorProto,
  type TensorProto,
} from './gen/onnx/onnx_pb.js';

/**
 * The bytes of an ONNX file as its messages. Big tensors stay views of `bytes`.
 * @throws BrinkError E_MODEL_PARSE for anything that is no ONNX graph
 */
export function parseModel(bytes: Uint8Array): ModelProto {
  let model: ModelProto;
  try {
    model = fromBinary(ModelProtoSchema, bytes);
  } catch (reason) {
    throw new BrinkError(
      'E_MODEL_PARSE',
      `${bytes.byteLength} bytes are no ONNX model: ${BrinkError.from(reason).detail}`,
      {
        cause: reason,
      },
    );
  }
  // Protobuf reads much garbage as a message of unknown fields, so what every model has is asked for.
  const missing = [
    model.irVersion > 0n ? '' : 'ir_version',
    model.opsetImport.length > 0 ? '' : 'opset_import',
    model.graph === undefined ? 'graph' : '',
    model.graph !== undefined && model.graph.output.length === 0 ? 'outputs of the graph' : '',
  ].filter((name) => name !== '');
  if (missing.length > 0) {
    throw new BrinkError('E_MODEL_PARSE', `${bytes.byteLength} bytes are no ONNX model: ${missing.join(', ')} missing`);
  }
  return model;
}

/** @throws BrinkError E_MODEL_PARSE */
export function graphOf(model: ModelProto): GraphProto {
  if (model.graph === undefined) throw new BrinkError('E_MODEL_PARSE', 'the model has no graph');
  return model.graph;
}

/** Every node, also those of functions and of the bodies of Loop, If and Scan. */
export function* nodesOf(model: ModelProto): Generator<NodeProto> {
  for (const list of nodeLists(model)) yield* list;
}

/** Every tensor that carries data: initialisers and attributes, at any depth. */
export function* tensorsOf(model: ModelProto): Generator<TensorProto> {
  for (const graph of graphsOf(model)) {
    yield* graph.initializer;
    yield* denseOf(graph.sparseInitializer);
  }
  for (const node of nodesOf(model)) {
    for (const { t, tensors, sparseTensor, sparseTensors } of node.attribute) {
      if (t !== undefined) yield t;
      yield* tensors;
      yield* denseOf(sparseTensor === undefined ? sparseTensors : [sparseTensor, ...sparseTensors]);
    }
  }
}

function denseOf(sparse: readonly SparseTensorProto[]): TensorProto[] {
  return sparse.flatMap(({ values, indices }) => [values, indices]).filter((tensor) => tensor !== undefined);
}

function* nodeLists(model: ModelProto): Generator<NodeProto[]> {
  for (const graph of graphsOf(model)) yield graph.node;
  for (const definition of model.functions) yield definition.node;
}

/** Walks with a list of its own: a file may nest deeper than the stack is. */
function* graphsOf(model: ModelProto): Generator<GraphProto> {
  const waiting: GraphProto[] = model.graph === undefined ? [] : [model.graph];
  for (const definition of model.functions) waiting.push(...subgraphs(definition.node));
  for (let graph = waiting.pop(); graph !== undefined; graph = waiting.pop()) {
    yield graph;
    waiting.push(...subgraphs(graph.node));
  }
}

function subgraphs(nodes: NodeProto[]): GraphProto[] {
  return nodes.flatMap((node) =>
    node.attribute.flatMap((attribute) =>
      attribute.g === undefined ? attribute.graphs : [attribute.g, ...attribute.graphs],
    ),
  );
}
