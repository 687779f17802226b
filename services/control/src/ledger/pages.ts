import { BrinkError } from '@brink/protocol';
import type { Page } from './records.ts';
import type { Row, Store } from './store.ts';

export type Value = string | number;

const LIMIT_MAX = 500;

export const all = (store: Store, text: string, ...values: Value[]) => store.sql(text).all(...values) as Row[];
export const one = (store: Store, text: string, ...values: Value[]) =>
  store.sql(text).get(...values) as Row | undefined;

/** @throws BrinkError E_BAD_REQUEST */
export function limited(limit: number): number {
  if (Number.isInteger(limit) && limit >= 1 && limit <= LIMIT_MAX) return limit;
  throw new BrinkError('E_BAD_REQUEST', `limit ${limit}; expected a whole number from 1 to ${LIMIT_MAX}`);
}

/** The filters that were given. Their names come from us, their values are bound. */
export function given(filters: Record<string, Value | undefined>): [name: string, value: Value][] {
  return Object.entries(filters).filter((entry): entry is [string, Value] => entry[1] !== undefined);
}

/** One page of a table, newest first by its key; `next` is the `before` of the page that follows. */
export function pageOf<T>(
  store: Store,
  table: { readonly name: string; readonly key: string; readonly record: (row: Row) => T },
  query: { readonly before?: number | undefined; readonly limit: number },
  filters: Record<string, Value | undefined>,
): Page<T> {
  const limit = limited(query.limit);
  const wanted = given(filters);
  // A name may carry its comparison: `created_ms >=`.
  const where = wanted.map(([name]) => ` AND ${name.includes(' ') ? name : `${name} =`} ?`).join('');
  const text = `SELECT * FROM ${table.name} WHERE ${table.key} < ?${where} ORDER BY ${table.key} DESC LIMIT ${limit}`;
  const rows = all(store, text, query.before ?? Number.MAX_SAFE_INTEGER, ...wanted.map(([, value]) => value));
  const last = rows.at(-1);
  const full = last !== undefined && rows.length === limit;
  return { items: rows.map(table.record), ...(full ? { next: Number(last[table.key]) } : {}) };
}
