import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { notable, openLog } from './logs.ts';

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'brink-logs-'));
});
afterEach(() => rm(folder, { recursive: true, force: true }));

test('a log keeps its newest lines and never more than twice its limit', async () => {
  const path = join(folder, 'x.log');
  const log = openLog(path, 1000);
  for (let i = 0; i < 1000; i++) log.write(`line ${i}`);
  log.close();
  expect((await stat(path)).size + (await stat(`${path}.1`)).size).toBeLessThanOrEqual(2000);
  expect(await readFile(path, 'utf8')).toMatch(/line 999\n$/);
});

test('a folder that is gone costs the log, not the service', () => {
  const log = openLog(join(folder, 'nope', 'x.log'));
  expect(() => log.write('x')).not.toThrow();
});

test('warnings are shown with what they say; the rest stays in the file', () => {
  expect(notable('{"level":30,"msg":"fine"}')).toBeUndefined();
  expect(
    notable('{"level":40,"time":"x","pid":1,"service":"gateway","code":"E_BROKER","msg":"not connected"}'),
  ).toEqual({
    severe: false,
    text: 'not connected: code E_BROKER',
  });
  expect(notable('{"level":50,"err":{"message":"boom","stack":"…"},"msg":"failed"}')).toEqual({
    severe: true,
    text: 'failed: boom',
  });
  expect(notable('Segmentation fault')).toEqual({ severe: false, text: 'Segmentation fault' });
});
