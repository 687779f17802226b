import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '@brink/runtime';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createSupervised, type Ended } from './child.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-child-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** A child that runs `code`, and what happened to it. */
async function child(code: string) {
  const module = join(folder, 'child.mjs');
  await writeFile(module, code);
  const happened: (string | Ended)[] = [];
  const waiting = new Set<() => void>();
  const note = (what: string | Ended) => {
    happened.push(what);
    for (const look of waiting) look();
  };
  const plan = { name: 'gateway' as const, module, args: [], env: {}, needed: true };
  const events = { started: () => note('started'), line: (text: string) => note(text), ended: note };
  const supervised = createSupervised(
    plan,
    { PATH: process.env['PATH'] ?? '' },
    { clock: systemClock, random: () => 0, events },
  );
  return {
    supervised,
    happened,
    until: (found: (all: typeof happened) => boolean) =>
      new Promise<void>((resolve) => {
        const look = () => {
          if (found(happened)) resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

const count = (all: readonly unknown[], what: string) => all.filter((one) => one === what).length;

test('a child that crashes is started again, within a budget', async () => {
  const { supervised, happened, until } = await child('process.exit(1)');
  supervised.start();
  await until((all) => all.some((one) => typeof one === 'object' && one.againMs === undefined));
  expect(count(happened, 'started')).toBe(6);
  await supervised.stop();
});

test('a child that refuses its configuration is not started again, and its line is kept', async () => {
  const { supervised, happened, until } = await child(
    'process.stderr.write("brink gateway: E_CONFIG: x.yaml:1:1\\n"); process.exit(78)',
  );
  supervised.start();
  await until((all) => all.some((one) => typeof one === 'object'));
  expect(happened.at(-1)).toEqual({
    code: 78,
    signal: null,
    stderr: ['brink gateway: E_CONFIG: x.yaml:1:1'],
    againMs: undefined,
  });
});

test('kill takes the processes along that the child started', async () => {
  const { supervised, happened, until } = await child(`
    import { spawn } from 'node:child_process';
    const inner = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
    console.log('pid ' + inner.pid);
    setInterval(() => {}, 1000);`);
  supervised.start();
  await until((all) => all.some((one) => typeof one === 'string' && one.startsWith('pid ')));
  const pid = Number(String(happened.find((one) => String(one).startsWith('pid '))).slice(4));
  supervised.kill();
  await until((all) => all.some((one) => typeof one === 'object'));
  await expect.poll(() => isAlive(pid)).toBe(false);
});

test('the child sees the end of its stdin when its parent goes', async () => {
  const { supervised, until } = await child(`
    console.log('parent pipe ' + process.env.BRINK_PARENT_PIPE);
    process.stdin.on('end', () => process.exit(0)).resume();`);
  supervised.start();
  await until((all) => all.includes('parent pipe 1'));
  await supervised.stop();
  expect(supervised.pid).toBeUndefined();
});

/** Nobody may reap an orphan here: a zombie counts as dead. */
function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch (error) {
    // macOS has no /proc, and reaps.
    return process.platform === 'darwin' && (error as NodeJS.ErrnoException).code === 'ENOENT';
  }
}
