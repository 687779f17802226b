import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

/** CPU seconds by name: of each process with all its descendants. Linux only. */
export type CpuSeconds = Record<string, number>;

interface Process {
  readonly parent: number;
  /** user and system, and those of children that ended */
  readonly ticks: number;
}

/** [proc_pid_stat(5)] The name in brackets may hold anything, so fields are counted from its end: 4 ppid, 14-17 times in ticks. */
function readProcess(pid: string): Process | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const ticks = fields.slice(11, 15).reduce((sum, field) => sum + Number(field), 0);
    return { parent: Number(fields[1]), ticks };
  } catch {
    return undefined; // it has ended since
  }
}

function readProcesses(): Map<number, Process> {
  const all = new Map<number, Process>();
  for (const name of readdirSync('/proc')) {
    const found = /^\d+$/.test(name) ? readProcess(name) : undefined;
    if (found !== undefined) all.set(Number(name), found);
  }
  return all;
}

/** @param pids by name @returns undefined where there is no /proc */
export function createCpuMeter(pids: Readonly<Record<string, number>>): { read(): CpuSeconds } | undefined {
  if (process.platform !== 'linux') return undefined;
  const ticksPerSecond = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }));

  function ticksOf(pid: number, all: ReadonlyMap<number, Process>): number {
    let ticks = all.get(pid)?.ticks ?? 0;
    for (const [child, { parent }] of all) if (parent === pid) ticks += ticksOf(child, all);
    return ticks;
  }

  return {
    read() {
      const all = readProcesses();
      return Object.fromEntries(
        Object.entries(pids).map(([name, pid]) => [name, ticksOf(pid, all) / ticksPerSecond] as const),
      );
    },
  };
}

/** RSS by name: of each process with all its descendants. Linux only. @param pids by name */
export function residentBytes(pids: Readonly<Record<string, number>>): Record<string, number> {
  const all = readProcesses();
  const pageBytes = Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' }));
  const ownOf = (pid: number) => {
    try {
      // [proc_pid_statm(5)] The second number is what is resident.
      return pageBytes * Number(readFileSync(`/proc/${pid}/statm`, 'latin1').split(' ')[1]);
    } catch {
      return 0; // it has ended since
    }
  };
  function bytesOf(pid: number): number {
    let bytes = ownOf(pid);
    for (const [child, { parent }] of all) if (parent === pid) bytes += bytesOf(child);
    return bytes;
  }
  return Object.fromEntries(Object.entries(pids).map(([name, pid]) => [name, bytesOf(pid)]));
}

/** CPU per frame over several stretches. */
export function createCpuSum() {
  const sum: Record<string, number> = {};
  let frames = 0;
  return {
    add(before: CpuSeconds, after: CpuSeconds, more: number): void {
      frames += more;
      for (const [name, seconds] of Object.entries(after)) {
        sum[name] = (sum[name] ?? 0) + seconds - (before[name] ?? 0);
      }
    },
    /** µs, whole numbers */
    get perFrame(): Record<string, number> {
      const micros = Object.entries(sum).map(([name, seconds]) => [
        name,
        Math.round((seconds * 1e6) / Math.max(1, frames)),
      ]);
      return Object.fromEntries(micros);
    },
  };
}
