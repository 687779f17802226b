import { BrinkError, type FleetStatus, type link } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import { highestVersion, type Preparation, readPreparation } from './passports.ts';

/** One version of a model that inference serves and that units can be prepared for. */
export interface ServingModel extends Preparation {
  readonly name: string;
  readonly version: number;
  /** Units that run best together. */
  readonly batchBest: number;
  /** Runners that take batches side by side. */
  readonly copies: number;
}

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
  let up = false;
  let reread: Timer | undefined;
  /** Announcements overtake each other while passports are read; only the latest counts. */
  let turn = 0;

  async function resolve(): Promise<void> {
    const mine = ++turn;
    const found = new Map<string, ServingModel>();
    const why = new Map<string, string>();
    for (const state of announced.filter((one) => one.serving)) {
      const model = await prepared(config.modelsDir, state, serving.get(state.name)).catch((reason: unknown) =>
        BrinkError.from(reason),
      );
      if (model instanceof BrinkError) why.set(state.name, model.message);
      else found.set(state.name, model);
    }
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

    /** Looks the versions up once, for models that inference has not announced. */
    async learnVersions(names: Iterable<string>): Promise<void> {
      for (const name of names) {
        const highest = lastVersions.has(name) ? undefined : await highestVersion(config.modelsDir, name);
        if (highest !== undefined && !lastVersions.has(name)) lastVersions.set(name, highest);
      }
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

/** @throws BrinkError E_MODEL_NOT_READY, E_MODEL_UNKNOWN, E_PASSPORT, E_PASSPORT_CHANGED */
async function prepared(
  modelsDir: string,
  announced: ModelState,
  known: ServingModel | undefined,
): Promise<ServingModel> {
  const { name, version, passportSha256, batchBest, copies, state, reason } = announced;
  if (state !== 'ready') {
    throw new BrinkError('E_MODEL_NOT_READY', `${name}@${version} is ${state}${reason === '' ? '' : `: ${reason}`}`);
  }
  // A model without a passport: there is nothing to prepare units by.
  if (passportSha256 === '') throw new BrinkError('E_UNSUPPORTED', `${name}@${version}: ${reason}`);
  const unchanged = known?.version === version && known.passportSha256 === passportSha256;
  const preparation = unchanged ? known : await readPreparation(modelsDir, name, version);
  if (preparation.passportSha256 !== passportSha256) {
    const [here, there] = [preparation.passportSha256.slice(0, 12), passportSha256.slice(0, 12)];
    throw new BrinkError(
      'E_PASSPORT_CHANGED',
      `the passport of ${name}@${version} here is ${here}…, inference loaded ${there}…`,
    );
  }
  // 0 comes of an inference that does not say it yet.
  const room = { batchBest: Math.max(1, batchBest), copies: Math.max(1, copies) };
  return { ...preparation, name, version, ...room };
}
