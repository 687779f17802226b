import { isPrepared } from '@brink/preprocess';
import { BrinkError, type Passport, type TextInput } from '@brink/protocol';
import { type LoadedTokenizer, loadTokenizer } from './tokenizer.ts';

/** A tokenizer takes up to some milliseconds for a kilobyte; what a device has to say is shorter. */
const TEXT_BYTES_MAX = 16 * 1024;

/**
 * The text in a frame. A mark of the byte order in front is no part of it.
 * @throws BrinkError E_EMPTY; E_TOO_LARGE; E_DECODE where the bytes are not UTF-8
 */
export function readText(bytes: Uint8Array): string {
  if (bytes.length === 0) throw new BrinkError('E_EMPTY', 'a text of 0 bytes');
  if (bytes.length > TEXT_BYTES_MAX) {
    throw new BrinkError('E_TOO_LARGE', `${bytes.length} bytes of a text; expected at most ${TEXT_BYTES_MAX}`);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (reason) {
    throw new BrinkError('E_DECODE', 'the text is not UTF-8', { cause: reason });
  }
}

/** A text → one tensor per prepared input of the passport, int32, as `wireHeads` describes them. @throws BrinkError E_DECODE */
export type TextTensors = (text: string) => readonly Uint8Array[];

/**
 * Reads the tokenizer, which may take a second and a hundred megabytes: once per version of a model.
 * @param files of the model's folder, by path, their hashes checked
 * @throws BrinkError E_PASSPORT where an input is no text, the tokenizer is not there, or asks for what is not done here
 */
export function createTextTensors(
  passport: Pick<Passport, 'inputs'>,
  files: ReadonlyMap<string, Uint8Array>,
): TextTensors {
  const texts = passport.inputs.filter(isPrepared).map((input) => {
    if ('text' in input) return input.text;
    throw new BrinkError('E_PASSPORT', `inputs: "${input.tensor}" is no text; expected all of them to be`);
  });
  const [first] = texts;
  const file = first && files.get(first.tokenizer);
  if (first === undefined || file === undefined) {
    throw new BrinkError(
      'E_PASSPORT',
      `the tokenizer "${first?.tokenizer ?? ''}" is not there; expected it among the files`,
    );
  }
  const tokenizer = loadTokenizer(file);
  return (text) => {
    const encoded = tokenizer.encode(text, first.length_max);
    return texts.map((input) => tensorOf(input, encoded, tokenizer.pad));
  };
}

function tensorOf(input: TextInput, { ids, types }: ReturnType<LoadedTokenizer['encode']>, pad: number): Uint8Array {
  const out = new Int32Array(input.length_max);
  if (input.as === 'ids') out.fill(input.pad ?? pad);
  if (input.as === 'mask') out.fill(1, 0, ids.length);
  else out.set(input.as === 'ids' ? ids : types);
  return new Uint8Array(out.buffer);
}
