import { BrinkError } from '@brink/protocol';

/** Anything that runs. Building it does nothing; `start` opens, `stop` undoes what `start` did, however far that came. */
export interface Part {
  /** @param signal aborts: give up starting. Not the signal to stop. */
  start(signal: AbortSignal): Promise<void>;
  /** Never throws on a part that is not running. */
  stop(): Promise<void>;
}

/** One after the other. If one fails, those before it (and it) are stopped again, and the error is thrown. */
export async function startAll(parts: readonly Part[], signal: AbortSignal): Promise<void> {
  const started: Part[] = [];
  for (const part of parts) {
    started.push(part);
    try {
      if (signal.aborted) throw new BrinkError('E_CANCELLED', 'stopped while starting');
      await part.start(signal);
    } catch (error) {
      await stopAll(started).catch(() => {});
      throw error;
    }
  }
}

/** In reverse order; every stop is tried. @throws the first error, after all were tried */
export async function stopAll(parts: readonly Part[]): Promise<void> {
  const errors: unknown[] = [];
  for (const part of [...parts].reverse()) {
    try {
      await part.stop();
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw BrinkError.from(errors[0]);
}
