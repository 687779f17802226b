import {
  compileExpression,
  type Expression,
  ExpressionError,
  type ExpressionScope,
  type Variables,
} from './expression.ts';

// `${…}` inside the strings of an action's args and payload. A string that is one `${…}` and nothing else becomes the
// value itself (a number stays a number); otherwise the values are put into the text. `$${` stands for `${`.

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Template {
  /** Whether there is anything to fill in. */
  readonly constant: boolean;
  readonly paths: readonly string[];
  /** @throws ExpressionError where an expression has no value */
  readonly render: (variables: Variables) => Json;
}

/** Where a template is wrong: the path of the string within the value, and the column within the string. */
export class TemplateError extends Error {
  readonly path: readonly (string | number)[];
  readonly column: number;

  constructor(message: string, path: readonly (string | number)[], column: number) {
    super(message);
    this.path = path;
    this.column = column;
  }
}

/** @throws TemplateError */
export function compileTemplate(
  value: unknown,
  scope?: ExpressionScope,
  path: readonly (string | number)[] = [],
): Template {
  if (typeof value === 'string') return compileText(value, scope, path);
  if (Array.isArray(value)) {
    const items = value.map((item, index) => compileTemplate(item, scope, [...path, index]));
    return together(items, (variables) => items.map((item) => item.render(variables)));
  }
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).map(
      ([name, item]) => [name, compileTemplate(item, scope, [...path, name])] as const,
    );
    return together(
      fields.map(([, template]) => template),
      (variables) => Object.fromEntries(fields.map(([name, template]) => [name, template.render(variables)])),
    );
  }
  const json = value as Json;
  return { constant: true, paths: [], render: () => json };
}

function together(parts: readonly Template[], render: (variables: Variables) => Json): Template {
  return { constant: parts.every((part) => part.constant), paths: parts.flatMap((part) => part.paths), render };
}

function compileText(text: string, scope: ExpressionScope | undefined, path: readonly (string | number)[]): Template {
  const parts = split(text, scope, path);
  const expressions = parts.filter((part) => typeof part !== 'string');
  const first = expressions[0];
  if (first === undefined) {
    const plain = parts.join('');
    return { constant: true, paths: [], render: () => plain };
  }
  const paths = expressions.flatMap((expression) => expression.paths);
  if (parts.length === 1) return { constant: false, paths, render: (variables) => toJson(first.evaluate(variables)) };
  return {
    constant: false,
    paths,
    render: (variables) =>
      parts.map((part) => (typeof part === 'string' ? part : toText(toJson(part.evaluate(variables))))).join(''),
  };
}

function split(
  text: string,
  scope: ExpressionScope | undefined,
  path: readonly (string | number)[],
): (string | Expression)[] {
  const parts: (string | Expression)[] = [];
  let plain = '';
  let at = 0;
  while (at < text.length) {
    if (text.startsWith('$${', at)) {
      plain += '${';
      at += 3;
    } else if (text.startsWith('${', at)) {
      const end = endOf(text, at + 2);
      if (end === undefined) {
        throw new TemplateError(
          '"${" without its "}"; expected ${expression}, or $${ for the characters',
          path,
          at + 1,
        );
      }
      if (plain !== '') parts.push(plain);
      plain = '';
      parts.push(expressionAt(text.slice(at + 2, end), scope, path, at + 2));
      at = end + 1;
    } else {
      plain += text[at];
      at += 1;
    }
  }
  if (plain !== '') parts.push(plain);
  return parts;
}

function expressionAt(
  text: string,
  scope: ExpressionScope | undefined,
  path: readonly (string | number)[],
  offset: number,
): Expression {
  try {
    const expression = compileExpression(text, scope);
    if (expression.type.startsWith('Decision')) {
      throw new ExpressionError('it is no single value; expected a field, as decision.label', 1);
    }
    return expression;
  } catch (error) {
    if (error instanceof ExpressionError) throw new TemplateError(error.message, path, offset + error.column);
    throw error;
  }
}

// A whole string literal, or a brace outside of one.
const TOKEN = /"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[{}]/g;

/** The `}` that closes the expression: not one of a map literal, not one within quotes. */
function endOf(text: string, from: number): number | undefined {
  let depth = 0;
  for (const token of text.slice(from).matchAll(TOKEN)) {
    if (token[0] === '{') depth++;
    else if (token[0] === '}' && depth-- === 0) return from + token.index;
  }
  return undefined;
}

/** CEL's integers are bigint, its maps may be Map: neither is JSON. */
function toJson(value: unknown): Json {
  if (typeof value === 'bigint') return Number(value);
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : null;
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) return value.map(toJson);
  if (value instanceof Map) return Object.fromEntries([...value].map(([key, item]) => [String(key), toJson(item)]));
  if (typeof value === 'object' && (value as object).constructor === Object) {
    return Object.fromEntries(Object.entries(value as object).map(([key, item]) => [key, toJson(item)]));
  }
  return String(value);
}

const toText = (value: Json) => (typeof value === 'string' ? value : JSON.stringify(value));
