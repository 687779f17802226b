import { BrinkError, create, fromJson, type JsonValue, oip } from '@brink/protocol';
import { modelConfig } from '../configuration.ts';
import { LONG_BYTES } from '../converter.ts';
import type { OipEngine } from '../engine.ts';
import { EXTENSIONS, modelMetadata } from '../metadata.ts';
import { checkLoadParameters } from '../parameters.ts';
import { statistics } from '../statistics.ts';
import type { MethodName, RequestOf, ResponseOf } from './definition.ts';
import { inferResponse } from './requests.ts';
import { type Scan, scanRequest } from './scan.ts';

/** Who calls. */
export interface CallContext {
  /** for fairness between clients */
  readonly client: string;
  /** ms that the caller waits; Infinity for no limit */
  readonly leftMs: number;
  /** Aborts when the caller gave up. */
  readonly signal: AbortSignal;
}

type UnaryName = Exclude<MethodName, 'modelStreamInfer' | 'modelInfer'>;
export type UnaryCalls = {
  [Name in UnaryName]: (request: RequestOf<Name>) => Promise<ResponseOf<Name>>;
};

/** What each call of the protocol does. What they throw becomes the status of the call. */
export function createCalls(o: { version: string }, engine: OipEngine): UnaryCalls {
  const { repository } = engine;
  return {
    serverLive: async () => create(oip.ServerLiveResponseSchema, { live: true }),
    serverReady: async () => create(oip.ServerReadyResponseSchema, { ready: repository.problems.length === 0 }),
    modelReady: async ({ name, version }) =>
      create(oip.ModelReadyResponseSchema, { ready: isReady(engine, name, version) }),
    serverMetadata: async () =>
      create(oip.ServerMetadataResponseSchema, { name: 'brink', version: o.version, extensions: [...EXTENSIONS] }),
    modelMetadata: async ({ name, version }) =>
      fromJson(oip.ModelMetadataResponseSchema, asJson(modelMetadata(repository, engine.find(name, version)))),
    modelConfig: async ({ name, version }) =>
      create(oip.ModelConfigResponseSchema, {
        config: fromJson(oip.ModelConfigSchema, modelConfig(engine.find(name, version))),
      }),
    modelStatistics: async ({ name, version }) =>
      fromJson(oip.ModelStatisticsResponseSchema, asJson(statistics(engine, name, version))),
    repositoryIndex: async ({ ready }) =>
      create(oip.RepositoryIndexResponseSchema, {
        models: repository.index
          .filter(({ state }) => !ready || state === 'READY')
          .map(({ name, version, state, reason }) => ({ name, version: String(version), state, reason })),
      }),
    repositoryModelLoad: async ({ modelName, parameters }) => {
      checkLoadParameters(Object.keys(parameters));
      await repository.load(modelName);
      return create(oip.RepositoryModelLoadResponseSchema);
    },
    repositoryModelUnload: async ({ modelName }) => {
      await repository.unload(modelName);
      return create(oip.RepositoryModelUnloadResponseSchema);
    },
  };
}

/**
 * @param message a ModelInferRequest as it came @param scan of it
 * @throws BrinkError as the engine; E_BAD_REQUEST for what is no such message
 */
export async function infer(
  engine: OipEngine,
  message: Uint8Array,
  { bytes }: Scan,
  context: CallContext,
): Promise<oip.ModelInferResponse> {
  const { signal, client, leftMs } = context;
  const asked = await engine.converter.convert('grpcRequest', { message }, { bytes, signal });
  const version = engine.find(asked.modelName, asked.modelVersion);
  const tensors = await engine.infer(version, {
    ...asked,
    timeoutMs: Math.min(asked.timeoutMs, leftMs),
    client,
    signal,
  });
  return inferResponse({ model: version.name, version: version.version, id: asked.id, tensors });
}

export const scan = (message: Uint8Array): Scan => scanRequest(message, LONG_BYTES);

/** Triton says false where HTTP has a status: of a model that is not there as well. */
function isReady(engine: OipEngine, name: string, version: string): boolean {
  try {
    engine.find(name, version).ready();
    return true;
  } catch (reason) {
    const { code } = BrinkError.from(reason);
    if (code === 'E_MODEL_UNKNOWN' || code === 'E_MODEL_NOT_READY') return false;
    throw reason;
  }
}

const asJson = (value: object) => value as JsonValue;
