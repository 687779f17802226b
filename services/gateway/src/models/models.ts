import type { FleetStatus, link } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import { highestVersion } from './passports.ts';
import { resolveModels, type ServingModel } from './resolve.ts';

export type { ServingModel } from './resolve.ts';

type ModelState = link.ModelState;

/** A passport that does not fit yet (control may be writing it right now) is read again after so long. */
const REREAD_MS = 1000;

/**
 * Which version a model's name means: inference says it, and units are prepared by the passport in the models folder,
 * provided that it is the very one that inference loaded.
 */
export function createModels(
  config: { modelsDir: string },
  d: { logger: Logger; clock: Clock; onChange(name: string): void },
) {
  const serving = new Map<string, ServingModel>();
  const known = new Map<string, ServingModel>();
  const problems = new Map<string, string>();
  const lastVersions = new Map<string, number>();
  let announced: readonly ModelState[] = [];
  /** What the configuration asks for: by name the version that it says, where it says one. */
  let wanted: ReadonlyMap<string, number | undefined> = new Map();
  let up = false;
  let reread: Timer | undefined;
  /** Announcements overtake each other while passports are read; only the latest counts. */
  let turn = 0;

  async function resolve(): Promise<void> {
    const mine = ++turn;
    const { found, why } = await resolveModels(config, { announced, wanted, serving });
    if (mine === turn && up) take(found, why);
  }

  function take(found: Map<string, ServingModel>, why: Map<string, string>): void {
    const changed = new Set([...found.keys(), ...serving.keys()]);
    serving.clear();
    for (const [name, model] of found) {
      serving.set(name, model);
      known.set(name, model);
      lastVersions.set(name, model.version);
    }
    takeProblems(why);
    for (const name of changed) d.onChange(name);
  }

  function takeProblems(why: Map<string, string>): void {
    for (const [name, problem] of why) {
      if (problems.get(name) !== problem) d.logger.warn({ model: name, problem }, 'model cannot be used');
    }
    problems.clear();
    for (const [name, problem] of why) problems.set(name, problem);
    if (why.size > 0) rereadLater();
  }

  function rereadLater(): void {
    reread ??= d.clock.setTimeout(() => {
      reread = undefined;
      if (up) void resolve();
    }, REREAD_MS);
  }

  return {
    /** The whole list, at once after the link is up and at every change. */
    announce(states: readonly ModelState[]): void {
      announced = states;
      up = true;
      void resolve();
    },

    down(): void {
      up = false;
      turn += 1;
      serving.clear();
      problems.clear();
      announced = [];
    },

    stop(): void {
      up = false;
      turn += 1;
      if (reread !== undefined) d.clock.clearTimeout(reread);
      reread = undefined;
    },

    /** undefined while the model cannot take units; `whyNot` says why. */
    current: (name: string): ServingModel | undefined => serving.get(name),

    /** All that take units now. */
    all: (): readonly ServingModel[] => [...serving.values()],

    /** The one that takes units now or took them last: windows are cut while inference is away. */
    known: (name: string): ServingModel | undefined => known.get(name),

    whyNot(name: string): string {
      if (!up) return 'the link to inference is down';
      return problems.get(name) ?? `inference does not serve "${name}"`;
    },

    /** Inference said that a unit was prepared for another passport: look again. */
    doubt({ name, version, passportSha256 }: ServingModel): void {
      if (serving.get(name)?.passportSha256 !== passportSha256) return;
      serving.delete(name);
      problems.set(name, `${name}@${version}: inference has another passport than was announced`);
      rereadLater();
    },

    /** The version that an outcome without a run names: the serving one, the last that served, the highest in the folder, 1. */
    versionOf: (name: string): number => serving.get(name)?.version ?? lastVersions.get(name) ?? 1,

    /** The models of a configuration. Looks the versions up once, for those that inference has not announced. */
    async want(names: ReadonlyMap<string, number | undefined>): Promise<void> {
      wanted = names;
      for (const name of names.keys()) {
        const highest = lastVersions.has(name) ? undefined : await highestVersion(config.modelsDir, name);
        if (highest !== undefined && !lastVersions.has(name)) lastVersions.set(name, highest);
      }
      // Inference does not announce chains: they are known by being asked for.
      if (up) await resolve();
    },

    /** Problems of the models that are asked for. */
    problemsOf(names: Iterable<string>): string[] {
      return up ? [...names].filter((name) => !serving.has(name)).map((name) => this.whyNot(name)) : [];
    },

    status(): NonNullable<FleetStatus['models']> {
      return [...serving.values()].map(({ name, version }) => ({ name, version, state: 'ready' as const }));
    },
  };
}

export type Models = ReturnType<typeof createModels>;
