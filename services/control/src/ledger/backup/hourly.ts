import { statfsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { BrinkError } from '@brink/protocol';
import { type Clock, type Logger, onlyCompileCache, type Timer } from '@brink/runtime';
import type { CopyMade, NotReady, WorkerData } from '../messages.ts';
import { LEDGER } from '../store.ts';
import { errorOf } from '../thread.ts';
import { type LedgerCopy, listCopies } from './copies.ts';

/** After a start: others have more urgent things to do first. */
const FIRST_MS = 60_000;
/** A copy is made where the disk has so many times its size left. */
const ROOM = 1.5;

export interface Backups {
  start(): void;
  /** Waits for the copy that is being made. */
  stop(): Promise<void>;
  /** Now, however young the last one is. @param keep fewer than usually. @throws BrinkError E_STORAGE_FULL, E_STORAGE_CORRUPT */
  make(keep?: number): Promise<LedgerCopy>;
  readonly stats: { readonly made: number; readonly failed: number; readonly lastMs: number | undefined };
}

/** Copies of the ledger, made at intervals in a thread of their own. @param o everyMs 0: only when asked for */
export function createBackups(
  o: { readonly folder: string; readonly everyMs: number; readonly keep: number },
  d: { clock: Clock; logger: Logger; onCorrupt: (detail: string) => void },
): Backups {
  let timer: Timer | undefined;
  let running: Promise<unknown> | undefined;
  let active = false;
  let made = 0;
  let failed = 0;
  let lastMs: number | undefined;

  async function copy(keep: number): Promise<LedgerCopy> {
    try {
      checkRoom(o.folder);
      const done = await copyInThread(o.folder, { keep, nowMs: d.clock.now() });
      made += 1;
      lastMs = done.made_ms;
      return done;
    } catch (reason) {
      failed += 1;
      const error = BrinkError.from(reason);
      if (error.code === 'E_STORAGE_CORRUPT') d.onCorrupt(error.detail);
      throw error;
    }
  }

  /** One after the other: who asks for one while another is being made wants what is there now. */
  function make(keep = o.keep): Promise<LedgerCopy> {
    const turn = (running ?? Promise.resolve()).then(
      () => copy(keep),
      () => copy(keep),
    );
    running = turn;
    const over = () => {
      if (running === turn) running = undefined;
    };
    turn.then(over, over);
    return turn;
  }

  function next(waitMs: number): void {
    if (!active || o.everyMs === 0) return;
    timer = d.clock.setTimeout(() => {
      void make()
        .then(
          ({ file, n, bytes }) => d.logger.info({ file, n, bytes }, 'the ledger was copied'),
          (reason: unknown) => {
            const { code, detail } = BrinkError.from(reason);
            d.logger.warn({ code, detail }, 'the ledger could not be copied');
          },
        )
        .then(() => next(o.everyMs));
    }, waitMs);
  }

  return {
    start() {
      active = true;
      lastMs = listCopies(o.folder)[0]?.made_ms;
      const age = lastMs === undefined ? Number.POSITIVE_INFINITY : d.clock.now() - lastMs;
      // A clock that was put back makes a copy of the future: no reason to wait for that day.
      next(age < 0 ? FIRST_MS : Math.max(FIRST_MS, o.everyMs - age));
    },
    async stop() {
      active = false;
      if (timer !== undefined) d.clock.clearTimeout(timer);
      timer = undefined;
      await running?.catch(() => {});
    },
    make,
    get stats() {
      return { made, failed, lastMs };
    },
  };
}

function checkRoom(folder: string): void {
  const { bavail, bsize } = statfsSync(folder);
  const size = statSync(join(folder, LEDGER)).size;
  const free = bavail * bsize;
  if (free >= size * ROOM) return;
  throw new BrinkError(
    'E_STORAGE_FULL',
    `${folder}: ${free} bytes are free; expected ${ROOM} times the ledger's ${size}`,
  );
}

function copyInThread(folder: string, o: { keep: number; nowMs: number }): Promise<LedgerCopy> {
  const workerData: Pick<WorkerData, 'role' | 'folder' | 'nowMs' | 'keep'> = { role: 'copy', folder, ...o };
  return new Promise((resolve, reject) => {
    const worker = new Worker(new URL('../worker.ts', import.meta.url), {
      workerData,
      name: 'ledger-copy',
      env: onlyCompileCache(),
      execArgv: ['--disable-warning=ExperimentalWarning'],
    });
    let answer: CopyMade | NotReady | undefined;
    worker.on('message', (message: CopyMade | NotReady) => {
      answer = message;
    });
    worker.on('error', (error) => reject(BrinkError.from(error)));
    worker.on('exit', () => {
      if (answer === undefined) reject(new BrinkError('E_INTERNAL', 'the thread that copies the ledger ended'));
      else if ('failure' in answer) reject(errorOf(answer.failure));
      else resolve(answer.copy);
    });
  });
}
