import { BrinkError } from '@brink/protocol';
import { Tokenizer } from '@huggingface/tokenizers';

// tokenizer.json of Hugging Face (huggingface/tokenizers, docs "The tokenization pipeline"), run by their JavaScript
// library. Where that library does not do what the one in Rust does, with which models are trained, the file is put in
// other words that both read alike, or refused by name. `fixtures/tokenizers.json` holds the numbers of the Rust library.

/** The largest that are known have 35 MB. */
const BYTES_MAX = 64 * 1024 * 1024;
const ID_MAX = 2 ** 31 - 1;
const DEPTH_MAX = 8;

export interface LoadedTokenizer {
  /**
   * The numbers of a text's tokens, with those that belong around it, cut to `lengthMax` on the right.
   * @throws BrinkError E_DECODE where a part of it has no number
   */
  readonly encode: (
    text: string,
    lengthMax: number,
  ) => { readonly ids: readonly number[]; readonly types: readonly number[] };
  /** Of the token that fills up. */
  readonly pad: number;
}

/** As much of the library as is used; its own types do not reach here. */
interface Encoder {
  encode(
    text: string,
    o: { add_special_tokens: boolean; return_token_type_ids: boolean },
  ): { ids: number[]; tokens: string[]; token_type_ids?: number[] };
  token_to_id(token: string): number | undefined;
}

type Json = Readonly<Record<string, unknown>>;

/** @throws BrinkError E_PASSPORT what the file asks for that cannot be done */
export function loadTokenizer(bytes: Uint8Array): LoadedTokenizer {
  const file = parse(bytes);
  const model = checkModel(file['model']);
  const added = checkAdded(file['added_tokens']);
  const words: Json = {
    model,
    added_tokens: added,
    normalizer: normalizer(file['normalizer'] ?? null, 0),
    pre_tokenizer: preTokenizer(file['pre_tokenizer'] ?? null, 0),
    post_processor: postProcessor(file['post_processor'] ?? null, 0),
    // Nothing is ever decoded.
    decoder: null,
  };
  let tokenizer: Encoder;
  try {
    tokenizer = new Tokenizer(words, { unk_token: model['unk_token'] });
  } catch (reason) {
    return refuse(`cannot be used: ${BrinkError.from(reason).detail.slice(0, 300)}`, reason);
  }
  return { encode: (text, lengthMax) => encode(tokenizer, text, lengthMax), pad: padOf(file, tokenizer) };
}

function encode(tokenizer: Encoder, text: string, lengthMax: number) {
  const { ids, tokens, types } = encoded(tokenizer, text, true);
  const without = ids.findIndex((id) => !Number.isInteger(id) || id < 0 || id > ID_MAX);
  if (without >= 0) {
    const token = JSON.stringify(tokens[without]?.slice(0, 32));
    throw new BrinkError('E_DECODE', `the tokenizer has no number for ${token}, and none for what it does not know`);
  }
  if (ids.length <= lengthMax) return { ids, types };
  const own = encoded(tokenizer, text, false).ids;
  const { length } = own;
  const begin = startOf(ids, own);
  // What is too long is cut before the tokens behind the text.
  const room = lengthMax - (ids.length - length);
  if (room < 0) throw new BrinkError('E_PASSPORT', `length_max is ${lengthMax}; the tokenizer puts more around a text`);
  const cut = (all: readonly number[]) => [...all.slice(0, begin + room), ...all.slice(begin + length)];
  return { ids: cut(ids), types: cut(types) };
}

function encoded(tokenizer: Encoder, text: string, around: boolean) {
  const found = tokenizer.encode(text, { add_special_tokens: around, return_token_type_ids: true });
  const { ids, tokens } = found;
  const types: readonly number[] = found.token_type_ids ?? [];
  return { ids, tokens, types: ids.map((_, i) => types[i] ?? 0) };
}

/** How many tokens stand in front of a text's own. */
function startOf(all: readonly number[], own: readonly number[]): number {
  for (let begin = 0; begin + own.length <= all.length; begin++) {
    if (own.every((id, i) => all[begin + i] === id)) return begin;
  }
  return refuse('puts tokens between those of a text; expected them around it');
}

const PADS = ['[PAD]', '<pad>', '<|pad|>', '<|endoftext|>'];

function padOf(file: Json, tokenizer: Encoder): number {
  const { padding } = file;
  if (isRecord(padding)) {
    if (padding['direction'] === 'Left') refuse('pads on the left (padding.direction); expected Right');
    if (Number.isInteger(padding['pad_id'])) return Number(padding['pad_id']);
  }
  if (isRecord(file['truncation']) && file['truncation']['direction'] === 'Left') {
    refuse('cuts on the left (truncation.direction); expected Right');
  }
  return PADS.map((token) => tokenizer.token_to_id(token)).find((id) => id !== undefined) ?? 0;
}

function parse(bytes: Uint8Array): Json {
  if (bytes.length > BYTES_MAX) refuse(`has ${bytes.length} bytes; expected at most ${BYTES_MAX}`);
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (reason) {
    refuse(`is no JSON: ${BrinkError.from(reason).detail.slice(0, 200)}`, reason);
  }
  return isRecord(json) ? json : refuse('is no object');
}

function checkModel(model: unknown): Json {
  if (!isRecord(model)) return refuse('has no model');
  const type = typeOf(model, 'model');
  const { vocab } = model;
  const listed = type === 'Unigram' ? Array.isArray(vocab) : isRecord(vocab);
  if (!listed) refuse(`has a ${type} model without a vocab`);
  switch (type) {
    case 'WordLevel':
    case 'WordPiece':
      return model;
    case 'BPE':
      if (!Array.isArray(model['merges'])) refuse('has a BPE model without merges');
      unless(!model['dropout'], 'model.dropout');
      unless(!model['continuing_subword_prefix'], 'model.continuing_subword_prefix');
      return model;
    case 'Unigram':
      unless(!model['byte_fallback'], 'model.byte_fallback of Unigram');
      return model;
    default:
      return unknown('model', type, ['BPE', 'WordPiece', 'WordLevel', 'Unigram']);
  }
}

function checkAdded(added: unknown): readonly unknown[] {
  if (added === undefined || added === null) return [];
  if (!Array.isArray(added)) return refuse('has added_tokens that are no list');
  for (const token of added) unless(isRecord(token) && token['single_word'] !== true, 'added_tokens with single_word');
  return added;
}

const NORMALIZERS = ['NFC', 'NFD', 'NFKC', 'NFKD', 'Lowercase', 'Strip', 'StripAccents', 'Precompiled', 'Prepend'];
/** Beyond the first 65,536 characters the library takes none of Chinese for what it is. */
const CHINESE =
  '[\\x{20000}-\\x{2A6DF}\\x{2A700}-\\x{2B73F}\\x{2B740}-\\x{2B81F}\\x{2B820}-\\x{2CEAF}\\x{2F800}-\\x{2FA1F}]';

function normalizer(config: unknown, depth: number): Json | null {
  if (config === null) return null;
  const type = typeOf(config, 'normalizer', depth);
  if (NORMALIZERS.includes(type)) return config as Json;
  switch (type) {
    case 'Sequence':
      return { type, normalizers: listOf(config, 'normalizers').map((one) => normalizer(one, depth + 1)) };
    case 'Replace': {
      // In JavaScript a dollar stands for what was found.
      const content = String((config as Json)['content'] ?? '').replaceAll('$', '$$$$');
      return { type, pattern: patternOf(config as Json, 'normalizer Replace'), content };
    }
    case 'BertNormalizer': {
      if ((config as Json)['handle_chinese_chars'] === false) return config as Json;
      const spaced = { type: 'Replace', pattern: { Regex: CHINESE }, content: ' $& ' };
      return { type: 'Sequence', normalizers: [spaced, config] };
    }
    default:
      return unknown('normalizer', type, [...NORMALIZERS, 'Sequence', 'Replace', 'BertNormalizer']);
  }
}

const PUNCTUATION = '[\\p{P}!-/:-@\\[-`{-~]';
const split = (regex: string, behavior: 'Removed' | 'Isolated', invert: boolean): Json => ({
  type: 'Split',
  pattern: { Regex: regex },
  behavior,
  invert,
});

function preTokenizer(config: unknown, depth: number): Json | null {
  if (config === null) return null;
  const type = typeOf(config, 'pre_tokenizer', depth);
  const of = config as Json;
  switch (type) {
    case 'BertPreTokenizer':
    case 'WhitespaceSplit':
    case 'ByteLevel':
      return of;
    case 'Sequence':
      return { type, pretokenizers: listOf(of, 'pretokenizers').map((one) => preTokenizer(one, depth + 1)) };
    case 'Whitespace':
      // The library knows ASCII only.
      return split('\\w+|[^\\w\\s]+', 'Removed', true);
    case 'Digits':
      return split(of['individual_digits'] === true ? '\\p{N}' : '\\p{N}+', 'Isolated', false);
    case 'CharDelimiterSplit':
      return split(escaped(String(of['delimiter'] ?? '')), 'Removed', false);
    case 'Punctuation':
      return split(PUNCTUATION, behaviourOf(of, 'Punctuation'), false);
    case 'Metaspace':
      return metaspace(of);
    case 'Split': {
      const behaviour = behaviourOf(of, 'Split');
      const { Regex } = patternOf(of, 'pre_tokenizer Split');
      // Isolated keeps both what was found and what was not: turned round it is the same.
      return split(Regex, behaviour, behaviour === 'Removed' && of['invert'] === true);
    }
    default:
      return unknown('pre_tokenizer', type, [
        ...['BertPreTokenizer', 'WhitespaceSplit', 'ByteLevel', 'Sequence', 'Whitespace', 'Digits'],
        ...['CharDelimiterSplit', 'Punctuation', 'Metaspace', 'Split'],
      ]);
  }
}

/** The library leaves the words together; each begins with the sign for a space. */
function metaspace(config: Json): Json {
  if (config['split'] === false) return config;
  const sign = escaped(String(config['replacement'] ?? '▁'));
  const words = split(`${sign}[^${sign}]*|[^${sign}]+`, 'Removed', true);
  return { type: 'Sequence', pretokenizers: [config, words] };
}

function behaviourOf(config: Json, name: string): 'Removed' | 'Isolated' {
  const behaviour = config['behavior'] ?? 'Isolated';
  if (behaviour === 'Removed' || behaviour === 'Isolated') return behaviour;
  return refuse(`asks for pre_tokenizer ${name} with behavior ${String(behaviour)}; expected Removed or Isolated`);
}

/** A text or a regular expression, as a regular expression. */
function patternOf(config: Json, name: string): { Regex: string } {
  const { pattern } = config;
  if (isRecord(pattern)) {
    if (typeof pattern['String'] === 'string') return { Regex: escaped(pattern['String']) };
    if (typeof pattern['Regex'] === 'string') {
      // What a group finds would be split off as well: groups only bracket.
      return {
        Regex: pattern['Regex'].replaceAll(/(\\.|\[(?:\\.|[^\]])*\])|\((?!\?)/gs, (all, kept) => kept ?? `${all}?:`),
      };
    }
  }
  return refuse(`has ${name} without a pattern`);
}

const escaped = (text: string) => text.replaceAll(/[\\^$.*+?()[\]{}|&-]/g, '\\$&');

function postProcessor(config: unknown, depth: number): Json | null {
  if (config === null) return null;
  const type = typeOf(config, 'post_processor', depth);
  switch (type) {
    case 'ByteLevel':
    case 'BertProcessing':
    case 'RobertaProcessing':
      return config as Json;
    case 'Sequence':
      return { type, processors: listOf(config, 'processors').map((one) => postProcessor(one, depth + 1)) };
    case 'TemplateProcessing': {
      const special = (config as Json)['special_tokens'];
      for (const [id, token] of Object.entries(isRecord(special) ? special : {})) {
        const tokens = isRecord(token) && Array.isArray(token['tokens']) ? token['tokens'] : [];
        unless(
          tokens.length === 1 && tokens[0] === id,
          `post_processor.special_tokens "${id.slice(0, 32)}" of several tokens`,
        );
      }
      return config as Json;
    }
    default:
      return unknown('post_processor', type, [
        'ByteLevel',
        'BertProcessing',
        'RobertaProcessing',
        'Sequence',
        'TemplateProcessing',
      ]);
  }
}

function listOf(config: unknown, key: string): readonly unknown[] {
  const list = (config as Json)[key];
  return Array.isArray(list) ? list : refuse(`has a Sequence without ${key}`);
}

function typeOf(config: unknown, name: string, depth = 0): string {
  if (depth > DEPTH_MAX) refuse(`has sequences of ${name} more than ${DEPTH_MAX} deep`);
  if (isRecord(config) && typeof config['type'] === 'string') return config['type'];
  return refuse(`has a ${name} without a type`);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function unless(fine: boolean, what: string): void {
  if (!fine) refuse(`asks for ${what}, which is not done here`);
}

function unknown(name: string, type: string, known: readonly string[]): never {
  return refuse(`asks for ${name} ${type.slice(0, 64)}; expected one of ${known.join(', ')}`);
}

function refuse(detail: string, cause?: unknown): never {
  throw new BrinkError('E_PASSPORT', `the tokenizer ${detail}`, { cause });
}
