import type { Mirrored } from './integrity/mirror.ts';

/** Less may be how long a group waited before it was written down. */
const SET_MS = 60_000;

/** This start of the machine, and how long ago it was. */
export interface MachineTime {
  /** Empty: not known. */
  readonly machine: string;
  readonly upMs: number;
}

/**
 * By how much the clock was set while nobody looked, ms: 0 where it was not, or nothing tells. While the machine ran on, what
 * passed is known; after another start only that time does not go back.
 */
export function clockSetWhileDown(before: Mirrored | undefined, nowMs: number, now: MachineTime | undefined): number {
  if (before === undefined || now === undefined) return 0;
  const same = now.machine !== '' && now.machine === before.machine;
  const passedMs = same ? now.upMs - before.up_ms : Math.max(0, nowMs - before.at_ms);
  const setMs = Math.round(nowMs - before.at_ms - passedMs);
  return Math.abs(setMs) < SET_MS ? 0 : setMs;
}
