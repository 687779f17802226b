import type { Decision } from '@brink/protocol';
import { type ASTNode, TypeError as CheckError, Environment, EvaluationError, ParseError } from '@marcbachmann/cel-js';
import { listMaxOf, operandsOf, STEPS_MAX } from './cost.ts';
import { footOf, isInside, type Zones } from './zones.ts';

// CEL (https://github.com/google/cel-spec) over one decision. No clock, no randomness, no regular expressions, and no way
// to loop but over the lists of a decision: an evaluation ends, and `listMaxOf` knows how soon.

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
  /** Whether it is false for certain, told without evaluating it. */
  readonly refuses: (variables: Variables) => boolean;
  /** @throws ExpressionError where CEL has no value for it, as for a field that this decision lacks */
  readonly evaluate: (variables: Variables) => unknown;
}

/** What an expression may name besides its variables. */
export interface ExpressionScope {
  /** By pipeline that decisions may come from: the zones of its stream. */
  readonly zones: Readonly<Record<string, Zones>>;
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
/** exists(exists(…)): a third level can be evaluated with a handful of objects only. */
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
  .registerVariable('pipeline', 'string')
  .registerFunction('inZone(map<string, dyn>, string): bool', inZone);

// CEL's functions see their arguments and nothing else. An evaluation is one synchronous call, so this is its own.
let zonesInUse: Zones = {};

function inZone(object: unknown, name: string): boolean {
  const zone = Object.hasOwn(zonesInUse, name) ? zonesInUse[name] : undefined;
  const foot = footOf(object);
  if (zone === undefined) throw new ExpressionError(`inZone(): this stream has no zone "${name}"`, 1);
  if (foot === undefined) throw new ExpressionError('inZone(): expected an object with a box', 1);
  return isInside(zone, ...foot);
}

const NOWHERE: ExpressionScope = { zones: {} };

/** @throws ExpressionError with what is wrong and where */
export function compileExpression(text: string, scope: ExpressionScope = NOWHERE): Expression {
  const program = attempt(() => environment.parse(text));
  checkNode(program.ast, { loops: 0, elements: new Map(), scope });
  const checked = program.check();
  if (!checked.valid) throw translate(checked.error);
  const guards = guardsOf(program.ast);
  const refuses = (variables: Variables) => guards.some((guard) => guard(variables));
  const listMax = listMaxOf(program.ast);
  if (listMax === 0) {
    throw new ExpressionError(`too costly: more than ${STEPS_MAX} steps for a decision with 16 objects`, 1);
  }
  return {
    text,
    paths: [...new Set(pathsOf(program.ast))],
    type: checked.type ?? 'dyn',
    refuses,
    evaluate: (variables) =>
      attempt(() => {
        if (refuses(variables)) return false;
        if (listMax !== Number.POSITIVE_INFINITY) refuseMore(variables, listMax);
        zonesInUse = scope.zones[variables.pipeline] ?? {};
        return program(variables) as unknown;
      }),
  };
}

/** Whether it can be told without evaluating: the condition does not hold. */
type Guard = (variables: Variables) => boolean;

const GUARDED: Record<string, (variables: Variables) => unknown> = {
  device: ({ device }) => device,
  stream: ({ stream }) => stream,
  pipeline: ({ pipeline }) => pipeline,
  'decision.label': ({ decision }) => decision.label,
  'decision.device': ({ decision }) => decision.device,
};

/**
 * Of `device == "cam-7" && …`: where the device is another one, the whole is false, whatever the rest says (in CEL, false
 * && an error is false). A site has many rules that are for one device or one label each.
 */
function guardsOf(node: ASTNode): Guard[] {
  if (node.op === '&&') return node.args.flatMap(guardsOf);
  if (node.op !== '==') return [];
  const [left, right] = node.args;
  const [path, literal] = right.op === 'value' ? [pathOf(left), right] : [pathOf(right), left];
  const read = GUARDED[path ?? ''];
  if (read === undefined || literal.op !== 'value' || typeof literal.args !== 'string') return [];
  const wanted = literal.args;
  return [
    (variables) => {
      const found = read(variables);
      return typeof found === 'string' && found !== wanted;
    },
  ];
}

function refuseMore({ decision, previous }: Variables, listMax: number): void {
  for (const read of [decision, previous]) {
    const most = Math.max(
      read.objects?.length ?? 0,
      read.classes?.length ?? 0,
      read.values === undefined ? 0 : Object.keys(read.values).length,
    );
    if (most <= listMax) continue;
    throw new ExpressionError(
      `a decision with ${most} objects, classes or values; this is too costly beyond ${listMax}`,
      1,
    );
  }
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

interface Inside {
  /** Loops around. */
  readonly loops: number;
  /** Loop variables → the list they run over, as "decision.objects". */
  readonly elements: ReadonlyMap<string, string>;
  readonly scope: ExpressionScope;
}

function checkNode(node: ASTNode, inside: Inside): void {
  if (node.op === 'call' || node.op === 'rcall') checkCall(node, inside.scope);
  if (node.op === '.') checkField(node, inside.elements);
  if (node.op !== 'rcall' || !LOOPS.has(node.args[0])) {
    for (const child of operandsOf(node)) checkNode(child, inside);
    return;
  }
  const [loop, list, args] = node.args;
  if (inside.loops === LOOPS_NESTED_MAX) {
    throw new ExpressionError(
      `${loop}(): loops within loops within loops; expected at most ${LOOPS_NESTED_MAX} levels`,
      node.range.start + 1,
    );
  }
  checkNode(list, inside);
  const variable = args[0]?.op === 'id' ? args[0].args : '';
  const elements = new Map(inside.elements).set(variable, listPath(list));
  for (const argument of args.slice(1)) checkNode(argument, { ...inside, loops: inside.loops + 1, elements });
}

function checkCall(node: ASTNode & { op: 'call' | 'rcall' }, scope: ExpressionScope): void {
  const [name] = node.args;
  const at = node.range.start + 1;
  if (name === 'matches') {
    throw new ExpressionError(
      'matches(): regular expressions are not allowed; expected ==, in, startsWith, endsWith or contains',
      at,
    );
  }
  // cel.bind(a, x + x, cel.bind(b, a + a, …)) doubles with every word.
  if (name === 'bind') throw new ExpressionError('bind(): not allowed; expected the expression itself', at);
  if (name === 'inZone' && node.op === 'call') checkZone(node.args[1][1], scope, at);
}

/** Zones have their names in the configuration, so a name that is not there is found here and not at night. */
function checkZone(name: ASTNode | undefined, { zones }: ExpressionScope, at: number): void {
  if (name?.op !== 'value' || typeof name.args !== 'string') {
    throw new ExpressionError('inZone(): expected an object and the name of a zone, as inZone(o, "drive")', at);
  }
  for (const [pipeline, known] of Object.entries(zones)) {
    if (Object.hasOwn(known, name.args)) continue;
    const names = Object.keys(known).join(', ') || 'none: add it to `zones` of the stream';
    throw new ExpressionError(
      `inZone(): the stream of ${pipeline} has no zone "${name.args}"; expected one of ${names}`,
      name.range.start + 1,
    );
  }
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

function* pathsOf(node: ASTNode): Generator<string> {
  const path = pathOf(node);
  if (path !== undefined) yield path;
  else for (const child of operandsOf(node)) yield* pathsOf(child);
}

/** "decision.frames.last" of a chain of fields that begins at a variable; undefined for anything else. */
function pathOf(node: ASTNode): string | undefined {
  if (node.op === 'id') return ROOTS.has(node.args) ? node.args : undefined;
  if (node.op !== '.') return undefined;
  const before = pathOf(node.args[0]);
  return before === undefined ? undefined : `${before}.${node.args[1]}`;
}
