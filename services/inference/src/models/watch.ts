import { lstat } from 'node:fs/promises';
import { join } from 'node:path';
import { BrinkError } from '@brink/protocol';
import { type Clock, type Logger, type Timer, wait } from '@brink/runtime';
import { listVersions, stampOf, type VersionFolder } from './folder.ts';
import type { Pace } from './pace.ts';

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
  /** The versions of one model as they are now, once they look the same twice. @throws BrinkError E_CONFLICT where they never do */
  rest(name: string): Promise<readonly SeenVersion[]>;
  stop(): Promise<void>;
}

/** Of somebody who waits. */
const REST_LOOKS_MAX = 50;

/** By name, then version. */
const keyOf = ({ name, version }: VersionFolder) => `${name}/${version}`;

/**
 * Only what looks the same twice in a row is told: a folder that is being copied is left alone until it rests.
 * A models folder that is not there at all, or cannot be read, says nothing: that takes no model out of service.
 * @param d known: looked at even where they have neither passport nor model any more
 */
export function createWatch(
  o: { dir: string; pace: Pace },
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
  const stopping = new AbortController();

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
      timer = d.clock.setTimeout(look, again ? 0 : o.pace.lookMs);
      again = false;
    });
  }

  return {
    async start() {
      before = await readStamps(o.dir, []);
      running = true;
      timer = d.clock.setTimeout(look, o.pace.lookMs);
      return [...before.values()];
    },
    look,
    async rest(name) {
      const known = [...d.known()].filter((folder) => folder.name === name);
      let last = new Map([...before].filter(([, { folder }]) => folder.name === name));
      for (let looks = 0; looks < REST_LOOKS_MAX; looks++) {
        const now = await readStamps(o.dir, known, name);
        if (now.size === last.size && [...now].every(([key, { stamp }]) => last.get(key)?.stamp === stamp)) {
          return [...now.values()];
        }
        last = now;
        await wait(o.pace.restMs, d.clock, stopping.signal);
      }
      throw new BrinkError('E_CONFLICT', `${join(o.dir, name)} is still being written; expected files that rest`);
    },
    async stop() {
      running = false;
      stopping.abort();
      if (timer !== undefined) d.clock.clearTimeout(timer);
      await looking;
    },
  };
}

async function readStamps(
  dir: string,
  known: Iterable<VersionFolder>,
  only?: string,
): Promise<Map<string, SeenVersion>> {
  const folders = new Map([...(await listVersions(dir, only)), ...known].map((folder) => [keyOf(folder), folder]));
  const seen = new Map<string, SeenVersion>();
  for (const [key, folder] of folders) seen.set(key, { folder, stamp: await stampOf(folder) });
  // After them, since the whole folder could have gone meanwhile.
  if (seen.size > 0) await lstat(dir);
  return seen;
}
