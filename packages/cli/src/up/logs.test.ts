import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { createRepeats, notable, openLog } from './logs.ts';

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

test('what the broker refuses has a line for people, one for each kind and device in a while', () => {
  const refused = (client: string, topic: string) =>
    notable(
      JSON.stringify({
        ...{ level: 40, service: 'broker', reason: 'acl_publish', code: 'E_FORBIDDEN', msg: 'refused' },
        ...{ client, detail: `anonymous operator "${client}" may not publish to "${topic}"`, from: '127.0.0.1' },
      }),
    );
  const first = refused('auto-1', 'brink/cam-9/frames/front');
  expect(first?.text).toBe(
    'refused E_FORBIDDEN: anonymous operator "auto-1" may not publish to "brink/cam-9/frames/front"',
  );
  let now = 0;
  const repeats = createRepeats(() => now);
  expect(repeats(first?.kind)).toBe(false);
  expect(repeats(refused('auto-2', 'brink/cam-9/frames/side')?.kind)).toBe(true);
  expect(repeats(refused('auto-2', 'brink/cam-8/frames/front')?.kind)).toBe(false);
  now = 10_000;
  expect(repeats(first?.kind)).toBe(false);
  expect(repeats(undefined)).toBe(false);
});
