import { wireHeads } from '@brink/preprocess';
import { InputSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import fixture from '../fixtures/tokenizers.json' with { type: 'json' };
import { createTextTensors, prepareFile, readText } from './index.ts';
import { loadTokenizer } from './tokenizer.ts';

const utf8 = (text: string) => new TextEncoder().encode(text);
const fileOf = (tokenizer: object) => utf8(JSON.stringify(tokenizer));
const { length, texts, made } = fixture;
const digits = (row: string) => [...row].map(Number);
const numbers = (bytes: Uint8Array | undefined) => [...new Int32Array(bytes!.slice().buffer)];

const inputsOf = (length_max: number, over: object = {}) =>
  (['ids', 'mask', 'types'] as const).map((as) =>
    InputSchema.parse({ tensor: as, text: { tokenizer: 'tokenizer.json', length_max, as, ...over } }),
  );

describe.each(made)('a tokenizer: $name', ({ tokenizer, ids, masks, types }) => {
  it('gives the numbers of the Rust library, its mask and its sentences, cut and filled up', () => {
    const files = new Map([['tokenizer.json', fileOf(tokenizer)]]);
    const tensorsOf = createTextTensors({ inputs: inputsOf(length) }, files);
    for (const [i, text] of texts.entries()) {
      const found = tensorsOf(text).map(numbers);
      expect(found[0], JSON.stringify(text)).toEqual(ids[i]);
      expect(found.slice(1), JSON.stringify(text)).toEqual([digits(masks[i]!), digits(types[i]!)]);
    }
  });
});

const bert = made[0]!.tokenizer;
const files = new Map([['tokenizer.json', fileOf(bert)]]);

describe('a text', () => {
  it('becomes int32 of the length that its head promises', () => {
    const inputs = inputsOf(12);
    const tensors = createTextTensors({ inputs }, files)('the pump');
    expect(wireHeads({ inputs, state: [] }).map(({ dtype, shape, bytes }) => [dtype, shape, bytes])).toEqual(
      new Array(3).fill(['int32', [12], 48]),
    );
    expect(tensors.map((bytes) => bytes.byteLength)).toEqual([48, 48, 48]);
    expect(numbers(tensors[1])).toEqual([1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
  });

  it('is filled up with what the passport says, else with what the tokenizer has', () => {
    const last = (over: object) =>
      numbers(createTextTensors({ inputs: inputsOf(12, over) }, files)('the pump')[0]).at(-1);
    expect(last({ pad: 7 })).toBe(7);
    expect(last({})).toBe(0);
    const padded = fileOf({ ...bert, padding: { direction: 'Right', pad_id: 3 } });
    expect(loadTokenizer(padded).pad).toBe(3);
  });

  it('as a file is one unit', async () => {
    const inputs = inputsOf(12);
    const units = await prepareFile(utf8('the pump'), { inputs }, { files });
    expect(units).toEqual([{ tensors: createTextTensors({ inputs }, files)('the pump') }]);
  });

  it('may be as long as is allowed, and costs no more than that', () => {
    const long = utf8('pumpe '.repeat(3000)).subarray(0, 16 * 1024);
    for (const { tokenizer } of made) {
      const tensorsOf = createTextTensors({ inputs: inputsOf(64) }, new Map([['tokenizer.json', fileOf(tokenizer)]]));
      expect(numbers(tensorsOf(readText(long))[1])).toEqual(new Array(64).fill(1));
      tensorsOf('x'.repeat(16 * 1024));
    }
  });

  it('is refused where it is no text, none, or too long', () => {
    expect(readText(utf8('\ufeffgrüße'))).toBe('grüße');
    expect(() => readText(Uint8Array.of(0xc3, 0x28))).toThrow(/E_DECODE: the text is not UTF-8/);
    expect(() => readText(new Uint8Array(0))).toThrow(/E_EMPTY/);
    expect(() => readText(new Uint8Array(16_385).fill(97))).toThrow(/E_TOO_LARGE: 16385 bytes/);
    expect(readText(new Uint8Array(16_384).fill(97)).length).toBe(16_384);
  });

  it('is refused where a part of it has no number', () => {
    const model = { type: 'WordLevel', vocab: { pump: 0 } };
    const without = loadTokenizer(fileOf({ ...made[5]!.tokenizer, model, added_tokens: [] }));
    expect(without.encode('pump', 4).ids).toEqual([0]);
    expect(() => without.encode('pump valve', 4)).toThrow(/E_DECODE: the tokenizer has no number for "valve"/);
  });
});

describe('a passport with texts', () => {
  it('is refused where mask and numbers would not be of the same text', () => {
    const [ids, mask] = [inputsOf(12)[0]!, inputsOf(13)[1]!];
    expect(() => wireHeads({ inputs: [ids, mask], state: [] })).toThrow(
      /E_PASSPORT: inputs.text.length_max is 12 and 13/,
    );
  });

  it('needs the tokenizer, and other inputs cannot stand beside', () => {
    expect(() => createTextTensors({ inputs: inputsOf(12) }, new Map())).toThrow(
      /E_PASSPORT.*"tokenizer.json" is not there/,
    );
    const audio = InputSchema.parse({ tensor: 'x', audio: { rate_hz: 16_000, window: 10 } });
    expect(() => createTextTensors({ inputs: [...inputsOf(12), audio] }, files)).toThrow(/E_PASSPORT.*"x" is no text/);
  });
});

describe('a tokenizer is refused by name', () => {
  const words = made[5]!.tokenizer;
  const sequence = (type: string, key: string, of: object) => ({ [type]: { type: 'Sequence', [key]: [of] } });
  it.each([
    ['no JSON', 'x', /is no JSON/],
    ['no object', [], /is no object/],
    ['no model', {}, /has no model/],
    ['a model', { model: { type: 'Bytes', vocab: {} } }, /model Bytes; expected one of BPE/],
    ['no vocab', { model: { type: 'BPE' } }, /BPE model without a vocab/],
    ['dropout', { model: { type: 'BPE', vocab: {}, merges: [], dropout: 0.1 } }, /model\.dropout, which is not done/],
    ['bytes', { model: { type: 'Unigram', vocab: [], byte_fallback: true } }, /byte_fallback of Unigram/],
    ['normalizer', { ...words, normalizer: { type: 'Nmt' } }, /normalizer Nmt; expected one of/],
    [
      'normalizer inside',
      { ...words, ...sequence('normalizer', 'normalizers', { type: 'ByteLevel' }) },
      /normalizer ByteLevel/,
    ],
    ['pre-tokenizer', { ...words, pre_tokenizer: { type: 'UnicodeScripts' } }, /pre_tokenizer UnicodeScripts/],
    [
      'behaviour',
      { ...words, pre_tokenizer: { type: 'Split', pattern: { String: 'a' }, behavior: 'MergedWithNext' } },
      /Split with behavior MergedWithNext/,
    ],
    ['post-processor', { ...words, post_processor: { type: 'Other' } }, /post_processor Other/],
    [
      'added',
      { ...words, added_tokens: [{ id: 0, content: 'a', single_word: true }] },
      /added_tokens with single_word/,
    ],
    ['left', { ...words, padding: { direction: 'Left', pad_id: 0 } }, /pads on the left/],
    ['cut left', { ...words, truncation: { direction: 'Left' } }, /cuts on the left/],
    [
      'pattern',
      { ...words, pre_tokenizer: { type: 'Split', pattern: { Regex: '(' }, behavior: 'Removed' } },
      /cannot be used/,
    ],
  ])('%s', (_, file, said) => {
    const bytes = typeof file === 'string' ? utf8(file) : fileOf(file);
    expect(() => loadTokenizer(bytes)).toThrow(/E_PASSPORT: the tokenizer/);
    expect(() => loadTokenizer(bytes)).toThrow(said);
  });
});
