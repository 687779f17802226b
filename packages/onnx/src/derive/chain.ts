import { node, tensor } from '../build.ts';
import { type Dtype, numberOf } from '../dtype.ts';
import type { NodeProto, TensorProto } from '../gen/onnx/onnx_pb.js';

/** Nodes one after the other, each taking what the one before gives. */
export interface Chain {
  /** A value that does not change, as a further input of a node. */
  constant(of: TensorProto): string;
  add(operator: string, more?: readonly string[], attributes?: Record<string, number | readonly number[]>): void;
  cast(from: Dtype, to: Dtype): void;
  /** @param sizes 0 keeps the size that this dimension has, −1 takes what is left */
  reshape(sizes: readonly number[]): void;
  /** What the last node gives. */
  readonly at: string;
  /** Its nodes; the last one gives `name`. */
  end(name: string): NodeProto[];
}

/** @param prefix of the names between; unique in the graph */
export function createChain(from: string, prefix: string): Chain {
  const nodes: NodeProto[] = [];
  let at = from;
  const chain: Chain = {
    constant(of) {
      const name = `${prefix}.${nodes.length}`;
      // Constant nodes, not initialisers: those must be listed as inputs too before IR version 4.
      nodes.push(node('Constant', [], [name], { value: of }));
      return name;
    },
    add(operator, more = [], attributes = {}) {
      const to = `${prefix}.${nodes.length}`;
      nodes.push(node(operator, [at, ...more], [to], attributes));
      at = to;
    },
    cast(given, to) {
      if (given !== to) chain.add('Cast', [], { to: numberOf(to) });
    },
    reshape(sizes) {
      chain.add('Reshape', [chain.constant(tensor('', [sizes.length], BigInt64Array.from(sizes, BigInt)))]);
    },
    get at() {
      return at;
    },
    end(name) {
      if (nodes.length === 0) chain.add('Identity');
      const last = nodes.at(-1);
      if (last !== undefined) last.output = [name];
      at = name;
      return nodes;
    },
  };
  return chain;
}
