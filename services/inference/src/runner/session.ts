import { BrinkError } from '@brink/protocol';
import { InferenceSession } from 'onnxruntime-node';
import type { Head } from '../scheduler/job.ts';
import { createStack } from './stack.ts';
import { bytesOf, tensorOf } from './tensor.ts';

export interface Session {
  /** Dimensions that are free are 0. */
  readonly inputs: readonly Head[];
  readonly outputs: readonly Head[];
  /**
   * Blocks this thread while it runs.
   * @param batch 0: `heads` are whole tensors, one payload each; else they are of one unit, and payloads come unit by unit
   * @throws BrinkError E_SHAPE, E_MODEL_RUN
   */
  run(batch: number, heads: readonly Head[], payloads: readonly Uint8Array[]): Promise<SessionRun>;
}

interface SessionRun {
  readonly heads: readonly Head[];
  readonly payloads: readonly Uint8Array[];
  readonly runMs: number;
}

/**
 * One session on one thread: sessions × one thread was measured faster than one session × threads everywhere, and spinning
 * threads twice as slow where cores are shared. @param graph the bytes of a checked ONNX file
 * @throws BrinkError E_MODEL_PARSE with ONNX Runtime's reason
 */
export async function createSession(graph: Uint8Array, providers: readonly string[]): Promise<Session> {
  const session = await InferenceSession.create(graph, {
    executionProviders: providers.length > 0 ? [...providers] : ['cpu'],
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    graphOptimizationLevel: 'all',
    logSeverityLevel: 3,
    extra: { session: { intra_op: { allow_spinning: '0' } } },
  }).catch((reason: unknown) => {
    throw new BrinkError('E_MODEL_PARSE', `ONNX Runtime refuses the graph: ${BrinkError.from(reason).detail}`, {
      cause: reason,
    });
  });
  const stacks = session.inputNames.map(createStack);

  return {
    inputs: session.inputMetadata.map(headOf),
    outputs: session.outputMetadata.map(headOf),
    async run(batch, heads, payloads) {
      const perUnit = heads.length;
      if (payloads.length !== perUnit * Math.max(1, batch)) {
        throw new BrinkError(
          'E_SHAPE',
          `${payloads.length} tensors for a batch of ${batch} with ${perUnit} inputs each`,
        );
      }
      const feeds = Object.fromEntries(
        heads.map((head, input) => {
          const parts = batch <= 1 ? [payloads[input]] : payloads.filter((_, at) => at % perUnit === input);
          const bytes = (stacks[input] ?? createStack()).join(parts.filter((part) => part !== undefined));
          return [head.name, tensorOf(batch === 0 ? head : { ...head, shape: [batch, ...head.shape] }, bytes)];
        }),
      );
      const startedAt = performance.now();
      const results = await session.run(feeds).catch((reason: unknown) => {
        throw new BrinkError('E_MODEL_RUN', BrinkError.from(reason).detail, { cause: reason });
      });
      const runMs = performance.now() - startedAt;
      const outputs = Object.entries(results).map(([name, tensor]) => bytesOf(name, tensor));
      return { heads: outputs.map(({ head }) => head), payloads: outputs.map(({ bytes }) => bytes), runMs };
    },
  };
}

function headOf(metadata: InferenceSession.ValueMetadata): Head {
  if (!metadata.isTensor) throw new BrinkError('E_MODEL_PARSE', `"${metadata.name}" is no tensor`);
  return {
    name: metadata.name,
    dtype: metadata.type,
    shape: metadata.shape.map((size) => (typeof size === 'number' && size > 0 ? size : 0)),
  };
}
