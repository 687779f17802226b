import { BrinkError } from '@brink/protocol';

/** Where none of it occurs no key can be one of those below: most texts are not walked. */
const SUSPECT = /__proto__|constructor|\\u/;

/**
 * JSON that is not to be trusted. Keys that would reach a prototype, if ever somebody copied them, are refused at any depth.
 * @throws BrinkError E_BAD_REQUEST
 */
export function parseJson(bytes: Uint8Array): unknown {
  try {
    // A byte order mark, which some tools write, is no part of the text: TextDecoder leaves it away.
    const text = new TextDecoder().decode(bytes);
    const parsed: unknown = JSON.parse(text);
    if (SUSPECT.test(text)) refusePolluting(parsed);
    return parsed;
  } catch (reason) {
    const { message } = reason as Error;
    throw new BrinkError('E_BAD_REQUEST', `the JSON of ${bytes.length} bytes cannot be read: ${message}`);
  }
}

/** Not by recursion: JSON may be nested a million deep. */
function refusePolluting(root: unknown): void {
  const open = [root];
  for (let value = open.pop(); value !== undefined; value = open.pop()) {
    if (typeof value !== 'object' || value === null) continue;
    if (Object.hasOwn(value, '__proto__') || Object.hasOwn(value, 'constructor')) {
      throw new SyntaxError('it has a key "__proto__" or "constructor", which is not taken');
    }
    for (const one of Object.values(value)) if (typeof one === 'object' && one !== null) open.push(one);
  }
}
