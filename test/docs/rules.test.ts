import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';

// The site of docs/rules.md is right, and its rules do what their tests say.

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'brink-rules-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const [, text = ''] = /```yaml\n(.*?)```/s.exec(readFileSync(join(root, 'docs/rules.md'), 'utf8')) ?? [];

function check(yaml: string): { code: number | null; said: string } {
  writeFileSync(join(folder, 'site.yaml'), yaml);
  const checker = join(root, 'services/control/src/check.ts');
  const { status, stdout } = spawnSync(process.execPath, [checker, folder, '--models', join(root, 'models')]);
  return { code: status, said: String(stdout) };
}

it('the guide to rules shows a site that is right, with tests that hold', () => {
  expect(check(text)).toMatchObject({ code: 0, said: expect.stringContaining('is valid') });
});

it.each([
  ['22:00-06:00', '00:00-24:00', 'by day they are not'],
  ['within_ms: 2000', 'within_ms: 1000', 'both say so'],
])('the negative control: with %s made %s its test fails', (from, to, name) => {
  expect(text).toContain(from);
  const { code, said } = check(text.replace(from, to));
  expect([code, said]).toEqual([1, expect.stringContaining(`found the test "${name}`)]);
});
