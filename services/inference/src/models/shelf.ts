import { BrinkError, type ModelPolicy } from '@brink/protocol';
import { GONE, type VersionFolder } from './folder.ts';
import { type Asked, selectVersions } from './selection.ts';
import { reasonOf } from './status.ts';
import { createTurns } from './turns.ts';
import { createModelVersion, type ModelVersion, type VersionDependencies } from './version.ts';
import type { SeenVersion } from './watch.ts';
import { createWork, type Entry, keyOf } from './work.ts';

/** The loaded versions, kept as folder, policy and those who ask want them. */
export interface Shelf {
  /** Those that are loaded, by name, then version. */
  readonly versions: readonly ModelVersion[];
  readonly folders: Iterable<VersionFolder>;
  /** Loads what is there at start, all at once: nothing serves yet. Resolves when each is ready or failed. */
  fill(seen: readonly SeenVersion[], signal: AbortSignal): Promise<void>;
  /** Loads what is new, tries again what failed and was changed, retires what is gone. One at a time: others serve meanwhile. */
  follow(seen: readonly SeenVersion[]): void;
  /** A policy or a state changed: what is to be loaded may be something else now. */
  reconcile(): void;
  /** @param seen the versions of this model as they are now @throws BrinkError E_MODEL_UNKNOWN, and why one could not be loaded */
  load(name: string, version: number | undefined, seen: readonly SeenVersion[]): Promise<void>;
  /** @throws BrinkError E_MODEL_UNKNOWN */
  unload(name: string, version: number | undefined): Promise<void>;
  readonly index: readonly IndexEntry[];
  stop(): Promise<void>;
  readonly problems: string[];
}

/** As the repository extension of the Open Inference Protocol lists it. */
export interface IndexEntry {
  readonly name: string;
  readonly version: number;
  readonly state: 'READY' | 'UNAVAILABLE' | 'LOADING' | 'UNLOADING';
  readonly reason: string;
}

/** Each has a process and a graph in memory. */
const VERSIONS_MAX = 64;
const STATES = { loading: 'LOADING', ready: 'READY', failed: 'UNAVAILABLE', draining: 'UNLOADING' } as const;

type ShelfDependencies = Omit<VersionDependencies, 'measuring'> & { policyOf: (name: string) => ModelPolicy };

export function createShelf(o: { emptyFolder: string; runSlots: number }, d: ShelfDependencies): Shelf {
  const entries = new Map<string, Entry>();
  const stopping = new AbortController();
  const own = { ...d, measuring: createTurns() };
  let versions: readonly ModelVersion[] = [];
  let leftOut: string[] = [];
  let planned = false;

  const work = createWork(
    { signal: stopping.signal },
    {
      ...d,
      inTurn: createTurns(),
      create: (folder) => createModelVersion({ folder, policy: d.policyOf(folder.name), ...o }, own),
      list,
      forget: (entry) => entries.delete(keyOf(entry.folder)),
      done: plan,
    },
  );

  function list(): void {
    versions = [...entries.values()].flatMap(({ version }) => version ?? []).sort(inOrder);
    d.changed();
  }

  const ofName = (name: string) => [...entries.values()].filter(({ folder }) => folder.name === name);

  function wantedOf(name: string): Set<number> {
    const all = ofName(name).map(({ folder, asked, version }) => ({
      version: folder.version,
      asked,
      state: version?.status.state,
    }));
    return selectVersions(all, d.policyOf(name));
  }

  function see(seen: readonly SeenVersion[]): void {
    for (const { folder, stamp } of seen) {
      const entry = entries.get(keyOf(folder));
      if (entry !== undefined) {
        entry.stamp = stamp;
        if (entry.asked === 'unload' && stamp !== entry.askedAt) entry.asked = 'policy';
      } else if (stamp !== GONE && stamp !== '') entries.set(keyOf(folder), work.entryOf(folder, stamp));
    }
  }

  /** Soon, since one change often brings another one. */
  function plan(): void {
    if (planned || stopping.signal.aborted) return;
    planned = true;
    queueMicrotask(() => {
      planned = false;
      if (!stopping.signal.aborted) reconcile();
    });
  }

  function reconcile(): void {
    const before = `${leftOut}`;
    leftOut = [];
    let loaded = versions.length;
    for (const name of new Set([...entries.values()].map(({ folder }) => folder.name))) {
      const wanted = wantedOf(name);
      for (const entry of ofName(name).sort((a, b) => a.folder.version - b.folder.version)) {
        const isWanted = wanted.has(entry.folder.version);
        const isNew = isWanted && entry.version === undefined && entry.stamp !== GONE;
        if (isNew && loaded >= VERSIONS_MAX) leftOut.push(keyOf(entry.folder));
        else if (work.follow(entry, isWanted) && isNew) loaded += 1;
      }
    }
    if (`${leftOut}` !== before) d.changed();
  }

  function ask(name: string, version: number | undefined, asked: Asked): Entry[] {
    const all = ofName(name);
    const found = all.filter(({ folder }) => version === undefined || folder.version === version);
    if (found.length === 0) {
      const there = all.map(({ folder }) => folder.version).join(', ');
      const what = all.length === 0 ? `no model "${name.slice(0, 64)}"` : `${name} has no version ${version}: ${there}`;
      throw new BrinkError('E_MODEL_UNKNOWN', what);
    }
    for (const entry of found) {
      entry.asked = asked;
      entry.askedAt = entry.stamp;
    }
    return found;
  }

  return {
    get versions() {
      return versions;
    },
    get folders() {
      return [...entries.values()].map(({ folder }) => folder);
    },
    async fill(seen, signal) {
      see(seen);
      const first = [...entries.values()];
      const chosen = first.filter((entry) => wantedOf(entry.folder.name).has(entry.folder.version));
      const fits = chosen.slice(0, VERSIONS_MAX);
      await Promise.all(fits.map((entry) => work.loadAtOnce(entry, signal)));
      // Below a failed one the next may be wanted.
      plan();
      await Promise.resolve();
      while (first.some(({ work: busy }) => busy !== undefined)) await Promise.all(first.map((entry) => entry.work));
    },
    follow(seen) {
      if (stopping.signal.aborted) return;
      see(seen);
      reconcile();
    },
    reconcile: plan,
    async load(name, version, seen) {
      see(seen);
      const asked = ask(name, version, version === undefined ? 'policy' : 'load');
      const wanted = wantedOf(name);
      const targets = asked.filter(({ folder, stamp }) => stamp !== GONE && wanted.has(folder.version));
      if (targets.length === 0) {
        throw new BrinkError('E_MODEL_NOT_READY', `no version of ${name} is among those that are to be loaded`);
      }
      const more = targets.filter((entry) => entry.version === undefined).length;
      if (versions.length + more > VERSIONS_MAX) throw new BrinkError('E_CONFLICT', tooMany());
      const ends = await Promise.allSettled(targets.map((entry) => work.bringUpToDate(entry)));
      plan();
      const failed = ends.find((end) => end.status === 'rejected');
      if (failed !== undefined) throw BrinkError.from(failed.reason);
    },
    async unload(name, version) {
      await Promise.all(ask(name, version, 'unload').map((entry) => work.retire(entry)));
    },
    get index() {
      const left = new Set(leftOut);
      return [...entries.values()]
        .sort((a, b) => inOrder(a.folder, b.folder))
        .map(({ folder: { name, version }, version: loaded, asked }): IndexEntry => {
          if (loaded !== undefined) {
            return { name, version, state: STATES[loaded.status.state], reason: reasonOf(loaded.status) };
          }
          const byPolicy = left.has(`${name}/${version}`) ? tooMany() : 'not among the versions that are to be loaded';
          return { name, version, state: 'UNAVAILABLE', reason: asked === 'unload' ? 'unloaded' : byPolicy };
        });
    },
    async stop() {
      stopping.abort();
      await Promise.all(versions.map((version) => version.stop()));
      await Promise.all([...entries.values()].map(({ work: busy }) => busy));
      await work.stop();
    },
    get problems() {
      return leftOut.length === 0 ? [] : [`${tooMany()}; not loaded: ${leftOut.slice(0, 5).join(', ')}`];
    },
  };
}

const tooMany = () => `${VERSIONS_MAX} versions are loaded and no more may be`;

type Named = Pick<VersionFolder, 'name' | 'version'>;

const inOrder = (a: Named, b: Named) => (a.name === b.name ? a.version - b.version : a.name < b.name ? -1 : 1);
