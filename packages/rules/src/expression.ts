import type { Decision } from '@brink/protocol';
import { type ASTNode, TypeError as CheckError, Environment, EvaluationError, ParseError } from '@marcbachmann/cel-js';

// CEL (https://github.com/google/cel-spec) over one decision. No clock, no randomness, no regular expressions, and no way
// to loop but over the lists of a decision: an evaluation ends.

/** What an expression may name. `previous` is {} before the key's first decision, so that has(previous.label) is false. */
export interface Variables {
  readonly decision: Partial<Decision>;
  readonly device: string;
  readonly stream: string;
  readonly pipeline: string;
  readonly previous: Partial<Decision>;
}

export interface Expression {
  readonly text: string;
  /** What it reads, as "decision.label": for explanations, and to know what must be kept. */
  readonly paths: readonly string[];
  readonly type: string;
  /** @throws ExpressionError where CEL has no value for it, as for a field that this decision lacks */
  readonly evaluate: (variables: Variables) => unknown;
}

/** An expression that cannot be compiled or that has no value. Never leaves this package. */
export class ExpressionError extends Error {
  /** From 1, in the expression's text. */
  readonly column: number;

  constructor(message: string, column: number, cause?: unknown) {
    super(message, { cause });
    this.column = column;
  }
}

const NODES_MAX = 500;
const DEPTH_MAX = 40;
/** exists(exists(…)) over lists of at most 1000: a third level would be 10^9 steps. */
const LOOPS_NESTED_MAX = 2;

const LOOPS = new Set(['all', 'exists', 'exists_one', 'map', 'filter']);
const FIELDS: Record<string, readonly string[]> = {
  'decision.objects': ['label', 'label_text', 'score', 'box'],
  'previous.objects': ['label', 'label_text', 'score', 'box'],
  'decision.classes': ['label', 'label_text', 'score'],
  'previous.classes': ['label', 'label_text', 'score'],
};
const ROOTS = new Set(['decision', 'device', 'stream', 'pipeline', 'previous']);

// Whole numbers are `dyn`: JSON has one kind of number, and CEL's == refuses to compare a double with 3.
// Lists are `list<map>` and not of a declared type: cel-js would copy every element at every reading (23 against 12 µs
// for 100 objects); their field names are checked by `checkFields`.
const environment = new Environment({
  homogeneousAggregateLiterals: false,
  limits: {
    maxAstNodes: NODES_MAX,
    maxDepth: DEPTH_MAX,
    maxListElements: 100,
    maxMapEntries: 100,
    maxCallArguments: 8,
  },
})
  .registerType('Decision', {
    schema: {
      ...{ id: 'string', device: 'string', stream: 'string', pipeline: 'string', outcome: 'string', task: 'string' },
      ...{ label: 'string', label_text: 'string', score: 'double', quality: 'string', received_at: 'string' },
      ...{ n: 'dyn', latency_ms: 'double', revision: 'string' },
      values: 'map<string, double>',
      objects: 'list<map<string, dyn>>',
      classes: 'list<map<string, dyn>>',
      frames: { boot: 'string', first: 'dyn', last: 'dyn', received: 'dyn' },
      model: { name: 'string', version: 'dyn' },
      error: { code: 'string', detail: 'string' },
    },
  })
  .registerVariable('decision', 'Decision')
  .registerVariable('previous', 'Decision')
  .registerVariable('device', 'string')
  .registerVariable('stream', 'string')
  .registerVariable('pipeline', 'string');

/** @throws ExpressionError with what is wrong and where */
export function compileExpression(text: string): Expression {
  const program = attempt(() => environment.parse(text));
  checkNode(program.ast, 0, new Map());
  const checked = program.check();
  if (!checked.valid) throw translate(checked.error);
  return {
    text,
    paths: [...new Set(pathsOf(program.ast))],
    type: checked.type ?? 'dyn',
    evaluate: (variables) => attempt(() => program(variables) as unknown),
  };
}

function attempt<T>(run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw translate(error);
  }
}

function translate(error: unknown): ExpressionError {
  if (error instanceof ExpressionError) return error;
  if (error instanceof ParseError || error instanceof CheckError || error instanceof EvaluationError) {
    return new ExpressionError(error.summary, (error.range?.start ?? 0) + 1, error);
  }
  return new ExpressionError(error instanceof Error ? error.message : String(error), 1, error);
}

/** @param elements loop variables in scope → the list they run over, as "decision.objects" */
function checkNode(node: ASTNode, loops: number, elements: ReadonlyMap<string, string>): void {
  const name = node.op === 'call' || node.op === 'rcall' ? node.args[0] : undefined;
  if (name === 'matches') {
    throw new ExpressionError(
      'matches(): regular expressions are not allowed; expected ==, in, startsWith, endsWith or contains',
      node.range.start + 1,
    );
  }
  if (node.op === '.') checkField(node, elements);
  if (node.op !== 'rcall' || !LOOPS.has(node.args[0])) {
    for (const child of childrenOf(node)) checkNode(child, loops, elements);
    return;
  }
  const [loop, list, args] = node.args;
  if (loops === LOOPS_NESTED_MAX) {
    throw new ExpressionError(
      `${loop}(): loops within loops within loops; expected at most ${LOOPS_NESTED_MAX} levels`,
      node.range.start + 1,
    );
  }
  checkNode(list, loops, elements);
  const variable = args[0]?.op === 'id' ? args[0].args : '';
  const inner = new Map(elements).set(variable, listPath(list));
  for (const argument of args.slice(1)) checkNode(argument, loops + 1, inner);
}

function checkField(node: ASTNode & { op: '.' }, elements: ReadonlyMap<string, string>): void {
  const [object, field] = node.args;
  const list = object.op === 'id' ? elements.get(object.args) : undefined;
  const fields = list === undefined ? undefined : FIELDS[list];
  if (fields === undefined || fields.includes(field)) return;
  throw new ExpressionError(`No such key: ${field}; expected ${fields.join(', ')}`, node.range.end - field.length + 1);
}

/** `decision.objects`, also behind filter(): its elements are the same. */
function listPath(node: ASTNode): string {
  if (node.op === 'rcall' && node.args[0] === 'filter') return listPath(node.args[1]);
  return pathOf(node) ?? '';
}

function childrenOf(node: ASTNode): ASTNode[] {
  const children: ASTNode[] = [];
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) for (const item of value) visit(item);
    else if (isNode(value)) children.push(value);
  };
  visit(isNode(node.args) ? [node.args] : node.args);
  return children;
}

const isNode = (value: unknown): value is ASTNode =>
  typeof value === 'object' && value !== null && 'op' in value && 'args' in value;

function* pathsOf(node: ASTNode): Generator<string> {
  const path = pathOf(node);
  if (path !== undefined) yield path;
  else for (const child of childrenOf(node)) yield* pathsOf(child);
}

/** "decision.frames.last" of a chain of fields that begins at a variable; undefined for anything else. */
function pathOf(node: ASTNode): string | undefined {
  if (node.op === 'id') return ROOTS.has(node.args) ? node.args : undefined;
  if (node.op !== '.') return undefined;
  const before = pathOf(node.args[0]);
  return before === undefined ? undefined : `${before}.${node.args[1]}`;
}
