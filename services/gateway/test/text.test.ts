import { createHash } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { writePassport } from './harness/neighbours.ts';
import { expectLaws, SITE, startSite, until } from './harness/site.ts';

const VOCABULARY = { '[PAD]': 0, '[UNK]': 1, open: 2, the: 3, door: 4 };
const TOKENIZER = {
  version: '1.0',
  added_tokens: [],
  normalizer: { type: 'Lowercase' },
  pre_tokenizer: { type: 'Whitespace' },
  post_processor: null,
  decoder: null,
  model: { type: 'WordLevel', vocab: VOCABULARY, unk_token: '[UNK]' },
};

it('a text becomes the numbers of its words, one unit per frame; what is no text is refused by name', async () => {
  const notes = { format: 'text' as const, frame_age_ms_max: 10_000, pipelines: { intent: { model: 'words' } } };
  await using site = await startSite({ configuration: { ...SITE, streams: { notes } } });
  const tokenizer = Buffer.from(JSON.stringify(TOKENIZER));
  const text = { tokenizer: 'tokenizer.json', length_max: 4 };
  await mkdir(join(site.modelsDir, 'words/1'), { recursive: true });
  await writeFile(join(site.modelsDir, 'words/1/tokenizer.json'), tokenizer);
  const words = await writePassport(site.modelsDir, {
    name: 'words',
    inputs: [
      { tensor: 'ids', text },
      { tensor: 'mask', text: { ...text, as: 'mask' } },
    ],
    files: [{ path: 'tokenizer.json', sha256: createHash('sha256').update(tokenizer).digest('hex') }],
  });
  await site.inference.announce([site.cats, words]);
  await site.ready();
  await site.frame('pad-1', 'notes', 'Open the gate', 'k3v9-1');
  await until(() => site.control.outcomes.length === 1);
  expect(site.control.outcomes[0]).toMatchObject({ outcome: 'decided', evidence: { frame: { type: 'text/plain' } } });
  const [{ decide, tensors } = { decide: undefined, tensors: [] }] = site.inference.decides;
  expect(decide?.units[0]?.inputs.map(({ dtype, shape }) => [dtype, shape])).toEqual([
    ['int32', [4]],
    ['int32', [4]],
  ]);
  const numbers = tensors.map((bytes) => [...new Int32Array(new Uint8Array(bytes).buffer)]);
  expect(numbers).toEqual([
    [2, 3, 1, 0],
    [1, 1, 1, 0],
  ]);
  await site.frame('pad-1', 'notes', Buffer.from([0xff, 0xfe, 0x41]), 'k3v9-2');
  await until(() => site.control.letters.length === 1);
  expect(site.control.letters[0]?.error.code).toBe('E_TYPE');
  expectLaws(site);
});
