import type { z } from 'zod';
import { exampleFor } from './example.ts';
import { type ConfigPath, type ConfigProblem, describeFound, didYouMean, formatPath } from './problems.ts';
import { isRecord, type Merged } from './sources.ts';

type Issue = z.core.$ZodIssue;
type Path = (string | number)[];

/** What zod found, said for people: where it stands in the files, what is there, what should be. */
export function problemsOf(
  error: z.core.$ZodError,
  schema: z.ZodType,
  merged: Merged,
  under: ConfigPath = [],
): ConfigProblem[] {
  return together(error.issues.flatMap((issue) => explain(issue, under, schema, merged)));
}

const FOUND_CHARS_MAX = 80;

/** Where items of one list are wrong in the same way, the list is: `regions: [0, 0, 0.2, 0.1]` is one mistake, not four. */
function together(problems: readonly ConfigProblem[]): ConfigProblem[] {
  const listOf = ({ path }: ConfigProblem) => /^(.*)\[\d+\]$/.exec(path)?.[1];
  const groups = Map.groupBy(problems, (one) => {
    const list = listOf(one);
    return list === undefined ? one : `${one.file} ${list} ${one.expected}`;
  });
  return [...groups.values()].flatMap(([first, ...more]) => {
    const path = first && listOf(first);
    if (first === undefined || path === undefined || more.length === 0) return first ?? [];
    const { example: _, hint: __, ...rest } = first;
    const found = [first, ...more].map((one) => one.found).join(', ');
    const clipped = found.length > FOUND_CHARS_MAX ? `${found.slice(0, FOUND_CHARS_MAX)}…` : found;
    const example = exampleFor(
      path.split(/\.|(?=\[)/).map((part) => (part[0] === '[' ? Number(part.slice(1, -1)) : part)),
    );
    const expected = `a list, each item of it ${first.expected}`;
    return { ...rest, path, found: clipped, expected, ...(example === undefined ? {} : { example }) };
  });
}

/** @param base where the schema stands in the configuration; the issue's path is relative to it */
function explain(issue: Issue, base: ConfigPath, schema: z.ZodType, merged: Merged): ConfigProblem[] {
  const relative = issue.path as Path;
  const path = [...base, ...relative];
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = keysAt(schema, relative);
      return issue.keys.map((key) => unknownKey(path, key, known, merged));
    }
    case 'invalid_union':
      return explainUnion(issue, base, schema, merged);
    case 'invalid_key': {
      const key = String(path.at(-1));
      return [
        problemAt(path, merged, {
          what: 'key',
          found: `the name ${describeFound(key)}`,
          expected: expectedOf(issue.issues[0]),
        }),
      ];
    }
    default: {
      const found = valueAt(merged.value, path);
      const words = issue.code === 'invalid_value' ? issue.values.map(String) : [];
      const hint = typeof found === 'string' ? didYouMean(found, words) : undefined;
      return [problemAt(path, merged, { found: describeFound(found), expected: expectedOf(issue), hint })];
    }
  }
}

/** A value that fits none of several shapes: the problem is that of the shape it comes nearest to. */
function explainUnion(
  issue: Extract<Issue, { code: 'invalid_union' }>,
  base: ConfigPath,
  schema: z.ZodType,
  merged: Merged,
): ConfigProblem[] {
  const relative = issue.path as Path;
  const path = [...base, ...relative];
  const ranked = issue.errors.map((issues) => ({ issues, misfit: misfit(issues) })).sort((a, b) => a.misfit - b.misfit);
  const [best, second] = ranked;
  if (best !== undefined && (second === undefined || best.misfit < second.misfit)) {
    return best.issues.flatMap((inner) =>
      explain({ ...inner, path: [...relative, ...inner.path] }, base, schema, merged),
    );
  }
  const found = valueAt(merged.value, path);
  const known = keysAt(schema, relative);
  if (isRecord(found) && known.length > 0) {
    const strange = Object.keys(found).filter((key) => !known.includes(key));
    if (strange.length > 0) return strange.map((key) => unknownKey(path, key, known, merged));
    return [problemAt(path, merged, { found: describeFound(found), expected: `one of ${known.join(', ')}` })];
  }
  // A union that has a sentence of its own says it better.
  const own = issue.message === 'Invalid input' ? undefined : issue.message;
  const expected = own ?? [...new Set(issue.errors.map((issues) => expectedOf(issues[0])))].join(' or ');
  return [problemAt(path, merged, { found: describeFound(found), expected })];
}

/** How far a value is from one shape of a union: another kind of value altogether, then keys it does not have. */
function misfit(issues: readonly Issue[]): number {
  let points = 0;
  for (const issue of issues) {
    if (issue.path.length > 0) continue;
    if (issue.code === 'invalid_type') points += 100;
    if (issue.code === 'unrecognized_keys') points += issue.keys.length;
  }
  return points;
}

function unknownKey(parent: Path, key: string, known: readonly string[], merged: Merged): ConfigProblem {
  const path = [...parent, key];
  const hint = didYouMean(key, known);
  const meant = hint === undefined ? undefined : known.find((name) => hint.includes(`"${name}"`));
  const example = meant === undefined ? undefined : exampleFor([...parent, meant]);
  const expected = known.length === 0 ? 'no such key' : `one of ${known.join(', ')}`;
  return problemAt(path, merged, { what: 'key', found: `the unknown key "${key}"`, expected, hint, example });
}

export function problemAt(
  path: ConfigPath,
  merged: Merged,
  say: {
    found: string;
    expected: string;
    what?: 'key' | 'value';
    hint?: string | undefined;
    example?: string | undefined;
    absent?: true;
  },
): ConfigProblem {
  const example = say.example ?? exampleFor(path);
  return {
    ...merged.locate(path, say.what),
    path: formatPath(path),
    found: say.found,
    expected: say.expected,
    ...(say.hint === undefined ? {} : { hint: say.hint }),
    ...(example === undefined ? {} : { example }),
    ...(say.absent === undefined ? {} : { absent: say.absent }),
  };
}

const KIND_WORDS: Record<string, string> = {
  object: 'a mapping',
  record: 'a mapping of names',
  array: 'a list',
  tuple: 'a list',
  string: 'text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

function expectedOf(issue: Issue | undefined): string {
  if (issue === undefined) return 'another value';
  switch (issue.code) {
    case 'invalid_type':
      return KIND_WORDS[issue.expected] ?? issue.expected;
    case 'invalid_value':
      return issue.values.length === 1 ? String(issue.values[0]) : `one of ${issue.values.map(String).join(', ')}`;
    case 'too_small':
      return `${amount(issue.origin)} of at least ${issue.minimum}${unit(issue.origin)}`;
    case 'too_big':
      return `${amount(issue.origin)} of at most ${issue.maximum}${unit(issue.origin)}`;
    default:
      // refine() and regex() in the schema carry their own sentence.
      return issue.message;
  }
}

const amount = (origin: string) => ({ string: 'text', array: 'a list', int: 'a whole number' })[origin] ?? 'a number';
const unit = (origin: string) => ({ string: ' characters', array: ' items' })[origin] ?? '';

function valueAt(root: unknown, path: ConfigPath): unknown {
  let value = root;
  for (const part of path) {
    if (Array.isArray(value)) value = value[Number(part)];
    else if (isRecord(value) && Object.hasOwn(value, part)) value = value[part];
    else return undefined;
  }
  return value;
}

/** The keys that the schema takes at a path; of a union, those of all its shapes. */
export function keysAt(schema: z.ZodType, path: ConfigPath): string[] {
  const keys = shapesAt(schema, path).flatMap((shape) => Object.keys(shape));
  return [...new Set(keys)];
}

function shapesAt(schema: z.ZodType, path: ConfigPath): Record<string, z.ZodType>[] {
  const def = schema.def as unknown as {
    type: string;
    innerType?: z.ZodType;
    options?: z.ZodType[];
    shape?: Record<string, z.ZodType>;
    element?: z.ZodType;
    valueType?: z.ZodType;
  };
  if (def.innerType !== undefined) return shapesAt(def.innerType, path);
  if (def.type === 'union') return (def.options ?? []).flatMap((option) => shapesAt(option, path));
  const [head, ...rest] = path;
  if (head === undefined) return def.shape === undefined ? [] : [def.shape];
  const next = def.shape?.[String(head)] ?? def.element ?? def.valueType;
  return next === undefined ? [] : shapesAt(next, rest);
}
