import { BrinkError } from '@brink/protocol';
import { DEPTH_MAX } from './measured.ts';

/** @throws BrinkError E_DECODE where it is no JSON; E_DEPTH where it is deeper than a signal is */
export function parseJson(bytes: Uint8Array): unknown {
  checkDepth(bytes);
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (reason) {
    throw new BrinkError('E_DECODE', `JSON of a signal: ${(reason as Error).message.slice(0, 200)}`, { cause: reason });
  }
}

/** Before it is parsed: a megabyte of brackets costs the parser a tenth of a second, and a walk over it the stack. */
function checkDepth(bytes: Uint8Array): void {
  let depth = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i];
    if (byte === QUOTE) i = endOfString(bytes, i);
    else if (byte === SQUARE_CLOSE || byte === CURLY_CLOSE) depth--;
    else if (byte === SQUARE_OPEN || byte === CURLY_OPEN) {
      depth++;
      if (depth > DEPTH_MAX) {
        const detail = `more than ${DEPTH_MAX} levels deep at byte ${i}; expected a signal`;
        throw new BrinkError('E_DEPTH', `JSON of a signal: ${detail}`);
      }
    }
  }
}

const [QUOTE, BACKSLASH, SQUARE_OPEN, SQUARE_CLOSE, CURLY_OPEN, CURLY_CLOSE] = Buffer.from('"\\[]{}') as unknown as [
  number,
  number,
  number,
  number,
  number,
  number,
];

function endOfString(bytes: Uint8Array, start: number): number {
  let i = start + 1;
  while (i < bytes.length && bytes[i] !== QUOTE) i += bytes[i] === BACKSLASH ? 2 : 1;
  return i;
}
