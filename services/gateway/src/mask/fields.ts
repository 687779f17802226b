import { createHmac } from 'node:crypto';
import { BrinkError } from '@brink/protocol';
import type { FieldsPlan } from './plan.ts';

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/**
 * A JSON text without the fields that nobody may see, and with others replaced by a keyed hash: a text by the hash of its
 * characters in UTF-8, every other value by that of its JSON. Numbers beyond 2^53 lose their last digits, as in every JSON.parse.
 * @param keyOf the bytes of a secret
 * @throws BrinkError E_MASK where the bytes are no JSON, or the secret is not there
 */
export function maskFields(
  bytes: Uint8Array,
  plans: readonly FieldsPlan[],
  keyOf: (secret: string) => Uint8Array,
): Uint8Array {
  let value: Json;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)) as Json;
  } catch (reason) {
    throw new BrinkError('E_MASK', `its fields cannot be told apart: it is no JSON`, { cause: reason });
  }
  for (const { drop, pseudonymise, secret } of plans) {
    for (const path of drop) change(value, path, () => undefined);
    if (pseudonymise.length === 0) continue;
    const key = keyOf(secret);
    for (const path of pseudonymise) change(value, path, (field) => pseudonym(field, key));
  }
  return Buffer.from(JSON.stringify(value));
}

/** What stands at the end of the path, wherever lists and levels lead there; undefined takes it away. */
function change(value: Json, path: readonly string[], to: (field: Json) => Json | undefined): void {
  if (Array.isArray(value)) {
    for (const item of value) change(item, path, to);
    return;
  }
  const [name, ...rest] = path;
  if (value === null || typeof value !== 'object' || name === undefined || !Object.hasOwn(value, name)) return;
  if (rest.length > 0) {
    change(value[name] as Json, rest, to);
    return;
  }
  const changed = to(value[name] as Json);
  if (changed === undefined) delete value[name];
  else value[name] = changed;
}

function pseudonym(field: Json, key: Uint8Array): Json {
  // A list keeps its length: each of its values stands for itself.
  if (Array.isArray(field)) return field.map((item) => pseudonym(item, key));
  const text = typeof field === 'string' ? field : JSON.stringify(field);
  return createHmac('sha256', key).update(text).digest('hex');
}
