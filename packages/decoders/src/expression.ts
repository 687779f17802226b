import { BrinkError } from '@brink/protocol';

// The small language in which a passport says how a score or a box comes of what the model gives: numbers, names, + - * /,
// brackets, and a few functions. It is a part of CEL (github.com/google/cel-spec), where all numbers are doubles.

/** @param values of the variables, in the order in which they were given to `compile` */
export type Expression = (values: ArrayLike<number>) => number;

const LENGTH_MAX = 200;
const DEPTH_MAX = 32;

const FUNCTIONS: Readonly<Record<string, { arguments: readonly [number, number]; call: (of: number[]) => number }>> = {
  pow: { arguments: [2, 2], call: ([base, exponent]) => (base as number) ** (exponent as number) },
  sqrt: { arguments: [1, 1], call: ([of]) => Math.sqrt(of as number) },
  min: { arguments: [2, 8], call: (of) => Math.min(...of) },
  max: { arguments: [2, 8], call: (of) => Math.max(...of) },
};

const TOKEN = /\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(.))/suy;

interface Token {
  readonly kind: 'number' | 'name' | 'sign' | 'end';
  readonly text: string;
  /** counted from 1 */
  readonly at: number;
}

/**
 * Once per model: a tree of closures, so that a cell costs a few calls.
 * @param path of the passport, for errors @throws BrinkError E_PASSPORT naming the position
 */
export function compile(source: string, variables: readonly string[], path: string): Expression {
  if (source.length > LENGTH_MAX) {
    throw new BrinkError('E_PASSPORT', `${path} has ${source.length} characters; expected at most ${LENGTH_MAX}`);
  }
  const reader = new Reader(source, variables, path);
  const expression = reader.sum(0);
  reader.end();
  return expression;
}

const TRIED = Array.from({ length: 21 }, (_, at) => at / 20);

/**
 * The score of a cell, of its objectness (where it has one) and its best class: tried from 0 to 1, since a score that falls where
 * the class grows would need another class than the best.
 * @param variables the last is the class @throws BrinkError E_PASSPORT
 */
export function compileScore(source: string, variables: readonly string[], path: string): Expression {
  const expression = compile(source, variables, path);
  if (!variables.includes('class')) return expression;
  for (const obj of variables.length > 1 ? TRIED : [1]) {
    const scores = TRIED.map((kind) => expression(variables.length > 1 ? [obj, kind] : [kind]));
    const falls = scores.findIndex((score, at) => score < (scores[at - 1] ?? score) - 1e-9);
    if (falls < 0) continue;
    throw new BrinkError(
      'E_PASSPORT',
      `${path} "${source}" falls to ${scores[falls]} where class grows to ${TRIED[falls]}; expected a score that grows with it`,
    );
  }
  return expression;
}

/** One function per level of precedence. */
class Reader {
  readonly #tokens: readonly Token[];
  readonly #variables: readonly string[];
  readonly #refuse: (at: number, what: string) => BrinkError;
  #next = 0;

  constructor(source: string, variables: readonly string[], path: string) {
    this.#variables = variables;
    this.#refuse = (at, what) => new BrinkError('E_PASSPORT', `${path}: character ${at} of "${source}": ${what}`);
    this.#tokens = tokensOf(source);
  }

  sum(depth: number): Expression {
    let left = this.#product(depth);
    for (let sign = this.#sign('+', '-'); sign !== undefined; sign = this.#sign('+', '-')) {
      const [a, b] = [left, this.#product(depth)];
      left = sign === '+' ? (values) => a(values) + b(values) : (values) => a(values) - b(values);
    }
    return left;
  }

  end(): void {
    const { kind, text, at } = this.#peek();
    if (kind !== 'end') throw this.#refuse(at, `"${text}"; expected + - * / or the end`);
  }

  #product(depth: number): Expression {
    let left = this.#factor(depth);
    for (let sign = this.#sign('*', '/'); sign !== undefined; sign = this.#sign('*', '/')) {
      const [a, b] = [left, this.#factor(depth)];
      left = sign === '*' ? (values) => a(values) * b(values) : (values) => a(values) / b(values);
    }
    return left;
  }

  #factor(depth: number): Expression {
    const token = this.#peek();
    if (depth > DEPTH_MAX) throw this.#refuse(token.at, `nested deeper than ${DEPTH_MAX}`);
    this.#next += 1;
    if (token.kind === 'number') return constant(Number(token.text));
    if (token.kind === 'name') return this.#name(token, depth);
    if (token.text === '-') {
      const of = this.#factor(depth + 1);
      return (values) => -of(values);
    }
    if (token.text === '(') {
      const inner = this.sum(depth + 1);
      this.#expect(')');
      return inner;
    }
    const found = token.kind === 'end' ? 'the end' : `"${token.text}"`;
    throw this.#refuse(token.at, `${found}; expected a number, a name or (`);
  }

  #name({ text, at }: Token, depth: number): Expression {
    if (this.#peek().text === '(') return this.#call(text, at, depth);
    const index = this.#variables.indexOf(text);
    if (index < 0) throw this.#refuse(at, `"${text}"; expected one of ${this.#variables.join(', ')}`);
    return (values) => values[index] as number;
  }

  #call(name: string, at: number, depth: number): Expression {
    const known = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    if (known === undefined) throw this.#refuse(at, `"${name}("; expected one of ${Object.keys(FUNCTIONS).join(', ')}`);
    this.#expect('(');
    const given = [this.sum(depth + 1)];
    while (this.#sign(',') !== undefined) given.push(this.sum(depth + 1));
    this.#expect(')');
    const [fewest, most] = known.arguments;
    if (given.length < fewest || given.length > most) {
      const expected = fewest === most ? `${fewest}` : `${fewest} to ${most}`;
      throw this.#refuse(at, `${name} of ${given.length}; expected ${expected}`);
    }
    const { call } = known;
    return (values) => call(given.map((of) => of(values)));
  }

  #peek(): Token {
    return this.#tokens[this.#next] as Token;
  }

  /** Takes the next token where it is one of these. */
  #sign(...signs: string[]): string | undefined {
    const { kind, text } = this.#peek();
    if (kind !== 'sign' || !signs.includes(text)) return undefined;
    this.#next += 1;
    return text;
  }

  #expect(sign: string): void {
    const { kind, text, at } = this.#peek();
    if (this.#sign(sign) === undefined)
      throw this.#refuse(at, `${kind === 'end' ? 'the end' : `"${text}"`}; expected ${sign}`);
  }
}

const constant =
  (value: number): Expression =>
  () =>
    value;

function tokensOf(source: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  const trimmed = source.trimEnd();
  while (TOKEN.lastIndex < trimmed.length) {
    const match = TOKEN.exec(trimmed);
    if (match === null) break;
    const [all, number, name, sign] = match;
    const text = number ?? name ?? (sign as string);
    const kind = number !== undefined ? 'number' : name !== undefined ? 'name' : 'sign';
    tokens.push({ kind, text, at: match.index + all.length - text.length + 1 });
  }
  tokens.push({ kind: 'end', text: '', at: source.length + 1 });
  return tokens;
}
