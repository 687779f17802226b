import { type DataFolder, type Logger, openDataFolder, type Part } from '@brink/runtime';

/** One control per data folder. */
export function inDataFolder(path: string): Part {
  let folder: DataFolder | undefined;
  return {
    async start() {
      folder = await openDataFolder(path);
    },
    async stop() {
      await folder?.release();
    },
  };
}

/** Something that is done once everything runs; nobody waits for it, and `stop` does not either. */
export function afterwards(work: () => Promise<void>, logger: Logger): Part {
  return {
    start() {
      work().catch((error: unknown) => logger.warn({ err: error }, 'what was left undone could not be finished'));
      return Promise.resolve();
    },
    stop: () => Promise.resolve(),
  };
}

/** Starts without anybody waiting for it. */
export function unawaited(part: Part, logger: Logger): Part {
  return {
    start(signal) {
      part.start(signal).catch((error: unknown) => {
        if (!signal.aborted) logger.debug({ err: error }, 'stopped before it was connected');
      });
      return Promise.resolve();
    },
    stop: () => part.stop(),
  };
}
