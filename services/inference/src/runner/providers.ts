import { BrinkError } from '@brink/protocol/link';
import { InferenceSession, listSupportedBackends } from 'onnxruntime-node';
import { loadError } from './refusals.ts';

export interface Providers {
  /** as ONNX Runtime calls them, the preferred one first; none: cpu */
  readonly wanted: readonly string[];
  /** rather none than another than the first, or than the first for only a part of the graph */
  readonly strict: boolean;
}

interface Opened {
  readonly session: InferenceSession;
  /** in use */
  readonly provider: string;
  /** why it is not the first of those wanted, or not for every node; '' where it is */
  readonly fallback: string;
}

/**
 * One thread: sessions × one thread was measured faster than one session × threads everywhere, and spinning threads twice as slow
 * where cores are shared. Severity 4: what goes wrong comes as an error, once.
 */
const OPTIONS = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  graphOptimizationLevel: 'all',
  logSeverityLevel: 4,
} as const;
const SESSION = { intra_op: { allow_spinning: '0' } };
/** Then ONNX Runtime refuses where it would give nodes to the CPU. onnxruntime_session_options_config_keys.h */
const WHOLLY = { ...SESSION, disable_cpu_ep_fallback: '1' };

/**
 * Opens a graph with the first provider that can. Each is tried alone: given as a list, ONNX Runtime skips what fails without a
 * word. After the last comes the CPU, which can always.
 * @throws BrinkError E_MODEL_PROVIDER where `strict` forbids what is left; E_MODEL_PARSE, E_MODEL_OP, E_MODEL_OOM, E_UNSUPPORTED
 */
export async function openSession(graph: Uint8Array, { wanted, strict }: Providers): Promise<Opened> {
  const order = [...new Set([...wanted, 'cpu'])];
  const first = order[0] ?? 'cpu';
  const reasons: string[] = [];
  for (const provider of order) {
    if (provider === 'cpu') {
      const session = await open(graph, 'cpu', SESSION).catch((reason: unknown) => Promise.reject(loadError(reason)));
      return { session, provider, fallback: reasons.join('; ') };
    }
    try {
      return { session: await open(graph, provider, WHOLLY), provider, fallback: reasons.join('; ') };
    } catch (reason) {
      reasons.push(`${provider}: ${saidOf(reason)}`);
    }
    if (strict) break;
    // Perhaps only some nodes are beyond it; then these run on the CPU.
    const session = isListed(provider) ? await open(graph, provider, SESSION).catch(() => undefined) : undefined;
    if (session !== undefined) return { session, provider, fallback: `a part runs on the CPU: ${reasons.join('; ')}` };
  }
  throw new BrinkError(
    'E_MODEL_PROVIDER',
    `"${first}" is asked for, and strict; ${reasons.join('; ')}. This ONNX Runtime lists ${listed().join(', ')}`,
  );
}

function open(graph: Uint8Array, provider: string, session: Record<string, unknown>): Promise<InferenceSession> {
  if (!isListed(provider)) throw new BrinkError('E_MODEL_PROVIDER', 'not part of this ONNX Runtime');
  return InferenceSession.create(graph, { ...OPTIONS, executionProviders: [provider], extra: { session } });
}

/** Without the place in ONNX Runtime's source and the condition that stands there. */
function saidOf(reason: unknown): string {
  const said = BrinkError.from(reason).detail.replace(/\s+/g, ' ');
  return said
    .replace(/^\/\S+:\d+ .*? was false\. /, '')
    .trim()
    .slice(0, 500);
}

const isListed = (provider: string) => listed().includes(provider);

function listed(): string[] {
  return listSupportedBackends().map(({ name }) => name);
}
