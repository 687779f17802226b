import type { ModelPolicy } from '@brink/protocol';
import { GONE, type VersionFolder } from './folder.ts';
import { createModelVersion, type ModelVersion, type VersionDependencies } from './version.ts';
import type { SeenVersion } from './watch.ts';

/** The loaded versions, kept as the folder is. */
export interface Shelf {
  /** By name, then version. */
  readonly versions: readonly ModelVersion[];
  readonly folders: Iterable<VersionFolder>;
  /** Loads what is there at start, all at once: nothing serves yet. Resolves when each is ready or failed. */
  fill(seen: readonly SeenVersion[], signal: AbortSignal): Promise<void>;
  /** Loads what is new, tries again what failed and was changed, retires what is gone. One at a time: others serve meanwhile. */
  follow(seen: readonly SeenVersion[]): void;
  stop(): Promise<void>;
  readonly problems: string[];
}

/** Each has a process and a graph in memory. */
const VERSIONS_MAX = 64;

interface Entry {
  readonly folder: VersionFolder;
  version: ModelVersion;
  /** The stamp of what was loaded, or could not be. */
  loaded: string;
  /** The stamp that was compared last. */
  seen: string;
  /** Something is being done with it. */
  busy: boolean;
}

export function createShelf(
  o: { emptyFolder: string },
  d: Omit<VersionDependencies, 'measuring'> & { policyOf: (name: string) => ModelPolicy },
): Shelf {
  const entries = new Map<string, Entry>();
  const stopping = new AbortController();
  const own = { ...d, measuring: createTurns() };
  const inTurn = createTurns();
  let versions: readonly ModelVersion[] = [];
  let leftOut: string[] = [];

  const create = (folder: VersionFolder) =>
    createModelVersion({ folder, policy: d.policyOf(folder.name), emptyFolder: o.emptyFolder }, own);

  function list(): void {
    versions = [...entries.values()].map(({ version }) => version).sort(inOrder);
    d.changed();
  }

  const work = createWork({ signal: stopping.signal }, { inTurn, create, list, forget: (key) => entries.delete(key) });

  /** Nothing else is done with it until this is. */
  async function occupy(entry: Entry, done: Promise<void>): Promise<void> {
    entry.busy = true;
    await done.catch((reason: unknown) => d.logger.error({ err: reason, model: keyOf(entry.folder) }, 'not followed'));
    entry.busy = false;
  }

  function add({ folder, stamp }: SeenVersion): Entry | undefined {
    if (entries.size >= VERSIONS_MAX) {
      leftOut.push(keyOf(folder));
      return undefined;
    }
    const entry: Entry = { folder, version: create(folder), loaded: stamp, seen: stamp, busy: false };
    entries.set(keyOf(folder), entry);
    return entry;
  }

  function followOne(seen: SeenVersion): void {
    const entry = entries.get(keyOf(seen.folder));
    if (entry !== undefined) {
      const toDo = entry.busy ? undefined : work.toDo(entry, seen.stamp);
      if (toDo !== undefined) void occupy(entry, toDo(entry, seen.stamp));
    } else if (hasPassport(seen)) {
      const added = add(seen);
      if (added !== undefined) void occupy(added, work.load(added));
    }
  }

  return {
    get versions() {
      return versions;
    },
    get folders() {
      return [...entries.values()].map(({ folder }) => folder);
    },
    async fill(seen, signal) {
      const added = seen.filter(hasPassport).flatMap((one) => add(one) ?? []);
      list();
      await Promise.all(added.map((entry) => occupy(entry, entry.version.start(signal))));
    },
    follow(seen) {
      if (stopping.signal.aborted) return;
      const before = `${entries.size} ${leftOut}`;
      leftOut = [];
      for (const one of seen) followOne(one);
      if (`${entries.size} ${leftOut}` !== before) list();
    },
    async stop() {
      stopping.abort();
      await Promise.all(versions.map((version) => version.stop()));
      // What had its turn ends with its version.
      await inTurn(async () => {});
    },
    get problems() {
      if (leftOut.length === 0) return [];
      return [`${VERSIONS_MAX} versions are loaded and no more may be; not loaded: ${leftOut.slice(0, 5).join(', ')}`];
    },
  };
}

type Work = (entry: Entry, stamp: string) => Promise<void>;

/** What can be done with an entry. */
function createWork(
  o: { signal: AbortSignal },
  d: {
    inTurn: VersionDependencies['measuring'];
    create: (folder: VersionFolder) => ModelVersion;
    list: () => void;
    forget: (key: string) => void;
  },
) {
  const load = (entry: Entry) =>
    d.inTurn(async () => {
      if (!o.signal.aborted) await entry.version.start(o.signal);
    });

  /** Another try is another version object: nothing of the failed one is kept. */
  const reload: Work = async (entry, stamp) => {
    await entry.version.stop();
    if (o.signal.aborted) return;
    entry.loaded = stamp;
    entry.seen = stamp;
    entry.version = d.create(entry.folder);
    d.list();
    await load(entry);
  };

  const recheck: Work = async (entry, stamp) => {
    entry.seen = stamp;
    await d.inTurn(() => entry.version.recheck());
    if (entry.version.status.note === '') entry.loaded = stamp;
  };

  const retire: Work = async (entry) => {
    await entry.version.retire(o.signal);
    d.forget(keyOf(entry.folder));
    d.list();
  };

  return {
    load,
    /** A version that failed later, when its files had changed already, is tried with them as well. */
    toDo({ version, loaded, seen }: Entry, stamp: string): Work | undefined {
      if (stamp === GONE) return retire;
      if (version.status.state === 'failed') return stamp === loaded ? undefined : reload;
      return stamp === seen ? undefined : recheck;
    },
  };
}

const hasPassport = ({ stamp }: SeenVersion) => stamp !== GONE && stamp !== '';

const keyOf = ({ name, version }: VersionFolder) => `${name}/${version}`;

const inOrder = (a: ModelVersion, b: ModelVersion) =>
  a.name === b.name ? a.version - b.version : a.name < b.name ? -1 : 1;

/** One after the other. */
function createTurns(): VersionDependencies['measuring'] {
  let last: Promise<unknown> = Promise.resolve();
  return (work) => {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  };
}
