import { BrinkError } from '@brink/protocol';
import type { Clock, Logger, Part, Timer } from '@brink/runtime';
import type { Log } from './log.ts';
import type { Group, GroupReply } from './messages.ts';
import type { Queries } from './queries.ts';
import type { Schedule } from './schedule.ts';
import type { Thread } from './thread.ts';

/** Until a thread that ended unexpectedly is started again, ms. */
const REOPEN_MS = 1000;
/** After a look at everything. */
const SUSPECT_AGAIN_MS = 600_000;

export interface LifecycleDeps {
  readonly writer: Thread<Group | 'stop', GroupReply>;
  readonly queries: Queries;
  readonly log: Log;
  readonly schedule: Schedule;
  /** What it does by itself beside the schedule: copies, and the daily look at every page. */
  readonly care: { start(): void; stop(): Promise<void> };
  /** The next start looks at everything, or no longer does. */
  readonly beDeep: (deep: boolean) => void;
  /** What was lost, in sentences; empty: nothing that nobody knows of. */
  readonly onDamage: (damage: readonly string[]) => void;
  /** Why nothing can be committed; undefined: it can. */
  readonly onProblem: (problem: string | undefined) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Opens and closes the ledger's threads, in order, and starts them again when one ends. */
export function createLifecycle(d: LifecycleDeps): Part & { suspect(detail: string): void } {
  let reopening: Timer | undefined;
  let suspectedMs = Number.NEGATIVE_INFINITY;

  async function open(): Promise<void> {
    try {
      // Loading the modules takes longer than opening the store: both threads do it at once.
      d.queries.prepare();
      const ready = await d.writer.start(d.log.reply, onGone);
      for (const warning of ready.warnings) d.logger.warn({ warning }, 'the ledger opened with a warning');
      for (const damage of ready.damage)
        d.logger.error({ code: 'E_STORAGE_CORRUPT', damage }, 'the ledger was damaged');
      d.onDamage(ready.damage);
      await d.queries.start(onGone);
      d.log.open();
      d.onProblem(undefined);
      d.schedule.start(ready.nextTimerMs);
      d.care.start();
      d.beDeep(false);
    } catch (error) {
      await close('the ledger could not be opened');
      throw error;
    }
  }

  async function close(why: string): Promise<void> {
    d.schedule.stop();
    await d.care.stop();
    await d.log.drain();
    d.log.close({ code: 'E_UNAVAILABLE', detail: why });
    d.onProblem(why);
    await d.queries.stop();
    await d.writer.stop();
  }

  /** What was under way fails, and is sent again by who sent it. */
  function onGone(error: BrinkError): void {
    d.log.close({ code: 'E_UNAVAILABLE', detail: error.detail });
    d.onProblem(error.message);
    d.logger.error({ code: error.code, detail: error.detail }, 'a thread of the ledger ended; it is started again');
    reopening ??= d.clock.setTimeout(() => {
      reopening = undefined;
      close(error.message)
        .then(open)
        .catch((again: unknown) => onGone(BrinkError.from(again)));
    }, REOPEN_MS);
  }

  return {
    /** SQLite, or a checksum, said that the store is damaged: it is opened anew, with a look at all of it. */
    suspect(detail: string): void {
      const nowMs = d.clock.monotonic();
      // A look that found nothing is not made again and again.
      if (nowMs - suspectedMs < SUSPECT_AGAIN_MS) return;
      suspectedMs = nowMs;
      d.beDeep(true);
      onGone(new BrinkError('E_STORAGE_CORRUPT', detail));
    },
    async start(signal) {
      await open();
      if (!signal.aborted) return;
      await close('stopped while starting');
      throw new BrinkError('E_CANCELLED', 'stopped while starting');
    },
    async stop() {
      const stay = () => {
        if (reopening !== undefined) d.clock.clearTimeout(reopening);
        reopening = undefined;
      };
      stay();
      await close('the ledger was stopped');
      // A thread that ended meanwhile is not started again.
      stay();
    },
  };
}
