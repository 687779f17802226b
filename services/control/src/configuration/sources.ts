import { ConfigurationSchema } from '@brink/protocol';
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
  visit,
  type YAMLMap,
} from 'yaml';
import { type ConfigPath, type ConfigProblem, describeFound, formatPath } from './problems.ts';

/** A file of the configuration folder, as read. */
export interface SourceFile {
  /** As it is shown in messages: relative to where the user stands. */
  readonly name: string;
  readonly text: string;
}

interface Position {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

export interface Merged {
  readonly value: Record<string, unknown>;
  readonly problems: ConfigProblem[];
  /** A file could not be read as YAML: what refers to it would look wrong too. */
  readonly broken: boolean;
  /** Where the value at a path stands; of a path that does not exist, where its nearest parent stands. */
  locate(path: ConfigPath, what?: 'value' | 'key'): Position;
  /** A place inside a text, where the text stands in the file as it is; else where it begins. @param column from 1 */
  locateInText(path: ConfigPath, column: number): Position;
}

interface Parsed {
  readonly file: string;
  readonly text: string;
  readonly document: Document.Parsed;
  readonly root: YAMLMap;
  readonly lines: LineCounter;
}

// https://en.wikipedia.org/wiki/Billion_laughs_attack: the `yaml` package counts what aliases expand to.
const ALIASES_MAX = 100;

/**
 * Parses the files and merges them by top-level key. The same name under one key in two files is a problem that names
 * both; so is the same key of `site`. A plain value (`version`) may stand in several files if it is the same.
 */
export function mergeSources(files: readonly SourceFile[]): Merged {
  const problems: ConfigProblem[] = [];
  const parsed = files.flatMap((file) => parseSource(file, problems) ?? []);
  const broken = problems.length > 0;
  const value: Record<string, unknown> = Object.create(null);
  /** `top` or `top\0name` → the file that it is from */
  const origin = new Map<string, Parsed>();

  for (const source of parsed) {
    const part = toValue(source, problems);
    for (const [top, entry] of Object.entries(part)) mergeTop(source, top, entry);
  }

  function mergeTop(source: Parsed, top: string, entry: unknown): void {
    const first = origin.get(top);
    const into = value[top];
    if (first === undefined) {
      origin.set(top, source);
      value[top] = isRecord(entry) ? mergeNames(source, top, {}, entry) : entry;
    } else if (isRecord(entry) && isRecord(into)) {
      mergeNames(source, top, into, entry);
    } else if (top === 'version') {
      mergeVersion(source, entry);
    } else if (entry !== into) {
      problems.push(conflict(source, first, [top]));
    }
  }

  /** Of two that differ one at least is wrong: it alone is kept, and the schema says so. */
  function mergeVersion(source: Parsed, entry: unknown): void {
    if (entry === value['version'] || !ConfigurationSchema.shape.version.safeParse(value['version']).success) return;
    origin.set('version', source);
    value['version'] = entry;
  }

  function mergeNames(source: Parsed, top: string, into: Record<string, unknown>, from: Record<string, unknown>) {
    for (const [name, item] of Object.entries(from)) {
      const other = origin.get(`${top}\0${name}`);
      if (other !== undefined) {
        problems.push(conflict(source, other, [top, name]));
        continue;
      }
      origin.set(`${top}\0${name}`, source);
      into[name] = item;
    }
    return into;
  }

  function sourceOf([top, name]: ConfigPath): Parsed | undefined {
    const byName = name === undefined ? undefined : origin.get(`${top}\0${name}`);
    return byName ?? origin.get(String(top ?? '')) ?? parsed[0];
  }

  function locate(path: ConfigPath, what: 'value' | 'key' = 'value'): Position {
    const source = sourceOf(path);
    if (source === undefined) return { file: files[0]?.name ?? 'config', line: 1, column: 1 };
    return positionOf(source, path, what);
  }

  function locateInText(path: ConfigPath, column: number): Position {
    const source = sourceOf(path);
    const node = source?.document.getIn(path, true);
    if (source === undefined || !isScalar(node) || typeof node.value !== 'string') return locate(path);
    const [offset = 0] = node.range ?? [];
    const from = offset + (/['"]/.test(source.text[offset] ?? '') ? 1 : 0);
    if (!source.text.startsWith(node.value, from)) return locate(path);
    const { line, col } = source.lines.linePos(from + column - 1);
    return { file: source.file, line, column: col };
  }

  return { value, problems, broken, locate, locateInText };
}

function parseSource(file: SourceFile, problems: ConfigProblem[]): Parsed | undefined {
  const lines = new LineCounter();
  const report = (offset: number, found: string, expected: string): void => {
    const { line, col } = lines.linePos(offset);
    problems.push({ file: file.name, line, column: col, path: '', found: found.slice(0, 200), expected });
  };
  // YAML 1.2 core: `no` and `on` are words, not booleans.
  const document = parseDocument(file.text, { lineCounter: lines, prettyErrors: false, version: '1.2' });
  const before = problems.length;
  const said = [...document.errors, ...document.warnings];
  // After the first slip of syntax the parser is out of step: what it says then is about what follows, not about the slip.
  const syntax = said.filter(({ code }) => code !== 'MULTIPLE_DOCS' && code !== 'DUPLICATE_KEY');
  const first = syntax.toSorted((a, b) => a.pos[0] - b.pos[0])[0];
  for (const { code, pos, message } of first === undefined ? said : [first]) {
    if (code === 'MULTIPLE_DOCS') report(pos[0], 'a second document (---)', 'one document in a file');
    else if (code === 'DUPLICATE_KEY') {
      const { key, at } = firstOf(document, pos[0]);
      const first = lines.linePos(at);
      report(pos[0], `the key "${key}" a second time`, `each key once; the first one is at ${first.line}:${first.col}`);
    } else report(pos[0], message.replace(/\s+/g, ' '), 'valid YAML');
  }
  if (first === undefined) checkAliases(document, report);
  const root = document.contents;
  if (problems.length > before || root === null) return undefined;
  if (!isMap(root)) {
    const found = isSeq(root) ? 'a list' : describeFound(root.toJSON());
    report(root.range?.[0] ?? 0, found, 'a mapping of version, site, streams, models, rules, targets');
    return undefined;
  }
  return { file: file.name, text: file.text, document, root, lines };
}

/** Each alias has its anchor before it; there are not so many that resolving them would take long. */
function checkAliases(document: Document.Parsed, report: (at: number, found: string, expected: string) => void): void {
  const anchors = new Set<string>();
  let aliases = 0;
  visit(document, {
    Node(_, node) {
      if (!isAlias(node)) {
        if (node.anchor !== undefined) anchors.add(node.anchor);
        return undefined;
      }
      aliases += 1;
      const at = node.range?.[0] ?? 0;
      if (!anchors.has(node.source)) report(at, `the alias *${node.source}`, `an anchor &${node.source} before it`);
      if (aliases <= ALIASES_MAX) return undefined;
      report(at, `more than ${ALIASES_MAX} aliases`, `at most ${ALIASES_MAX} in a file`);
      return visit.BREAK;
    },
  });
}

/** The key that stands at an offset a second time, and where it stands first. */
function firstOf(document: Document.Parsed, offset: number): { key: string; at: number } {
  let found = { key: '', at: offset };
  visit(document, {
    Map(_, map) {
      const keys = map.items.map(({ key }) => key).filter(isScalar);
      const again = keys.find(({ range }) => range?.[0] === offset);
      if (again === undefined) return undefined;
      const first = keys.find(({ value }) => value === again.value);
      found = { key: String(again.value), at: first?.range?.[0] ?? offset };
      return visit.BREAK;
    },
  });
  return found;
}

function toValue(source: Parsed, problems: ConfigProblem[]): Record<string, unknown> {
  try {
    return source.document.toJS({ maxAliasCount: ALIASES_MAX }) as Record<string, unknown>;
  } catch (cause) {
    const found = cause instanceof Error ? cause.message : String(cause);
    problems.push({
      file: source.file,
      line: 1,
      column: 1,
      path: '',
      found,
      expected: `at most ${ALIASES_MAX} aliases`,
    });
    return {};
  }
}

function conflict(second: Parsed, first: Parsed, path: ConfigPath): ConfigProblem {
  const there = positionOf(first, path, 'key');
  return {
    ...positionOf(second, path, 'key'),
    path: formatPath(path),
    found: `"${path.at(-1)}" a second time`,
    expected: `it in one file only; it is also in ${there.file}:${there.line}:${there.column}`,
  };
}

function positionOf(source: Parsed, path: ConfigPath, what: 'value' | 'key'): Position {
  let node: Node = source.root;
  let at: Node = source.root;
  for (const [depth, part] of path.entries()) {
    const step = child(source, node, part);
    if (step === undefined) break;
    const last = depth === path.length - 1;
    at = (last && what === 'key') || step.value === undefined ? step.key : step.value;
    // A mapping's position is its first key; for "something is missing in it" the key that names it is the better place.
    if (isMap(step.value) && step.value.flow !== true) at = step.key;
    if (step.value === undefined) break;
    node = step.value;
  }
  const { line, col } = source.lines.linePos(at.range?.[0] ?? 0);
  return { file: source.file, line, column: col };
}

function child(
  source: Parsed,
  parent: Node,
  part: string | number,
): { key: Node; value: Node | undefined } | undefined {
  const node = isAlias(parent) ? parent.resolve(source.document) : parent;
  if (isSeq(node) && typeof part === 'number') {
    const item = node.items[part] as Node | undefined;
    return item === undefined ? undefined : { key: item, value: item };
  }
  if (!isMap(node)) return undefined;
  const pair = (node.items as Pair<Node, Node | null>[]).find(
    ({ key }) => isScalar(key) && String(key.value) === String(part),
  );
  return pair === undefined ? undefined : { key: pair.key, value: pair.value ?? undefined };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
