import type { ASTNode } from '@marcbachmann/cel-js';

// What an evaluation costs at most, before it is run: the sizes of lists and texts are carried through the expression,
// as Kubernetes does with CEL (https://kubernetes.io/docs/reference/using-api/cel/#resource-constraints). It has no
// loop but over lists, so its cost is a function of how many things a decision holds.

/** About 100 ms on a slow core: everything else waits that long for it. */
export const STEPS_MAX = 2_000_000;
/** A condition that is too dear for a decision with so few objects is refused outright. */
const LISTS_MIN = 16;
/** Nobody has more; for what does not depend on it. */
const LISTS_MAX = 1_000_000;
/** Characters of a label, a name, a time. */
const TEXT_CHARS = 200;

/** How many elements or characters a value has, and of what size each is. */
interface Size {
  readonly n: number;
  readonly of?: Size | undefined;
}

interface Weight {
  readonly size: Size;
  /** Steps to come by it. */
  readonly cost: number;
}

const LOOPS = new Set(['all', 'exists', 'exists_one', 'map', 'filter']);
/** Functions whose result is longer than what they are given. */
const GROWING = new Set(['hex', 'base64', 'bytes', 'upperAscii', 'lowerAscii']);

/**
 * The most elements that each list of a decision may have for the expression to be evaluated in STEPS_MAX steps;
 * Infinity where it does not matter, 0 where even LISTS_MIN are too many.
 */
export function listMaxOf(ast: ASTNode): number {
  const fits = (lists: number) => weigh(ast, { lists, loops: new Map() }).cost <= STEPS_MAX;
  if (fits(LISTS_MAX)) return Number.POSITIVE_INFINITY;
  if (!fits(LISTS_MIN)) return 0;
  let low = LISTS_MIN;
  let high = LISTS_MAX;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

interface Scope {
  readonly lists: number;
  /** Loop variables. */
  readonly loops: ReadonlyMap<string, Size>;
}

/** Characters or elements that are copied or compared in the time of one step. */
const READ = 16;
const ONE: Size = { n: 1 };
const TEXT: Size = { n: TEXT_CHARS };

function weigh(node: ASTNode, scope: Scope): Weight {
  switch (node.op) {
    case 'value':
      return { size: typeof node.args === 'string' ? { n: node.args.length } : ONE, cost: 1 };
    case 'id':
      return { size: scope.loops.get(node.args) ?? TEXT, cost: 1 };
    case '.':
    case '.?':
      return field(node.args[1], weigh(node.args[0], scope), scope);
    case 'call':
    case 'rcall':
      return weighCall(node, scope);
    default:
      return operator(
        node.op,
        operandsOf(node).map((child) => weigh(child, scope)),
      );
  }
}

function field(name: string, object: Weight, { lists }: Scope): Weight {
  return { size: sizeOfField(name, object.size, lists), cost: object.cost + 1 };
}

function sizeOfField(name: string, object: Size, lists: number): Size {
  if (name === 'objects' || name === 'classes') return { n: lists, of: { n: 4, of: TEXT } };
  if (name === 'values') return { n: lists, of: ONE };
  if (name === 'box') return { n: 4, of: ONE };
  return object.of ?? TEXT;
}

function weighCall(node: ASTNode & { op: 'call' | 'rcall' }, scope: Scope): Weight {
  if (node.op === 'rcall' && LOOPS.has(node.args[0])) return loop(node.args[0], node.args[1], node.args[2], scope);
  const operands = operandsOf(node).map((child) => weigh(child, scope));
  return call(node.args[0], operands);
}

function loop(name: string, over: ASTNode, args: readonly ASTNode[], scope: Scope): Weight {
  const list = weigh(over, scope);
  const variable = args[0]?.op === 'id' ? args[0].args : '';
  const inner = { ...scope, loops: new Map(scope.loops).set(variable, list.size.of ?? TEXT) };
  const bodies = args.slice(1).map((body) => weigh(body, inner));
  const cost = list.cost + list.size.n * (2 + sum(bodies.map((body) => body.cost)));
  if (name === 'filter') return { size: list.size, cost };
  if (name === 'map') return { size: { n: list.size.n, of: bodies.at(-1)?.size }, cost };
  return { size: ONE, cost };
}

function call(name: string, operands: readonly Weight[]): Weight {
  const read = sum(operands.map(({ size }) => totalOf(size)));
  const cost = 1 + sum(operands.map((operand) => operand.cost)) + read / READ;
  const [first = TEXT, second = ONE] = operands.map(({ size }) => size);
  if (name === 'split') return { size: { n: first.n, of: first }, cost };
  if (name === 'join') return { size: { n: first.n * ((first.of ?? TEXT).n + second.n) }, cost };
  if (name === 'json') return { size: { n: first.n, of: { n: first.n, of: first } }, cost };
  const n = Math.max(64, ...operands.map(({ size }) => size.n)) * (GROWING.has(name) ? 3 : 1);
  return { size: name === 'dyn' ? first : { n }, cost };
}

function operator(op: string, operands: readonly Weight[]): Weight {
  const sizes = operands.map(({ size }) => size);
  const cost = 1 + sum(operands.map((operand) => operand.cost));
  const totals = sizes.map(totalOf);
  switch (op) {
    case '+':
      return {
        size: { n: sum(sizes.map(({ n }) => n)), of: largest(sizes.map(({ of }) => of)) },
        cost: cost + sum(totals) / READ,
      };
    case '==':
    case '!=':
      return { size: ONE, cost: cost + Math.min(...totals) / READ };
    case 'in':
      return { size: ONE, cost: cost + sum(totals) / READ };
    case '?:':
      return { size: largest(sizes) ?? ONE, cost };
    case 'list':
    case 'map':
      return { size: { n: sizes.length, of: largest(sizes) }, cost };
    case '[]':
    case '[?]':
      return { size: sizes[0]?.of ?? TEXT, cost };
    default:
      return { size: ONE, cost };
  }
}

/** Part by part: of two lists, the longer one with the longer elements. */
function largest(sizes: readonly (Size | undefined)[]): Size | undefined {
  const known = sizes.filter((size) => size !== undefined);
  if (known.length === 0) return undefined;
  return { n: Math.max(...known.map(({ n }) => n)), of: largest(known.map(({ of }) => of)) };
}

function totalOf(size: Size): number {
  return size.of === undefined ? size.n : size.n * (1 + totalOf(size.of));
}

const sum = (numbers: readonly number[]) => numbers.reduce((total, number) => total + number, 0);

/** The nodes right under a node. */
export function operandsOf(node: ASTNode): ASTNode[] {
  const operands: ASTNode[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) for (const item of value) visit(item);
    else if (isNode(value)) operands.push(value);
  };
  visit(isNode(node.args) ? [node.args] : node.args);
  return operands;
}

const isNode = (value: unknown): value is ASTNode =>
  typeof value === 'object' && value !== null && 'op' in value && 'args' in value;
