import { expect, it } from 'vitest';
import { parseJson } from './json-text.ts';

const parse = (text: string) => parseJson(Buffer.from(text));

it('reads JSON, with or without a byte order mark', () => {
  expect(parse('{"a":[1,{"b":"constructor \\u005f"}]}')).toEqual({ a: [1, { b: 'constructor _' }] });
  expect(parse('\uFEFF[1]')).toEqual([1]);
});

it.each([
  ['at the top', '{"__proto__":{"x":1}}'],
  ['deep within', '{"a":[{"b":[[{"__proto__":1}]]}]}'],
  ['that is spelled otherwise', '{"\\u005f_proto__":{"x":1}}'],
  ['called constructor', '{"a":{"constructor":{"prototype":{"x":1}}}}'],
  ['in 100,000 lists', `${'['.repeat(100_000)}{"__proto__":1}${']'.repeat(100_000)}`],
])('refuses a polluting key %s', (_, text) => {
  expect(() => parse(text)).toThrow(/^E_BAD_REQUEST: the JSON of \d+ bytes cannot be read: .*"__proto__" or/);
});

it('says what is no JSON, and how long it was', () => {
  for (const text of ['', '{"inputs":', 'NaN', '{} {}'])
    expect(() => parse(text)).toThrow(/^E_BAD_REQUEST: the JSON of \d+ bytes cannot be read: ./);
});
