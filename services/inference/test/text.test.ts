import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { encode, graph, model, node, tensor, value } from '@brink/onnx';
import type { Passport } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from './harness/inference.ts';
import { writeModel } from './harness/models.ts';
import { startModels } from './harness/repository.ts';

// A language model in small: embeddings of tokens and of sentences, their mean under the mask, a linear layer. What it is
// fed must be the numbers of the Rust library (packages/decode/fixtures/make_tokenizers.py), as int64.

const FIXTURE = join(import.meta.dirname, '../../../packages/decode/fixtures/tokenizers.json');
const { length, texts, made } = JSON.parse(await readFile(FIXTURE, 'utf8')) as {
  length: number;
  texts: string[];
  made: { name: string; tokenizer: object; ids: number[][]; masks: string[] }[];
};
const { tokenizer, ids, masks } = made[0]!;
const LABELS = ['quiet', 'warm', 'hot'];
const [VOCAB, WIDTH] = [400, 4];

/** mulberry32 */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
const random = seeded(5);
const uniform = (size: number) => Float32Array.from({ length: size }, () => 6 * random() - 3);
const [tokens, sentences, weights] = [uniform(VOCAB * WIDTH), uniform(2 * WIDTH), uniform(WIDTH * 3)];

const GRAPH = encode(
  model(
    graph({
      inputs: ['input_ids', 'attention_mask', 'token_type_ids'].map((name) =>
        value(name, 'int64', ['batch', 'length']),
      ),
      outputs: [value('logits', 'float32', ['batch', 3])],
      tensors: [
        tensor('tokens', [VOCAB, WIDTH], tokens),
        tensor('sentences', [2, WIDTH], sentences),
        tensor('weights', [WIDTH, 3], weights),
        tensor('axis', [1], BigInt64Array.of(1n)),
        tensor('last', [1], BigInt64Array.of(2n)),
      ],
      nodes: [
        node('Gather', ['tokens', 'input_ids'], ['token']),
        node('Gather', ['sentences', 'token_type_ids'], ['sentence']),
        node('Add', ['token', 'sentence'], ['both']),
        node('Cast', ['attention_mask'], ['mask'], { to: 1 }),
        node('Unsqueeze', ['mask', 'last'], ['column']),
        node('Mul', ['both', 'column'], ['seen']),
        node('ReduceSum', ['seen', 'axis'], ['sum'], { keepdims: 0 }),
        node('ReduceSum', ['mask', 'axis'], ['count'], { keepdims: 1 }),
        node('Div', ['sum', 'count'], ['mean']),
        node('MatMul', ['mean', 'weights'], ['logits']),
      ],
    }),
  ),
);

/** The same, by hand, of the numbers of the Rust library. */
function expected(text: number): { label: string; score: number } {
  const seen = ids[text]!.filter((_, i) => masks[text]![i] === '1');
  const mean = Array.from(
    { length: WIDTH },
    (_, k) => seen.reduce((sum, id) => sum + tokens[id * WIDTH + k]! + sentences[k]!, 0) / seen.length,
  );
  const logits = LABELS.map((_, c) => mean.reduce((sum, x, k) => sum + x * weights[k * 3 + c]!, 0));
  const all = logits.reduce((sum, logit) => sum + Math.exp(logit), 0);
  const best = logits.indexOf(Math.max(...logits));
  return { label: LABELS[best]!, score: Math.exp(logits[best]!) / all };
}

const input = (name: string, as: string, over: object = {}) => ({
  tensor: name,
  text: { tokenizer: 'tokenizer.json', length_max: length, as, ...over },
});
const INPUTS = [input('attention_mask', 'mask'), input('input_ids', 'ids'), input('token_type_ids', 'types')];

async function loaded(
  golden: (at: number) => object,
  change: (passport: object) => object = (same) => same,
  file: object = tokenizer,
): Promise<string> {
  await using folder = await temporaryFolder();
  const files = Object.fromEntries(texts.map((text, i) => [`golden/${i}.txt`, text]));
  // An empty file is no frame.
  const filled = Object.fromEntries(Object.entries(files).filter(([, text]) => text !== ''));
  await writeModel(folder.path, {
    name: 'm',
    graph: GRAPH,
    files: { ...filled, 'tokenizer.json': JSON.stringify(file), 'labels.txt': LABELS.join('\n') },
    passport: ({ passport, name, version, files: listed, batch_max }: Passport) =>
      change({
        ...{ passport, name, version, files: listed, batch_max, task: 'classification', inputs: INPUTS },
        output: {
          decoder: 'text-classification',
          tensors: { logits: 'logits' },
          activation: 'softmax',
          labels: { file: 'labels.txt' },
        },
        golden: Object.keys(filled).map((path) => ({
          input: path,
          expect: golden(Number(/\d+/.exec(path)?.[0])),
          tolerance: { score: 1e-4 },
        })),
      }),
  });
  await using models = await startModels(folder.path);
  const { state, error } = models.repository.versions[0]?.status ?? {};
  return `${state} ${error?.message ?? ''}`.trim();
}

describe('a model that reads texts', () => {
  it('is fed the numbers that the Rust library makes, under their mask', async () => {
    expect(new Set(texts.map((_, i) => expected(i).label)).size).toBeGreaterThan(1);
    expect(await loaded(expected)).toBe('ready');
  });

  it('is not served where it says something else', async () => {
    const wrong = (at: number) => ({ ...expected(at), score: expected(at).score - (at === 3 ? 0.01 : 0) });
    expect(await loaded(wrong)).toMatch(/^failed E_MODEL_GOLDEN: golden\/3\.txt gives/);
    // Without the mask what fills up counts.
    const ones = (passport: object) => ({
      ...passport,
      inputs: [{ tensor: 'attention_mask', text: { ...INPUTS[1]!.text } }, ...INPUTS.slice(1)],
    });
    expect(await loaded(expected, ones)).toMatch(/^failed E_MODEL_GOLDEN/);
  });

  it('is refused where its tokenizer is not listed, or cannot be used, before the first text', async () => {
    const unlisted = (passport: object) => ({
      ...passport,
      files: (passport as Passport).files.filter(({ path }) => path !== 'tokenizer.json'),
    });
    expect(await loaded(expected, unlisted)).toMatch(
      /E_PASSPORT: .*inputs\[0\]\.text\.tokenizer: a file that `files` lists with its hash/,
    );
    const other = { ...tokenizer, normalizer: { type: 'Nmt' } };
    const silent = (passport: object) => ({ ...passport, golden: [] });
    expect(await loaded(expected, silent, other)).toMatch(/^failed E_PASSPORT: the tokenizer asks for normalizer Nmt/);
  });

  it('is refused where the graph has another length', async () => {
    const fixed = (passport: object) => ({
      ...passport,
      inputs: [...INPUTS.slice(0, 2), input('token_type_ids', 'types', { length_max: 25 })],
    });
    expect(await loaded(expected, fixed)).toMatch(/E_PASSPORT: inputs\.text\.length_max is 24 and 25/);
  });
});
