import type { z } from 'zod';

type Issue = z.core.$ZodIssue;

interface PassportProblem {
  readonly path: readonly PropertyKey[];
  /** what was expected, or what is wrong */
  readonly message: string;
}

/**
 * What is wrong with a passport, each where it stands. Where several forms are possible (an input is a picture, sound, …), the problem
 * is that of the form that was meant: the one that has the keys that are there.
 */
export function passportProblems(error: z.core.$ZodError): PassportProblem[] {
  return error.issues.flatMap((issue) => flatten(issue, []));
}

function flatten(issue: Issue, under: readonly PropertyKey[]): PassportProblem[] {
  const path = [...under, ...issue.path];
  if (issue.code !== 'invalid_union' || issue.errors.length === 0) return [{ path, message: sentenceOf(issue) }];
  const misfits = issue.errors.map((branch) => branch.filter(isOfAnotherForm).length);
  const least = Math.min(...misfits);
  const [meant, ...others] = issue.errors.filter((_, at) => misfits[at] === least);
  if (meant !== undefined && others.length === 0) return meant.flatMap((inner) => flatten(inner, path));
  const keys = issue.errors.flatMap((branch) => branch.find(({ path: of }) => of.length === 1)?.path ?? []);
  const words = issue.errors.flatMap((branch) => branch.map(sentenceOf));
  const message =
    keys.length > 0 ? `expected one of ${unique(keys.map(String)).join(', ')}` : unique(words).join(' or ');
  return [{ path, message }];
}

const KINDS: Readonly<Record<string, string>> = {
  ...{ object: 'a mapping', record: 'a mapping', array: 'a list', tuple: 'a list', string: 'text' },
  ...{ number: 'a number', int: 'a whole number', boolean: 'true or false' },
};
const UNITS: Readonly<Record<string, string>> = { string: ' characters', array: ' items' };

/** In Brink's words; what a schema says of its own is that already. */
function sentenceOf(issue: Issue): string {
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${KINDS[issue.expected] ?? issue.expected}`;
    case 'invalid_value':
      return `expected ${issue.values.length === 1 ? '' : 'one of '}${issue.values.map((one) => JSON.stringify(one)).join(', ')}`;
    case 'unrecognized_keys':
      return `expected no key ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}`;
    case 'too_small':
      return `expected ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${UNITS[issue.origin] ?? ''}`;
    case 'too_big':
      return `expected ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${UNITS[issue.origin] ?? ''}`;
    default:
      return issue.message;
  }
}

/** A key that it does not have, or one that it needs and that is not there. */
function isOfAnotherForm(issue: Issue): boolean {
  if (issue.code === 'unrecognized_keys') return issue.path.length === 0;
  return issue.path.length === 1 && (issue.code === 'invalid_union' || /undefined/.test(issue.message));
}

const unique = (texts: readonly string[]) => [...new Set(texts)].slice(0, 8);
