import { BrinkError, type FleetStatus, type ModelPolicy, ModelPolicySchema } from '@brink/protocol';
import { listVersions } from './folder.ts';
import { createModelVersion, type ModelVersion, type VersionDependencies } from './version.ts';

/** Every model version there is. */
export interface Repository {
  /** Reads the folder and begins to load. Does not wait for models: a slow one keeps nobody from starting. */
  start(signal: AbortSignal): Promise<void>;
  stop(): Promise<void>;
  readonly versions: readonly ModelVersion[];
  /** @throws BrinkError E_MODEL_UNKNOWN, E_MODEL_NOT_READY (no version of it serves) @param version 0: the one that the bare name means */
  find(name: string, version: number): ModelVersion;
  /** The version that the bare name means: the configured or highest one, or while that is not there the one that serves. */
  serving(name: string): ModelVersion | undefined;
  setPolicies(policies: Readonly<Record<string, ModelPolicy>>): void;
  /** Resolves when no version is loading any more. */
  readonly settled: Promise<void>;
  /** For the fleet status. */
  readonly states: NonNullable<FleetStatus['models']>;
  /** Why not everything can be served. */
  readonly problems: string[];
}

const DEFAULT_POLICY = ModelPolicySchema.parse({});

/** @param o emptyFolder: working directory of the runners */
export function createRepository(
  o: { dir: string; emptyFolder: string; policies: Readonly<Record<string, ModelPolicy>> },
  d: Omit<VersionDependencies, 'measuring'>,
): Repository {
  const serving = new Map<string, ModelVersion>();
  const settled = Promise.withResolvers<void>();
  let policies = o.policies;
  let versions: ModelVersion[] = [];
  const policyOf = (name: string) => (Object.hasOwn(policies, name) ? policies[name] : undefined) ?? DEFAULT_POLICY;

  function changed(): void {
    for (const name of new Set(versions.map((version) => version.name))) choose(name);
    for (const state of ['loading', 'ready', 'failed', 'draining'] as const) {
      d.metrics.models.set({ state }, versions.filter(({ status }) => status.state === state).length);
    }
    d.changed();
  }

  /** The configured version, then the others from the highest; the first that has not failed, once it is ready. */
  function choose(name: string): void {
    const wanted = policyOf(name).serve;
    const descending = versions.filter((version) => version.name === name).reverse();
    const order = [...descending.filter(({ version }) => version === wanted), ...descending];
    const first = order.find(({ status }) => status.state !== 'failed');
    const current = serving.get(name);
    if (first !== undefined && isReady(first)) serving.set(name, first);
    else if (current === undefined || !isReady(current)) serving.delete(name);
  }

  return {
    async start(signal) {
      const folders = await listVersions(o.dir);
      if (folders.length === 0) d.logger.warn({ dir: o.dir }, 'no model there');
      const own = { ...d, changed, measuring: createTurns() };
      versions = folders.map((folder) =>
        createModelVersion({ folder, policy: policyOf(folder.name), emptyFolder: o.emptyFolder }, own),
      );
      changed();
      const loads = versions.map((version) => version.start(signal));
      void Promise.allSettled(loads).then(() => settled.resolve());
    },
    async stop() {
      await Promise.all(versions.map((version) => version.stop()));
    },
    get versions() {
      return versions;
    },
    find(name, version) {
      const of = versions.filter((candidate) => candidate.name === name);
      const found = version === 0 ? serving.get(name) : of.find((candidate) => candidate.version === version);
      if (found !== undefined) return found;
      if (of.length === 0) throw new BrinkError('E_MODEL_UNKNOWN', `no model "${name.slice(0, 64)}" under ${o.dir}`);
      const states = of.map((candidate) => `${candidate.version} ${candidate.status.state}`).join(', ');
      if (version === 0) throw new BrinkError('E_MODEL_NOT_READY', `no version of ${name} serves (${states})`);
      throw new BrinkError('E_MODEL_UNKNOWN', `${name} has no version ${version}; there are ${states}`);
    },
    serving: (name) => serving.get(name),
    setPolicies(next) {
      policies = next;
      for (const version of versions) version.setPolicy(policyOf(version.name));
      changed();
    },
    settled: settled.promise,
    get states() {
      return versions.map(({ name, version, status: { state, error } }) => ({
        name,
        version,
        state,
        ...(error === undefined ? {} : { reason: error.message.slice(0, 500) }),
      }));
    },
    get problems() {
      return versions.flatMap(({ name, version, status: { state, error } }) => {
        if (state === 'ready') return [];
        return [`model ${name} ${version} is ${state}${error === undefined ? '' : `: ${error.message}`}`];
      });
    },
  };
}

const isReady = ({ status }: ModelVersion) => status.state === 'ready';

/** One after the other. */
function createTurns(): VersionDependencies['measuring'] {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  };
}
