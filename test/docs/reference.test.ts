import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { referencePages } from './reference.ts';

describe('docs/reference', () => {
  it.each(Object.entries(referencePages()))('%s says what the code says (else: npm run docs)', (name, text) => {
    expect(readFileSync(join(import.meta.dirname, '../../docs/reference', name), 'utf8')).toBe(text);
  });
});
