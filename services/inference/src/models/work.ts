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

export function createWork(
  o: { signal: AbortSignal },
  d: {
    logger: Logger;
    /** Loading: one at a time, while others serve. */
    inTurn: Turns;
    create: (folder: VersionFolder) => ModelVersion;
    /** Which versions there are has changed. */
    list: () => void;
    forget: (entry: Entry) => void;
    /** Something was done: something else may be to be done now. */
    done: () => void;
  },
): Work {
  /** Those that answer what they have, while another one serves in their place already. */
  const leaving = new Set<Promise<void>>();

  async function alone(entry: Entry, work: () => Promise<void>): Promise<void> {
    while (entry.work !== undefined) await entry.work;
    const result = work();
    entry.work = result
      .catch(() => {})
      .then(() => {
        entry.work = undefined;
        d.done();
      });
    await result;
  }

  function put(entry: Entry): ModelVersion {
    const version = d.create(entry.folder);
    Object.assign(entry, { version, loaded: entry.stamp, compared: entry.stamp });
    d.list();
    return version;
  }

  const start = (version: ModelVersion) =>
    d.inTurn(async () => {
      if (!o.signal.aborted) await version.start(o.signal);
    });

  async function load(entry: Entry): Promise<void> {
    // Another try is another version object: nothing of the failed one is kept.
    await entry.version?.stop();
    if (!o.signal.aborted) await start(put(entry));
  }

  /** Beside the one that serves, which goes on where this one fails. */
  async function replace(entry: Entry): Promise<void> {
    const before = entry.version;
    const stamp = entry.stamp;
    const next = d.create(entry.folder);
    await start(next);
    entry.compared = stamp;
    const { state, error } = next.status;
    if (state !== 'ready' || o.signal.aborted) {
      await next.stop();
      before?.note('reload', error === undefined ? '' : `could not be loaded again: ${error.message}`);
      if (error !== undefined) throw error;
      return;
    }
    entry.version = next;
    entry.loaded = stamp;
    if (before !== undefined) {
      const left = before.retire(o.signal).finally(() => leaving.delete(left));
      leaving.add(left);
    }
    d.list();
  }

  async function recheck(entry: Entry): Promise<void> {
    const { stamp, version } = entry;
    entry.compared = stamp;
    if (version === undefined) return;
    if (await d.inTurn(() => version.recheck())) entry.loaded = stamp;
  }

  async function retire(entry: Entry): Promise<void> {
    const { version } = entry;
    if (version === undefined) return;
    await version.retire(o.signal);
    entry.version = undefined;
    d.list();
  }

  async function remove(entry: Entry): Promise<void> {
    await retire(entry);
    d.forget(entry);
    d.list();
  }

  function toDo(entry: Entry, isWanted: boolean): ((entry: Entry) => Promise<void>) | undefined {
    const { version, stamp, loaded, compared } = entry;
    if (stamp === GONE) return remove;
    if (version === undefined) return isWanted ? load : undefined;
    if (!isWanted) return retire;
    // A version that failed later, when its files had changed already, is tried with them as well.
    if (version.status.state === 'failed') return stamp === loaded ? undefined : load;
    if (stamp === compared) return undefined;
    // A passport came to a model that had none.
    return version.status.isBare && !isBare(stamp) && stamp !== '' ? replace : recheck;
  }

  return {
    entryOf: (folder, stamp) => ({
      folder,
      stamp,
      version: undefined,
      loaded: '',
      compared: stamp,
      asked: 'policy',
      askedAt: '',
      work: undefined,
    }),
    follow(entry, isWanted) {
      const work = entry.work === undefined ? toDo(entry, isWanted) : undefined;
      if (work === undefined) return false;
      alone(entry, () => work(entry)).catch((reason: unknown) =>
        d.logger.error({ detail: BrinkError.from(reason).message, model: keyOf(entry.folder) }, 'not as it is wanted'),
      );
      return true;
    },
    loadAtOnce: (entry, signal) => alone(entry, () => put(entry).start(signal)),
    bringUpToDate: (entry) =>
      alone(entry, async () => {
        const { version, stamp, loaded } = entry;
        if (version?.status.state === 'ready') {
          if (stamp !== loaded) await replace(entry);
          return;
        }
        await load(entry);
        const { error } = entry.version?.status ?? {};
        if (error !== undefined) throw error;
      }),
    retire: (entry) => alone(entry, () => retire(entry)),
    async stop() {
      await Promise.all(leaving);
      // What has its turn ends with its version.
      await d.inTurn(async () => {});
    },
  };
}
