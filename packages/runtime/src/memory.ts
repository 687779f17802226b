import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Clock, Timer } from './clock.ts';

/** Between two looks. What a process can take meanwhile is what the kernel's limit is for. */
const LOOK_MS = 100;
const LIMIT_MS_MAX = 5000;

export interface MemoryWatch {
  /** What it holds of its own now, in bytes, code and mapped files not counted; undefined where that cannot be seen. */
  readonly bytes: number | undefined;
  stop(): void;
}

export interface MemoryDependencies {
  clock: Clock;
  /** it holds more than it may */
  exceeded: (bytes: number) => void;
  /** what cannot be limited here, and why; not called where all can */
  unlimited: (reason: string) => void;
}

/**
 * Limits what a process takes from now on; what it holds already is not counted. Twice, on Linux only:
 * - RLIMIT_DATA, by `prlimit` of util-linux: allocations beyond it fail, so that who asked for too much hears it and lives on. It can
 *   be set from outside and afterwards, unlike a limit at the start, which would have to guess what Node.js itself takes. RLIMIT_AS is
 *   of no use: V8 reserves address space by the gigabyte.
 * - a look at /proc each 100 ms, for where there is no `prlimit`, and for memory that was reserved before and is used now.
 * @param bytesMax beyond what it holds now
 */
export async function limitMemory(pid: number, bytesMax: number, d: MemoryDependencies): Promise<MemoryWatch> {
  const before = readMemory(pid);
  if (before === undefined) {
    d.unlimited(`/proc/${pid}/status cannot be read on ${process.platform}`);
    return { bytes: undefined, stop() {} };
  }
  await setDataLimit(pid, before.dataBytes + bytesMax).catch((reason: unknown) =>
    d.unlimited(`prlimit: ${reason instanceof Error ? reason.message : String(reason)}`),
  );
  const baseBytes = before.ownBytes;
  let timer: Timer | undefined = d.clock.setTimeout(look, LOOK_MS);
  function look(): void {
    const now = readMemory(pid);
    if (now === undefined || timer === undefined) return;
    if (now.ownBytes - baseBytes > bytesMax) d.exceeded(now.ownBytes);
    else timer = d.clock.setTimeout(look, LOOK_MS);
  }
  return {
    get bytes() {
      return readMemory(pid)?.ownBytes;
    },
    stop() {
      if (timer !== undefined) d.clock.clearTimeout(timer);
      timer = undefined;
    },
  };
}

function setDataLimit(pid: number, bytes: number): Promise<void> {
  return new Promise((resolve, reject) => {
    execFile('prlimit', [`--pid=${pid}`, `--data=${bytes}:${bytes}`], { timeout: LIMIT_MS_MAX }, (error) =>
      error === null ? resolve() : reject(error),
    );
  });
}

/** https://man7.org/linux/man-pages/man5/proc_pid_status.5.html */
function readMemory(pid: number): { dataBytes: number; ownBytes: number } | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    const bytes = (field: string) => Number(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(status)?.[1]) * 1024;
    const found = { dataBytes: bytes('VmData'), ownBytes: bytes('RssAnon') };
    return Number.isFinite(found.dataBytes + found.ownBytes) ? found : undefined;
  } catch {
    return undefined;
  }
}
