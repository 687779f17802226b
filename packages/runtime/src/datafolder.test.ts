import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test } from 'vitest';
import { openDataFolder } from './datafolder.ts';

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const step of undo.splice(0).reverse()) await step();
});
function temporary(): string {
  const folder = mkdtempSync(join(tmpdir(), 'brink-data-'));
  undo.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}
async function open(path: string) {
  const folder = await openDataFolder(path);
  undo.push(() => folder.release());
  return folder;
}

/** Another process that owns the folder until it is killed. */
async function owner(path: string) {
  const module = fileURLToPath(new URL('./datafolder.ts', import.meta.url));
  const code = `import { openDataFolder } from ${JSON.stringify(module)};
    await openDataFolder(${JSON.stringify(path)}); console.log('mine'); setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'pipe', 'inherit'] });
  undo.push(() => child.kill('SIGKILL'));
  await new Promise((resolve) => child.stdout.once('data', resolve));
  return { child, gone: new Promise((resolve) => child.once('exit', resolve)) };
}

describe('a data folder', () => {
  test('is made, and belongs to one', async () => {
    const path = join(temporary(), 'deep', 'down');
    const folder = await open(path);
    await expect(openDataFolder(path)).rejects.toMatchObject({ code: 'E_LOCKED' });
    await folder.release();
    await folder.release();
    await open(path);
  });

  test('of a live process is E_LOCKED, with its pid', async () => {
    const path = temporary();
    const { child } = await owner(path);
    await expect(openDataFolder(path)).rejects.toThrow(new RegExp(`E_LOCKED.*${child.pid}.*; stop that one first`));
  });

  test('of a process that was killed is free at once, whatever its pid is now', async () => {
    const path = temporary();
    const { child, gone } = await owner(path);
    child.kill('SIGKILL');
    await gone;
    writeFileSync(join(path, 'owner.json'), JSON.stringify({ pid: process.ppid, since: '2026-01-01' }));
    await open(path);
  });

  test('with a path longer than a socket could have is no problem', async () => {
    await open(join(temporary(), 'x'.repeat(120)));
  });

  test('that cannot be written is E_STORAGE_READONLY', async () => {
    const file = join(temporary(), 'file');
    writeFileSync(file, '');
    for (const path of [file, join(file, 'below'), '/proc/brink', '/sys/brink']) {
      await expect(openDataFolder(path)).rejects.toMatchObject({ code: 'E_STORAGE_READONLY' });
    }
  });

  test('whose lock was damaged says so instead of taking it', async () => {
    const path = temporary();
    writeFileSync(join(path, 'lock.db'), 'x'.repeat(5000));
    await expect(openDataFolder(path)).rejects.toMatchObject({ code: 'E_STORAGE_CORRUPT' });
  });
});
