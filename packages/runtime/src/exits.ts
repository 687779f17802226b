import { Counter, type Registry } from 'prom-client';

/**
 * Why a child ended. `memory`: it held more than it may. `oom` is a guess: SIGKILL that we did not send (the kernel's), or V8's own
 * words. `recycled`: it was well and is replaced by a fresh one. `not-up`: no hello, or `onUp` failed. `gave-up` is counted besides,
 * when the restart budget is spent.
 */
export type ExitReason =
  | 'stopped'
  | 'crashed'
  | 'killed-deadline'
  | 'killed'
  | 'memory'
  | 'recycled'
  | 'oom'
  | 'not-up'
  | 'not-spawned'
  | 'gave-up';

export interface ChildMetrics {
  exits: Counter<'child' | 'reason'>;
  restarts: Counter<'child'>;
}

/** One per registry. */
export function createChildMetrics(registry: Registry): ChildMetrics {
  const registers = [registry];
  return {
    exits: new Counter({
      name: 'brink_child_exits_total',
      help: 'Ends of child processes, by reason',
      labelNames: ['child', 'reason'],
      registers,
    }),
    restarts: new Counter({
      name: 'brink_child_restarts_total',
      help: 'Restarts of child processes',
      labelNames: ['child'],
      registers,
    }),
  };
}

export function reasonOf(end: {
  code: number | null;
  signal: NodeJS.Signals | null;
  /** what `kill` was told */
  killed: string | undefined;
  stopping: boolean;
  /** the last lines on stderr */
  tail: string;
  spawnError: Error | undefined;
}): ExitReason {
  if (end.stopping) return 'stopped';
  if (end.killed === 'deadline') return 'killed-deadline';
  if (end.killed === 'not-up' || end.killed === 'memory' || end.killed === 'recycled') return end.killed;
  if (end.killed !== undefined) return 'killed';
  if (end.spawnError !== undefined && end.code === null && end.signal === null) return 'not-spawned';
  if (
    end.signal === 'SIGKILL' ||
    /heap out of memory|process out of memory|std::bad_alloc|Cannot allocate memory/.test(end.tail)
  )
    return 'oom';
  return 'crashed';
}
