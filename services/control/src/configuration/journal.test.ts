import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, lstat, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { finishPending, writeChanges } from './journal.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'brink-journal-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const path = (name: string) => join(dir, name);
const texts = async () => {
  const names = (await readdir(dir)).sort();
  return Object.fromEntries(await Promise.all(names.map(async (name) => [name, await readFile(path(name), 'utf8')])));
};

test('several files are replaced, added and removed together; a link stays a link, rights stay', async () => {
  await writeFile(path('a.yaml'), 'a1');
  await chmod(path('a.yaml'), 0o640);
  await mkdir(path('real'));
  await writeFile(path('real/b'), 'b1');
  await symlink('real/b', path('b.yaml'));
  await writeFile(path('c.yaml'), 'c1');
  await writeChanges(dir, [
    { name: path('a.yaml'), before: 'a1', after: 'a2' },
    { name: path('b.yaml'), before: 'b1', after: 'b2' },
    { name: path('c.yaml'), before: 'c1', after: undefined },
    { name: path('d.yaml'), before: undefined, after: 'd2' },
  ]);
  expect((await readdir(dir)).sort()).toEqual(['a.yaml', 'b.yaml', 'd.yaml', 'real']);
  expect(await readFile(path('real/b'), 'utf8')).toBe('b2');
  expect((await lstat(path('b.yaml'))).isSymbolicLink()).toBe(true);
  expect((await lstat(path('a.yaml'))).mode & 0o777).toBe(0o640);
});

test('a file that somebody changed meanwhile stays as it is, and so do the others', async () => {
  await writeFile(path('a.yaml'), 'a1');
  await writeFile(path('b.yaml'), 'by hand');
  const changes = [
    { name: path('a.yaml'), before: 'a1', after: 'a2' },
    { name: path('b.yaml'), before: 'b1', after: 'b2' },
  ];
  await expect(writeChanges(dir, changes)).rejects.toMatchObject({ code: 'E_CONFLICT' });
  expect(await texts()).toEqual({ 'a.yaml': 'a1', 'b.yaml': 'by hand' });
});

describe('a power cut', () => {
  test('between two files is made up for by whoever comes next; what was not yet begun never happened', async () => {
    await writeFile(path('a.yaml'), 'a2');
    await writeFile(path('b.yaml'), 'b1');
    await mkdir(path('.pending'));
    const changes = [
      { name: 'a.yaml', text: 'a2' },
      { name: 'b.yaml', text: 'b2' },
      { name: '../../evil.yaml', text: null },
    ];
    await writeFile(path('.pending/changes.json'), JSON.stringify(changes));
    await mkdir(path('.staged-0123'));
    await writeFile(path('.staged-0123/changes.json'), '[{"name":"a.yaml","text":"a3"}]');
    expect(await finishPending(dir)).toBe(true);
    expect(await texts()).toEqual({ 'a.yaml': 'a2', 'b.yaml': 'b2' });
    expect(await finishPending(dir)).toBe(false);
  });

  test('at any moment leaves all of a change or none', async () => {
    const files = ['a', 'b', 'c', 'd'].map((name) => path(`${name}.yaml`));
    for (const name of files) await writeFile(name, '0');
    const script = `
      const { writeChanges } = await import(${JSON.stringify(new URL('./journal.ts', import.meta.url).href)});
      const files = ${JSON.stringify(files)};
      console.log('ready');
      for (let n = 0; ; n++) {
        const change = (name) => ({ name, before: String(n), after: String(n + 1) });
        await writeChanges(${JSON.stringify(dir)}, files.map(change));
      }`;
    const rounds = process.env['BRINK_TEST_SIZE'] === 'long' ? 60 : 4;
    for (let round = 0; round < rounds; round++) {
      for (const name of files) await writeFile(name, '0');
      const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(child.stdout, 'data');
      // Each kill falls somewhere else between two system calls.
      const looks = 1 + ((round * 7) % 13);
      for (let look = 0; look < looks; look++) await readFile(path('a.yaml'), 'utf8');
      child.kill('SIGKILL');
      await once(child, 'close');
      await finishPending(dir);
      const after = Object.values(await texts());
      expect(new Set(after).size, after.join(' ')).toBe(1);
      expect(after).toHaveLength(4);
    }
  });
});
