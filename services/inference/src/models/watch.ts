import { lstat } from 'node:fs/promises';
import { BrinkError } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';
import { listVersions, stampOf, type VersionFolder } from './folder.ts';

/** A version in the folder as it is now. */
export interface SeenVersion {
  readonly folder: VersionFolder;
  readonly stamp: string;
}

/** Looks at the models folder now and then. */
export interface Watch {
  /** The first look: everything that is there, as it is. Goes on looking afterwards. */
  start(): Promise<readonly SeenVersion[]>;
  /** Looks now. */
  look(): void;
  stop(): Promise<void>;
}

const LOOK_MS = 1000;

/** By name, then version. */
const keyOf = ({ name, version }: VersionFolder) => `${name}/${version}`;

/**
 * Only what looks the same twice in a row is told: a folder that is being copied is left alone until it rests.
 * A models folder that is not there at all, or cannot be read, says nothing: that takes no model out of service.
 * @param d known: looked at even where they have no passport any more
 */
export function createWatch(
  o: { dir: string },
  d: {
    clock: Clock;
    logger: Logger;
    known: () => Iterable<VersionFolder>;
    seen: (all: readonly SeenVersion[]) => void;
  },
): Watch {
  let before: ReadonlyMap<string, SeenVersion> = new Map();
  let timer: Timer | undefined;
  let looking: Promise<void> | undefined;
  let again = false;
  let running = false;
  let trouble = '';

  async function lookOnce(): Promise<void> {
    try {
      const now = await readStamps(o.dir, d.known());
      if (running)
        d.seen([...now].filter(([key, { stamp }]) => before.get(key)?.stamp === stamp).map(([, one]) => one));
      before = now;
      trouble = '';
    } catch (reason) {
      const { code, detail } = BrinkError.from(reason);
      if (detail !== trouble) d.logger.warn({ dir: o.dir, code, detail }, 'the models folder cannot be read');
      trouble = detail;
    }
  }

  function look(): void {
    if (!running) return;
    if (looking !== undefined) {
      again = true;
      return;
    }
    if (timer !== undefined) d.clock.clearTimeout(timer);
    looking = lookOnce().then(() => {
      looking = undefined;
      if (!running) return;
      timer = d.clock.setTimeout(look, again ? 0 : LOOK_MS);
      again = false;
    });
  }

  return {
    async start() {
      before = await readStamps(o.dir, []);
      running = true;
      timer = d.clock.setTimeout(look, LOOK_MS);
      return [...before.values()];
    },
    look,
    async stop() {
      running = false;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      await looking;
    },
  };
}

async function readStamps(dir: string, known: Iterable<VersionFolder>): Promise<ReadonlyMap<string, SeenVersion>> {
  const folders = new Map([...(await listVersions(dir)), ...known].map((folder) => [keyOf(folder), folder]));
  const seen = new Map<string, SeenVersion>();
  for (const [key, folder] of folders) seen.set(key, { folder, stamp: await stampOf(folder) });
  // After them, since the whole folder could have gone meanwhile.
  if (seen.size > 0) await lstat(dir);
  return seen;
}
