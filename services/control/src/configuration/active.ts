import { basename } from 'node:path';
import { BrinkError, type PublishedConfiguration } from '@brink/protocol';
import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import type { Activation, ActivationOrigin } from '../ledger/records.ts';
import { createFolderWatch, readConfigFolder, readModels } from './folder.ts';
import { finishPending } from './journal.ts';
import type { Judge } from './judge.ts';
import { type ConfigProblem, configError, problemsIn } from './problems.ts';
import type { SourceFile } from './sources.ts';
import type { Validation } from './validate.ts';

interface ActiveConfiguration extends PublishedConfiguration {
  readonly activatedAt: string;
}

export interface ConfigurationKeeper extends Part {
  /** @throws BrinkError E_UNAVAILABLE before start */
  readonly active: ActiveConfiguration;
  /** The same, undefined before start. */
  readonly current: ActiveConfiguration | undefined;
  /** What is wrong with the files as they stand now; empty where they are what is active. */
  readonly problem: ConfigurationProblem | undefined;
  /** The files of the folder, or the given ones, without activating anything. */
  validate(files?: readonly SourceFile[]): Promise<Validation>;
  /** Reads the folder again now. */
  reload(): Promise<void>;
  /**
   * Nobody else reads or changes the files until `work` is done. What it changed is activated by its `look`, which throws what is wrong
   * with the files instead of remembering it.
   */
  exclusively<T>(work: (look: (origin: ActivationOrigin) => Promise<void>) => Promise<T>): Promise<T>;
}

interface ConfigurationProblem {
  readonly since: string;
  /** One line per problem. */
  readonly detail: string;
  readonly problems: readonly ConfigProblem[];
}

export interface ConfigurationDeps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly judge: Judge;
  /** Makes it effective and stores it, all or nothing. If it rejects, the one before stays. */
  readonly activate: (configuration: PublishedConfiguration, activation: Activation) => Promise<void>;
  /** The newest that was active in an earlier life. */
  readonly lastKnownGood: () => Promise<PublishedConfiguration | undefined>;
  /** It is effective now: tell the others. */
  readonly onActive: (configuration: ActiveConfiguration) => void;
  /** After every look at the files. */
  readonly looked: (outcome: 'active' | 'unchanged' | 'refused') => void;
}

const RETRY_MS = 5000;
const BY_HAND: ActivationOrigin = { how: 'files' };

/**
 * Keeps the configuration that is active: read from the folder at start, read again when a file changes. An edit that is
 * wrong changes nothing but `problem`. At start, wrong files are survived only with a last known good configuration.
 */
export function createConfiguration(
  o: { readonly dir: string; readonly modelsDir: string },
  d: ConfigurationDeps,
): ConfigurationKeeper {
  let active: ActiveConfiguration | undefined;
  let problem: ConfigurationProblem | undefined;
  const turns = createTurns();
  let later: Timer | undefined;
  const watch = createFolderWatch(o, { clock: d.clock, logger: d.logger, changed: () => reload() });
  const now = () => new Date(d.clock.now()).toISOString();

  async function validate(files?: readonly SourceFile[]): Promise<Validation> {
    return d.judge.judge({ files: files ?? (await readConfigFolder(o.dir)), models: await readModels(o.modelsDir) });
  }

  async function look(origin: ActivationOrigin): Promise<void> {
    if (await finishPending(o.dir)) d.logger.warn('an edit of the configuration that was interrupted is finished');
    const files = await readConfigFolder(o.dir);
    const validation = await validate(files);
    if (!validation.ok) throw configError(validation.problems);
    const { published } = validation;
    if (published.revision === active?.revision) {
      if (problem !== undefined) d.logger.info({ revision: active.revision }, 'configuration is right again');
      problem = undefined;
      d.looked('unchanged');
      return;
    }
    await makeActive(published, { origin, files: files.map(({ name, text }) => ({ name: basename(name), text })) });
    problem = undefined;
    d.looked('active');
  }

  async function makeActive(
    { revision, configuration }: PublishedConfiguration,
    activation: Activation,
  ): Promise<void> {
    await d.activate({ revision, configuration }, activation);
    active = { revision, configuration, activatedAt: now() };
    d.onActive(active);
    const { streams, rules } = configuration;
    d.logger.info({ revision, streams: Object.keys(streams), rules: Object.keys(rules) }, 'configuration active');
  }

  function refuse(error: BrinkError): void {
    // Not the files' fault: the ledger was busy, or its disk full. The same files may be taken later.
    if (error.code !== 'E_CONFIG' && error.code !== 'E_RULE') later = d.clock.setTimeout(() => void reload(), RETRY_MS);
    problem = { since: now(), detail: error.detail, problems: problemsIn(error) };
    d.looked('refused');
    d.logger.error(
      { active: active?.revision, problems: error.detail.split('\n') },
      'configuration refused, the one before stays',
    );
  }

  const reload = () => turns.take(() => look(BY_HAND).catch((reason: unknown) => refuse(BrinkError.from(reason))));

  async function first(): Promise<void> {
    try {
      await look(BY_HAND);
    } catch (reason) {
      const error = BrinkError.from(reason);
      const good = error.code === 'E_CONFIG' ? await d.lastKnownGood() : undefined;
      if (good === undefined) throw error;
      await makeActive(good, {});
      refuse(error);
    }
  }

  async function start(signal: AbortSignal): Promise<void> {
    // Before the first look, so that no edit falls between the two.
    await watch.start(signal);
    await turns.take(first);
  }

  return {
    get active() {
      if (active === undefined) throw new BrinkError('E_UNAVAILABLE', 'no configuration is active yet');
      return active;
    },
    get current() {
      return active;
    },
    get problem() {
      return problem;
    },
    validate,
    reload,
    exclusively: (work) => turns.take(() => work(look)),
    start,
    async stop() {
      await watch.stop();
      await turns.over();
      await d.judge.stop();
      if (later !== undefined) d.clock.clearTimeout(later);
    },
  };
}

/** One after the other, each beginning with what the one before left. */
function createTurns() {
  let last: Promise<unknown> = Promise.resolve();
  return {
    take<T>(work: () => Promise<T>): Promise<T> {
      const turn = last.then(work);
      last = turn.catch(() => {});
      return turn;
    },
    over: async () => void (await last),
  };
}
