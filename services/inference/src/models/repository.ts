import { BrinkError, type FleetStatus, isName, type ModelPolicy, ModelPolicySchema } from '@brink/protocol';
import { PACE, type Pace } from './pace.ts';
import { askedProblems, chooseServing } from './serving.ts';
import { createShelf, type IndexEntry, type Shelf } from './shelf.ts';
import { reasonOf } from './status.ts';
import type { ModelVersion, VersionDependencies } from './version.ts';
import { createWatch } from './watch.ts';

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
  /** Also looks at the folder: who applies a configuration for a version that was just added does not wait for the next look. */
  setPolicies(policies: Readonly<Record<string, ModelPolicy>>): void;
  /**
   * Loads what the policy wants of this model, or this version whatever the policy says. What failed is tried again; what serves is
   * loaded again beside where its files changed, and else left as it is. Resolves when all of it is ready or failed.
   * @throws BrinkError E_MODEL_UNKNOWN, and why the version that was named, or else the one that the name is to mean, could not be
   * loaded: what served goes on then
   */
  load(name: string, version?: number): Promise<void>;
  /**
   * Takes a model, or a version of it, out of service until `load` is called, its folder changes, or the service starts again.
   * Resolves when what it had is answered and its runners have ended. @throws BrinkError E_MODEL_UNKNOWN
   */
  unload(name: string, version?: number): Promise<void>;
  /** Every version in the folder, loaded or not. */
  readonly index: readonly IndexEntry[];
  /** Resolves when none of the versions that were there at start is loading any more. */
  readonly settled: Promise<void>;
  /** Until then. */
  readonly starting: boolean;
  /** For the fleet status. */
  readonly states: NonNullable<FleetStatus['models']>;
  /** Why not everything can be served. */
  readonly problems: string[];
}

const DEFAULT_POLICY = ModelPolicySchema.parse({});

/** @param o emptyFolder: working directory of the runners */
export function createRepository(
  o: {
    dir: string;
    emptyFolder: string;
    runSlots: number;
    policies: Readonly<Record<string, ModelPolicy>>;
    pace?: Pace | undefined;
  },
  d: Omit<VersionDependencies, 'measuring' | 'othersServe'>,
): Repository {
  const serving = new Map<string, ModelVersion>();
  const settled = Promise.withResolvers<void>();
  let starting = true;
  let policies = o.policies;
  const policyOf = (name: string) => (Object.hasOwn(policies, name) ? policies[name] : undefined) ?? DEFAULT_POLICY;
  const { dir, emptyFolder, runSlots, pace = PACE } = o;
  const shelf = createShelf({ emptyFolder, runSlots, pace }, { ...d, policyOf, changed });
  const watch = createWatch({ dir, pace }, { ...d, known: () => shelf.folders, seen: (all) => shelf.follow(all) });

  function changed(): void {
    const { versions } = shelf;
    for (const name of new Set([...serving.keys(), ...versions.map((version) => version.name)])) {
      const own = versions.filter((version) => version.name === name);
      const chosen = chooseServing(own, { wanted: policyOf(name).serve, current: serving.get(name), starting });
      if (chosen === undefined) serving.delete(name);
      else serving.set(name, chosen);
    }
    for (const state of ['loading', 'ready', 'failed', 'draining'] as const) {
      d.metrics.models.set({ state }, versions.filter(({ status }) => status.state === state).length);
    }
    // Another one may be wanted now: below a failed one the next.
    shelf.reconcile();
    d.changed();
  }

  return {
    async start(signal) {
      const seen = await watch.start();
      if (seen.length === 0) d.logger.warn({ dir }, 'no model there');
      void shelf.fill(seen, signal).then(() => {
        starting = false;
        settled.resolve();
        changed();
      });
    },
    async stop() {
      await watch.stop();
      await shelf.stop();
    },
    get versions() {
      return shelf.versions;
    },
    find: (name, version) => find(shelf, { name, version, serving: serving.get(name) }),
    serving: (name) => serving.get(name),
    setPolicies(next) {
      const before = new Map(shelf.versions.map(({ name }) => [name, runningOf(policyOf(name))]));
      policies = next;
      for (const version of shelf.versions) version.setPolicy(policyOf(version.name));
      for (const [name, running] of before) if (runningOf(policyOf(name)) !== running) shelf.tryAgain(name);
      changed();
      watch.look();
    },
    async load(name, version) {
      checkName(name);
      await shelf.load(name, version, await watch.rest(name));
    },
    async unload(name, version) {
      checkName(name);
      await shelf.unload(name, version);
    },
    get index() {
      return shelf.index;
    },
    settled: settled.promise,
    get starting() {
      return starting;
    },
    get states() {
      return shelf.versions.map((one) => {
        const { name, version, status } = one;
        const reason = reasonOf(status);
        return {
          name,
          version,
          state: status.state,
          ...(reason === '' ? {} : { reason }),
          serving: serving.get(name) === one,
          ...(status.provider === '' ? {} : { provider: status.provider }),
        };
      });
    },
    get problems() {
      const states = shelf.versions.flatMap(({ name, version, status: { state, error } }) => {
        if (state === 'ready') return [];
        return [`model ${name} ${version} is ${state}${error === undefined ? '' : `: ${error.message}`}`];
      });
      return [...askedProblems(policies, shelf, serving), ...states, ...shelf.problems];
    },
  };
}

/** What of a policy may make a version fail, or not. */
const runningOf = ({ providers, strict, memory_mb_max, run_ms_max }: ModelPolicy) =>
  JSON.stringify([providers, strict, memory_mb_max, run_ms_max]);

/** Names of folders, so that nothing else is looked for on disk. @throws BrinkError E_MODEL_UNKNOWN */
function checkName(name: string): void {
  if (!isName(name)) throw new BrinkError('E_MODEL_UNKNOWN', `no model "${name.slice(0, 64)}"; names are [a-z0-9-]`);
}

/** @throws BrinkError E_MODEL_UNKNOWN, E_MODEL_NOT_READY */
function find(
  { versions, index }: Pick<Shelf, 'versions' | 'index'>,
  o: { name: string; version: number; serving: ModelVersion | undefined },
): ModelVersion {
  const { name, version } = o;
  const found = version === 0 ? o.serving : versions.find((one) => one.name === name && one.version === version);
  if (found !== undefined) return found;
  const of = index.filter((one) => one.name === name);
  if (of.length === 0) {
    const names = [...new Set(index.map((one) => one.name))].join(', ').slice(0, 500);
    throw new BrinkError(
      'E_MODEL_UNKNOWN',
      `no model "${name.slice(0, 64)}"; there are ${names === '' ? 'none' : names}`,
    );
  }
  const states = of.map((one) => `${one.version} ${one.state}${one.reason === '' ? '' : ` (${one.reason})`}`);
  const listed = states.join(', ').slice(0, 500);
  if (version === 0) throw new BrinkError('E_MODEL_NOT_READY', `no version of ${name} serves: ${listed}`);
  const absent = of.find((one) => one.version === version);
  if (absent === undefined)
    throw new BrinkError('E_MODEL_UNKNOWN', `${name} has no version ${version}; there are ${listed}`);
  throw new BrinkError('E_MODEL_NOT_READY', `${name} ${version} is not loaded: ${absent.reason}`);
}
