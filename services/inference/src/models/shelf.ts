import { BrinkError, type ModelPolicy } from '@brink/protocol';
import { GONE, type VersionFolder } from './folder.ts';
import type { Pace } from './pace.ts';
import { type Asked, selectVersions } from './selection.ts';
import { reasonOf } from './status.ts';
import { createTurns } from './turns.ts';
import { createModelVersion, type ModelVersion, type VersionDependencies } from './version.ts';
import type { SeenVersion } from './watch.ts';
import { createWork, type Entry, keyOf, type Work } from './work.ts';

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
  /** The policy of this model changed in a way that may help: what failed is tried again. */
  tryAgain(name: string): void;
  /** @param seen the versions of this model as they are now @throws BrinkError E_MODEL_UNKNOWN, and why it could not be loaded */
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

type ShelfDependencies = Omit<VersionDependencies, 'measuring' | 'othersServe'> & {
  policyOf: (name: string) => ModelPolicy;
};

export function createShelf(o: { emptyFolder: string; runSlots: number; pace: Pace }, d: ShelfDependencies): Shelf {
  return new VersionShelf(o, d);
}

class VersionShelf implements Shelf {
  readonly #d: ShelfDependencies;
  readonly #entries = new Map<string, Entry>();
  readonly #stopping = new AbortController();
  readonly #work: Work;
  #versions: readonly ModelVersion[] = [];
  #leftOut: readonly string[] = [];
  #planned = false;

  constructor(o: { emptyFolder: string; runSlots: number; pace: Pace }, d: ShelfDependencies) {
    this.#d = d;
    const othersServe = () => this.#versions.some(({ status }) => status.state === 'ready');
    const own = { ...d, measuring: createTurns(), othersServe };
    this.#work = createWork(
      { signal: this.#stopping.signal },
      {
        logger: d.logger,
        inTurn: createTurns(),
        create: (folder) => createModelVersion({ folder, policy: d.policyOf(folder.name), ...o }, own),
        adopt: (version) => version.setPolicy(d.policyOf(version.name)),
        list: () => this.#list(),
        forget: (entry) => this.#entries.delete(keyOf(entry.folder)),
        done: () => this.reconcile(),
      },
    );
  }

  get versions(): readonly ModelVersion[] {
    return this.#versions;
  }

  get folders(): VersionFolder[] {
    return [...this.#entries.values()].map(({ folder }) => folder);
  }

  get index(): IndexEntry[] {
    const all = [...this.#entries.values()].sort((a, b) => inOrder(a.folder, b.folder));
    return all.map(({ folder: { name, version }, version: loaded, asked }) => {
      if (loaded !== undefined)
        return { name, version, state: STATES[loaded.status.state], reason: reasonOf(loaded.status) };
      const unasked = this.#leftOut.includes(`${name}/${version}`) ? tooMany() : `not ${AMONG}`;
      return { name, version, state: 'UNAVAILABLE', reason: asked === 'unload' ? 'unloaded' : unasked };
    });
  }

  get problems(): string[] {
    if (this.#leftOut.length === 0) return [];
    return [`${tooMany()}; not loaded: ${this.#leftOut.slice(0, 5).join(', ')}`];
  }

  async fill(seen: readonly SeenVersion[], signal: AbortSignal): Promise<void> {
    this.#see(seen);
    const first = [...this.#entries.values()];
    const wanted = first.filter(({ folder }) => this.#wantedOf(folder.name).has(folder.version));
    await Promise.all(wanted.slice(0, VERSIONS_MAX).map((entry) => this.#work.loadAtOnce(entry, signal)));
    // Below a failed one the next may be wanted.
    this.#reconcile();
    while (first.some(({ work }) => work !== undefined)) await Promise.all(first.map(({ work }) => work));
  }

  follow(seen: readonly SeenVersion[]): void {
    if (this.#stopping.signal.aborted) return;
    this.#see(seen);
    this.#reconcile();
  }

  /** Soon, since one change often brings another one. */
  reconcile(): void {
    if (this.#planned || this.#stopping.signal.aborted) return;
    this.#planned = true;
    queueMicrotask(() => {
      this.#planned = false;
      if (!this.#stopping.signal.aborted) this.#reconcile();
    });
  }

  tryAgain(name: string): void {
    for (const entry of this.#ofName(name)) if (entry.version?.status.state === 'failed') entry.loaded = '';
    this.reconcile();
  }

  async load(name: string, version: number | undefined, seen: readonly SeenVersion[]): Promise<void> {
    this.#see(seen);
    const asked = this.#ask(name, version, version === undefined ? 'policy' : 'load');
    const wanted = this.#wantedOf(name);
    const targets = asked.filter(({ folder, stamp }) => stamp !== GONE && wanted.has(folder.version));
    if (targets.length === 0) throw new BrinkError('E_MODEL_NOT_READY', `no version of ${name} is ${AMONG}`);
    const more = targets.filter((entry) => entry.version === undefined).length;
    if (this.#versions.length + more > VERSIONS_MAX) throw new BrinkError('E_CONFLICT', tooMany());
    const ends = await Promise.allSettled(targets.map((entry) => this.#work.bringUpToDate(entry)));
    // What the name is to mean: the others, where they fail, stand in the index.
    const { serve } = this.#d.policyOf(name);
    // Without `serve` the last one, which is the highest.
    const asServe = targets.findIndex(({ folder }) => folder.version === serve);
    const meant = ends.at(asServe);
    if (meant?.status === 'rejected') throw BrinkError.from(meant.reason);
  }

  async unload(name: string, version: number | undefined): Promise<void> {
    await Promise.all(this.#ask(name, version, 'unload').map((entry) => this.#work.retire(entry)));
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await Promise.all(this.#versions.map((version) => version.stop()));
    await Promise.all([...this.#entries.values()].map(({ work }) => work));
    await this.#work.stop();
  }

  #list(): void {
    const loaded = [...this.#entries.values()].flatMap(({ version }) => version ?? []);
    this.#versions = loaded.sort(inOrder);
    this.#d.changed();
  }

  #ofName(name: string): Entry[] {
    const own = [...this.#entries.values()].filter(({ folder }) => folder.name === name);
    return own.sort((a, b) => inOrder(a.folder, b.folder));
  }

  #wantedOf(name: string): Set<number> {
    const all = this.#ofName(name).map(({ folder, asked, version }) => {
      return { version: folder.version, asked, state: version?.status.state };
    });
    return selectVersions(all, this.#d.policyOf(name));
  }

  #see(seen: readonly SeenVersion[]): void {
    for (const { folder, stamp } of seen) {
      const entry = this.#entries.get(keyOf(folder));
      if (entry !== undefined) {
        entry.stamp = stamp;
        if (entry.asked === 'unload' && stamp !== entry.askedAt) entry.asked = 'policy';
      } else if (stamp !== GONE && stamp !== '') {
        this.#entries.set(keyOf(folder), this.#work.entryOf(folder, stamp));
      }
    }
  }

  #reconcile(): void {
    const before = `${this.#leftOut}`;
    const leftOut: string[] = [];
    let room = VERSIONS_MAX - this.#versions.length;
    for (const name of new Set([...this.#entries.values()].map(({ folder }) => folder.name))) {
      const wanted = this.#wantedOf(name);
      for (const entry of this.#ofName(name)) {
        const isWanted = wanted.has(entry.folder.version);
        const isNew = isWanted && entry.version === undefined && entry.stamp !== GONE;
        if (isNew && room <= 0) leftOut.push(keyOf(entry.folder));
        else if (this.#work.follow(entry, isWanted) && isNew) room -= 1;
      }
    }
    this.#leftOut = leftOut;
    if (`${leftOut}` !== before) this.#d.changed();
  }

  #ask(name: string, version: number | undefined, asked: Asked): Entry[] {
    const all = this.#ofName(name);
    const found = all.filter(({ folder }) => version === undefined || folder.version === version);
    if (found.length === 0) {
      const there = all.map(({ folder }) => folder.version).join(', ');
      const unknown = all.length === 0 ? `no model "${name}"` : `${name} has no version ${version}; there are ${there}`;
      throw new BrinkError('E_MODEL_UNKNOWN', unknown);
    }
    for (const entry of found) Object.assign(entry, { asked, askedAt: entry.stamp });
    return found;
  }
}

const AMONG = 'among those that are to be loaded';
const tooMany = () => `${VERSIONS_MAX} versions are loaded and no more may be`;

type Named = Pick<VersionFolder, 'name' | 'version'>;

const inOrder = (a: Named, b: Named) => (a.name === b.name ? a.version - b.version : a.name < b.name ? -1 : 1);
