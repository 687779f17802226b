import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';

const repository = join(import.meta.dirname, '../..');
const pages = execFileSync('git', ['ls-files', '-co', '--exclude-standard', '*.md'], {
  cwd: repository,
  encoding: 'utf8',
})
  .split('\n')
  .filter((page) => page !== '' && existsSync(join(repository, page)));

describe('links', () => {
  it.each(pages)('of %s lead somewhere', (page) => {
    const text = readFileSync(join(repository, page), 'utf8');
    const targets = [...text.matchAll(/\]\((?!https?:|#|mailto:)([^)#\s]+)/g)].map((match) => match[1] as string);
    const broken = targets.filter((target) => !existsSync(join(repository, dirname(page), target)));
    expect(broken).toEqual([]);
  });
});
