import { statfs } from 'node:fs/promises';
import { BrinkError } from '@brink/protocol';
import type { Clock, Logger, Timer } from '@brink/runtime';

export interface DiskLimits {
  /** Of the disk that the ledger lies on: from here on it is said to be low, percent. */
  readonly lowPercent: number;
  /** From here on nothing new is taken in, percent. */
  readonly fullPercent: number;
  /** While so many bytes are free it is never full, and while twice as many are it is never low: 5 % of a large disk is a lot. */
  readonly spareBytes: number;
}

export type DiskState = 'ok' | 'low' | 'full';

export interface DiskUse {
  readonly percent: number;
  readonly freeBytes: number;
}

/** How full the disk is, as `df` counts: what only root may use is no room. Rejects where the folder is gone. */
async function useOf(folder: string): Promise<DiskUse> {
  const { blocks, bfree, bavail, bsize } = await statfs(folder);
  const used = blocks - bfree;
  return { percent: (used / Math.max(1, used + bavail)) * 100, freeBytes: bavail * bsize };
}

export function stateOf({ percent, freeBytes }: DiskUse, limits: DiskLimits): DiskState {
  if (percent >= limits.fullPercent && freeBytes < limits.spareBytes) return 'full';
  if (percent >= limits.lowPercent && freeBytes < 2 * limits.spareBytes) return 'low';
  return 'ok';
}

const LOOK_EVERY_MS = 1000;

/** Watches the disk, so that the ledger stops before the disk ends, and goes on when there is room. */
export function createDisk(
  config: { readonly folder: string } & DiskLimits,
  d: { readonly clock: Clock; readonly logger: Logger; readonly use?: (folder: string) => Promise<DiskUse> },
) {
  const use = d.use ?? useOf;
  let timer: Timer | undefined;
  let running = false;
  let state: DiskState = 'ok';
  let last: DiskUse = { percent: 0, freeBytes: 0 };

  function words(): string {
    const free = `${Math.round(last.freeBytes / 1024 / 1024)} MB free`;
    return `the disk of ${config.folder} is ${last.percent.toFixed(1)} % full, ${free}`;
  }

  async function look(): Promise<void> {
    try {
      last = await use(config.folder);
      const now = stateOf(last, config);
      if (now === state) return;
      state = now;
      if (now === 'ok') d.logger.info(last, `${words()}: there is room again`);
      else d.logger.warn(last, now === 'full' ? `${words()}: nothing new is taken in` : words());
    } catch (error) {
      d.logger.debug({ err: error }, 'the disk could not be looked at');
    }
  }

  function next(): void {
    if (!running) return;
    timer = d.clock.setTimeout(() => void look().then(next), LOOK_EVERY_MS);
  }

  return {
    async start(): Promise<void> {
      running = true;
      await look();
      next();
    },
    stop(): void {
      running = false;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      timer = undefined;
    },
    get state() {
      return state;
    },
    get use() {
      return last;
    },
    /** Why nothing is taken in, or undefined. */
    get full(): BrinkError | undefined {
      if (state !== 'full') return undefined;
      return new BrinkError('E_STORAGE_FULL', `${words()}; expected less than ${config.fullPercent} %`);
    },
    get note(): string | undefined {
      return state === 'low' ? words() : undefined;
    },
  };
}
export type Disk = ReturnType<typeof createDisk>;
