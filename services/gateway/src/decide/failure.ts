import { BrinkError, isErrorCode, type link } from '@brink/protocol';

/** Why a unit was not computed, in the words of the error table. */
export function failureOf({ code, detail }: link.Failure): BrinkError {
  return isErrorCode(code) ? new BrinkError(code, detail) : new BrinkError('E_INTERNAL', `${code}: ${detail}`);
}
