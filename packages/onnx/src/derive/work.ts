import type { GraphProto, NodeProto, ValueInfoProto } from '../gen/onnx/onnx_pb.js';
import { type Dimension, type TensorInfo, tensorInfo } from '../read.ts';

/** The graph while it is changed. */
export interface Work {
  readonly graph: GraphProto;
  readonly inputs: ReadonlyMap<string, TensorInfo>;
  readonly outputs: ReadonlyMap<string, TensorInfo>;
  readonly opset: number;
  /** before and after the graph's own nodes */
  readonly before: NodeProto[];
  readonly after: NodeProto[];
  /** inputs by the name that they have in the file: as it has them, or what stands in their place */
  readonly given: Map<string, ValueInfoProto>;
}

/** The first dimension of an input of the derived graph. */
export function batchOf(work: Pick<Work, 'given'>, name: string | undefined): Dimension {
  const input = [...work.given.values()].find((given) => given.name === name);
  return input === undefined ? undefined : tensorInfo(input).shape?.[0];
}
