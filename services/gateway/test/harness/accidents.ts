import type { SpoolWorker } from '../../src/spool/spool.ts';

/** A thread of the spool with accidents, see spool-worker.ts. */
export const spoolWith = (accidents: Record<string, string | number>): SpoolWorker => ({
  module: new URL('./spool-worker.ts', import.meta.url),
  argv: [
    new URLSearchParams(
      Object.entries(accidents).map(([key, value]): [string, string] => [key, String(value)]),
    ).toString(),
  ],
});
