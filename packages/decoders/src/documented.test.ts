import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DECODER_TASKS, OutputSchema, type Task } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { createDecoder } from './decoder.ts';
import { EXAMPLES } from './examples.testing.ts';

const page = readFileSync(join(import.meta.dirname, '../../../docs/decoders.md'), 'utf8');
const examples = [...page.matchAll(/```json\n([^`]*)```/g)].map(
  ([, text]) => JSON.parse(text ?? '') as { task: Task; output: { decoder: string } },
);

describe('docs/decoders.md', () => {
  it.each(examples.map((example) => [example.output.decoder, example] as const))(
    'has an example of %s that can be copied into a passport',
    (decoder, { task, output }) => {
      const labels = decoder === 'keyword' ? { names: ['yes', 'no', 'silence', 'unknown'], texts: {} } : undefined;
      const input = { width: 320, height: 320 };
      expect(createDecoder({ task, output: OutputSchema.parse(output), labels, input })).toBeTypeOf('function');
    },
  );

  it('has an example of every decoder, and a row that names its tasks', () => {
    const names = Object.keys(EXAMPLES);
    expect([...new Set(examples.map(({ output }) => output.decoder))].sort()).toEqual(names.toSorted());
    for (const [name, tasks] of Object.entries(DECODER_TASKS)) {
      const row = page.split('\n').find((line) => line.startsWith(`| \`${name}\` |`));
      expect(row?.split('|')[3]?.trim(), name).toBe(tasks.join(', '));
    }
  });
});
