import { BrinkError } from '@brink/protocol';
import type { Logger } from '@brink/runtime';
import { GONE, isBare, type VersionFolder } from './folder.ts';
import type { Asked } from './selection.ts';
import type { Turns } from './turns.ts';
import type { ModelVersion } from './version.ts';

/** One version folder, and what is made of it. */
export interface Entry {
  readonly folder: VersionFolder;
  /** As the folder was seen last, at rest. */
  stamp: string;
  /** undefined: not loaded */
  version: ModelVersion | undefined;
  /** The stamp of what was loaded, or could not be. */
  loaded: string;
  /** The stamp that was compared last. */
  compared: string;
  asked: Asked;
  /** The stamp at that time. */
  askedAt: string;
  /** What is being done with it; never rejects. */
  work: Promise<void> | undefined;
}

/** What can be done with an entry, one thing at a time. */
export interface Work {
  entryOf(folder: VersionFolder, stamp: string): Entry;
  /** Begins what is to be done, if anything and if nothing else is. @returns whether it began something */
  follow(entry: Entry, isWanted: boolean): boolean;
  /** Beside all others, instead of after them. */
  loadAtOnce(entry: Entry, signal: AbortSignal): Promise<void>;
  /** Loads it, or loads it again beside where its files changed. @throws BrinkError why not; what served goes on */
  bringUpToDate(entry: Entry): Promise<void>;
  /** Takes it out of service, once it has answered what it has. */
  retire(entry: Entry): Promise<void>;
  stop(): Promise<void>;
}

export const keyOf = ({ name, version }: VersionFolder) => `${name}/${version}`;

interface WorkDependencies {
  readonly logger: Logger;
  /** Loading: one at a time, while others serve. */
  readonly inTurn: Turns;
  readonly create: (folder: VersionFolder) => ModelVersion;
  /** One that was loaded beside others takes its place among those that hear of policies: they may have changed meanwhile. */
  readonly adopt: (version: ModelVersion) => void;
  /** Which versions there are has changed. */
  readonly list: () => void;
  readonly forget: (entry: Entry) => void;
  /** Something was done: something else may be to be done now. */
  readonly done: () => void;
}

export function createWork(o: { signal: AbortSignal }, d: WorkDependencies): Work {
  return new EntryWork(o.signal, d);
}

class EntryWork implements Work {
  readonly #signal: AbortSignal;
  readonly #d: WorkDependencies;
  /** Those that answer what they have, while another one serves in their place already. */
  readonly #leaving = new Set<Promise<void>>();

  constructor(signal: AbortSignal, d: WorkDependencies) {
    this.#signal = signal;
    this.#d = d;
  }

  entryOf(folder: VersionFolder, stamp: string): Entry {
    const entry = { folder, stamp, version: undefined, loaded: '', compared: stamp, askedAt: '', work: undefined };
    return { ...entry, asked: 'policy' };
  }

  follow(entry: Entry, isWanted: boolean): boolean {
    const what = entry.work === undefined ? toDo(entry, isWanted) : 'nothing';
    if (what === 'nothing') return false;
    this.#alone(entry, () => this.#do(what, entry)).catch((reason: unknown) =>
      this.#d.logger.error(
        { detail: BrinkError.from(reason).message, model: keyOf(entry.folder) },
        `could not ${what}`,
      ),
    );
    return true;
  }

  loadAtOnce(entry: Entry, signal: AbortSignal): Promise<void> {
    return this.#alone(entry, () => this.#put(entry).start(signal));
  }

  bringUpToDate(entry: Entry): Promise<void> {
    return this.#alone(entry, async () => {
      if (entry.version?.status.state === 'ready') {
        if (entry.stamp !== entry.loaded) await this.#replace(entry);
        return;
      }
      await this.#load(entry);
      const { error } = entry.version?.status ?? {};
      if (error !== undefined) throw error;
    });
  }

  retire(entry: Entry): Promise<void> {
    return this.#alone(entry, () => this.#retire(entry));
  }

  async stop(): Promise<void> {
    await Promise.all(this.#leaving);
    // What has its turn ends with its version.
    await this.#d.inTurn(async () => {});
  }

  async #alone(entry: Entry, work: () => Promise<void>): Promise<void> {
    while (entry.work !== undefined) await entry.work;
    const result = work();
    entry.work = result
      .catch(() => {})
      .then(() => {
        entry.work = undefined;
        this.#d.done();
      });
    await result;
  }

  async #do(what: Exclude<ToDo, 'nothing'>, entry: Entry): Promise<void> {
    if (what === 'load') await this.#load(entry);
    else if (what === 'replace') await this.#replace(entry);
    else if (what === 'recheck') await this.#recheck(entry);
    else await this.#retire(entry);
    if (what !== 'remove') return;
    this.#d.forget(entry);
    this.#d.list();
  }

  #put(entry: Entry): ModelVersion {
    const version = this.#d.create(entry.folder);
    Object.assign(entry, { version, loaded: entry.stamp, compared: entry.stamp });
    this.#d.list();
    return version;
  }

  #start(version: ModelVersion): Promise<void> {
    return this.#d.inTurn(async () => {
      if (!this.#signal.aborted) await version.start(this.#signal);
    });
  }

  async #load(entry: Entry): Promise<void> {
    // Another try is another version object: nothing of the failed one is kept.
    await entry.version?.stop();
    if (!this.#signal.aborted) await this.#start(this.#put(entry));
  }

  /** Beside the one that serves, which goes on where this one fails. @throws BrinkError why it did */
  async #replace(entry: Entry): Promise<void> {
    const { version: before, stamp } = entry;
    const next = this.#d.create(entry.folder);
    await this.#start(next);
    entry.compared = stamp;
    const { state, error } = next.status;
    if (state !== 'ready' || this.#signal.aborted) {
      await next.stop();
      before?.note('reload', error === undefined ? '' : `could not be loaded again: ${error.message}`);
      if (error !== undefined) throw error;
      return;
    }
    Object.assign(entry, { version: next, loaded: stamp });
    this.#d.adopt(next);
    if (before !== undefined) {
      const left = before.retire(this.#signal).finally(() => this.#leaving.delete(left));
      this.#leaving.add(left);
    }
    this.#d.list();
  }

  async #recheck(entry: Entry): Promise<void> {
    const { stamp, version } = entry;
    entry.compared = stamp;
    if (version !== undefined && (await this.#d.inTurn(() => version.recheck()))) entry.loaded = stamp;
  }

  async #retire(entry: Entry): Promise<void> {
    if (entry.version === undefined) return;
    await entry.version.retire(this.#signal);
    entry.version = undefined;
    this.#d.list();
  }
}

type ToDo = 'nothing' | 'load' | 'replace' | 'recheck' | 'retire' | 'remove';

function toDo({ version, stamp, loaded, compared }: Entry, isWanted: boolean): ToDo {
  if (stamp === GONE) return 'remove';
  if (version === undefined) return isWanted ? 'load' : 'nothing';
  if (!isWanted) return 'retire';
  // A version that failed later, when its files had changed already, is tried with them as well.
  if (version.status.state === 'failed') return stamp === loaded ? 'nothing' : 'load';
  if (stamp === compared) return 'nothing';
  return version.status.isBare && hasPassport(stamp) ? 'replace' : 'recheck';
}

/** It came to a model that had none. */
const hasPassport = (stamp: string) => stamp !== '' && !isBare(stamp);
