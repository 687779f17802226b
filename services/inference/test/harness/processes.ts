import { readdir, readFile } from 'node:fs/promises';
import { eventually } from './inference.ts';

/** Pids of the runners that this process started, by /proc. */
export async function runners(): Promise<number[]> {
  const found: number[] = [];
  for (const entry of await readdir('/proc')) {
    if (!/^\d+$/.test(entry)) continue;
    const command = await readFile(`/proc/${entry}/cmdline`, 'utf8').catch(() => '');
    const stat = await readFile(`/proc/${entry}/stat`, 'utf8').catch(() => '');
    // pid (comm) state ppid; comm may hold spaces and brackets.
    const [state, parent] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    if (command.includes('runner/main.ts') && Number(parent) === process.pid && state !== 'Z')
      found.push(Number(entry));
  }
  return found;
}

/** Waits until there is one, other than `but`. */
export function aRunner(but: readonly number[] = []): Promise<number> {
  return eventually('a runner', async () => (await runners()).find((pid) => !but.includes(pid)));
}
