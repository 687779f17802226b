import { BrinkError } from '@brink/protocol/link';
import type { InferenceSession } from 'onnxruntime-node';
import type { Head } from '../scheduler/job.ts';
import { openSession, type Providers } from './providers.ts';
import { runError } from './refusals.ts';
import { bytesOf, tensorOf } from './tensor.ts';

/** A whole tensor. */
export interface Fed {
  readonly head: Head;
  readonly bytes: Uint8Array;
}

export interface Session {
  /** Dimensions that are free are 0. */
  readonly inputs: readonly Head[];
  readonly outputs: readonly Head[];
  /** in use */
  readonly provider: string;
  /** why it is not the one that was asked for, or not for every node; else '' */
  readonly fallback: string;
  /**
   * Blocks this thread while it runs.
   * @throws BrinkError E_SHAPE, E_UNSUPPORTED, E_MODEL_RUN, E_MODEL_OOM
   */
  run(inputs: readonly Fed[]): Promise<{ outputs: readonly Fed[]; runMs: number }>;
}

/**
 * @param graph the bytes of a checked ONNX file
 * @throws BrinkError as `openSession`
 */
export async function createSession(graph: Uint8Array, providers: Providers): Promise<Session> {
  const { session, provider, fallback } = await openSession(graph, providers);
  return {
    inputs: session.inputMetadata.map(headOf),
    outputs: session.outputMetadata.map(headOf),
    provider,
    fallback,
    async run(inputs) {
      const feeds = Object.fromEntries(inputs.map(({ head, bytes }) => [head.name, tensorOf(head, bytes)]));
      const startedAt = performance.now();
      const results = await session.run(feeds).catch((reason: unknown) => Promise.reject(runError(reason)));
      const runMs = performance.now() - startedAt;
      return { outputs: Object.entries(results).map(([name, tensor]) => bytesOf(name, tensor)), runMs };
    },
  };
}

function headOf(metadata: InferenceSession.ValueMetadata): Head {
  if (!metadata.isTensor) throw new BrinkError('E_UNSUPPORTED', `"${metadata.name}" is no tensor`);
  return {
    name: metadata.name,
    dtype: metadata.type,
    shape: metadata.shape.map((size) => (typeof size === 'number' && size > 0 ? size : 0)),
  };
}
