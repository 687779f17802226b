import { isDeepStrictEqual } from 'node:util';
import { BrinkError } from '@brink/protocol';
import { type Document, isAlias, isMap, isScalar, isSeq, type Pair, parseDocument, Scalar, type YAMLMap } from 'yaml';
import { formatPath } from './problems.ts';
import { isRecord, mergeSources, type SourceFile } from './sources.ts';

// Edits of the files as a person would make them: comments, order and what was not asked for stay.

/** The keys of the configuration under which things have names. */
export type Section = 'streams' | 'models' | 'rules' | 'targets';

/** One name under a key, and what shall stand there. */
export interface Edit {
  readonly section: Section | 'site';
  readonly name: string;
  /** undefined: nothing. */
  readonly value: unknown;
  /**
   * What stands there now, defaults filled in. What a value repeats of it is not written: who reads an item, changes one key and
   * puts it back has changed one key.
   */
  readonly effective?: unknown;
}

/** A file before and after; undefined: there is none. */
export interface FileChange {
  readonly name: string;
  readonly before: string | undefined;
  readonly after: string | undefined;
}

const HEADER = '# yaml-language-server: $schema=http://localhost:8080/schemas/v1/config.json\nversion: 1\n';

interface Open {
  readonly name: string;
  readonly before: string | undefined;
  readonly document: Document;
}

/**
 * @param pathOf where a file of this name lies, for a key that no file has yet: `rules.yaml`
 * @returns the files that change; none where they say so already
 * @throws BrinkError E_CONFLICT where a program should not touch it: an anchor or alias would change something else too
 */
export function editFiles(
  files: readonly SourceFile[],
  edits: readonly Edit[],
  pathOf: (name: string) => string,
): FileChange[] {
  const first = new Map(files.map(({ name, text }) => [name, text]));
  let now = files;
  const wanted = edits.filter(({ value, effective }) => value === undefined || !isDeepStrictEqual(value, effective));
  for (const edit of wanted) {
    const changed = editOne(now, edit, pathOf);
    if (changed !== undefined) now = afterChanges(now, [changed]);
  }
  const changes = now
    .map(({ name, text }) => ({ name, before: first.get(name), after: text }))
    .filter(({ before, after }) => before !== after);
  refuseSideEffects(files, changes, edits);
  return changes;
}

function editOne(files: readonly SourceFile[], edit: Edit, pathOf: (name: string) => string): FileChange | undefined {
  const open: Open[] = files.map(({ name, text }) => ({ name, before: text, document: parseDocument(text) }));
  const broken = open.find(({ document }) => document.errors.length > 0);
  if (broken !== undefined) throw new BrinkError('E_CONFLICT', `${broken.name} is no valid YAML; put it right by hand`);
  const home = homeOf(open, edit, pathOf);
  if (home === undefined) return undefined;
  const { name, before, document } = home;
  const style = styleOf(before ?? HEADER);
  const old = document.toString(style);
  apply(home, edit);
  const after = document.toString(style);
  return after === old ? undefined : { name, before, after: spliced(before ?? HEADER, old, after) };
}

/** How deep each level of a file is indented, and whether lists are. */
function styleOf(text: string): { lineWidth: 0; indent: number; indentSeq: boolean } {
  const [, spaces = '  '] = /^( {1,8})[^\s#-]/m.exec(text) ?? [];
  return { lineWidth: 0, indent: Math.max(1, spaces.length), indentSeq: !/^( *)[^\s#-][^\n]*:[ ]*\n\1- /m.test(text) };
}

/**
 * The library writes a whole document, in its own way of spacing. Lines outside of what changed are taken from the file as they were.
 * @param old the document before as the library writes it @param after the same after the edit
 */
function spliced(text: string, old: string, after: string): string {
  const end = text.includes('\r\n') ? '\r\n' : '\n';
  const [was, before, next] = [text, old, after].map((one) => one.replace(/\r?\n?$/, '').split(/\r?\n/));
  if (was === undefined || before === undefined || next === undefined || was.length !== before.length) return after;
  const shorter = Math.min(before.length, next.length);
  let head = 0;
  while (head < shorter && before[head] === next[head]) head += 1;
  let tail = 0;
  while (tail < shorter - head && before.at(-1 - tail) === next.at(-1 - tail)) tail += 1;
  const lines = [...was.slice(0, head), ...next.slice(head, next.length - tail), ...was.slice(was.length - tail)];
  const whole = `${lines.join(end)}${end}`;
  const read = parseDocument(whole);
  return read.errors.length === 0 && isDeepStrictEqual(read.toJS(), parseDocument(after).toJS()) ? whole : after;
}

/** The files as they will be. */
export function afterChanges(files: readonly SourceFile[], changes: readonly FileChange[]): SourceFile[] {
  const all = new Map(files.map((file) => [file.name, file]));
  for (const { name, after } of changes) {
    if (after === undefined) all.delete(name);
    else all.set(name, { name, text: after });
  }
  return [...all.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** The file that has the name, else the one that has its key, else a new one; undefined: there is nothing to remove. */
function homeOf(open: Open[], { section, name, value }: Edit, pathOf: (name: string) => string): Open | undefined {
  const under = ({ document }: Open) => (isMap(document.contents) ? pairOf(document.contents, section) : undefined);
  const has = (one: Open) => {
    const entries = resolved(one.document, under(one)?.value);
    return isMap(entries) && pairOf(entries, name) !== undefined;
  };
  const home = open.find(has);
  if (home !== undefined || value === undefined) return home;
  const beside = open.find((one) => under(one) !== undefined);
  if (beside !== undefined) return beside;
  const path = pathOf(`${section}.yaml`);
  const there = open.find((one) => one.name === path);
  if (there !== undefined) return there;
  const made: Open = { name: path, before: undefined, document: parseDocument(HEADER) };
  open.push(made);
  return made;
}

function apply({ document, name: file }: Open, { section, name, value, effective }: Edit): void {
  if (!isMap(document.contents)) document.contents = document.createNode({}) as never;
  const root = document.contents as unknown as YAMLMap;
  const entries = mappingAt(document, root, section, file);
  if (value === undefined) remove(entries, name);
  else assign(document, entries, name, value, effective);
}

/** The mapping under a key; made where nothing stands behind it. @throws BrinkError E_CONFLICT */
function mappingAt(document: Document, parent: YAMLMap, key: string, file: string): YAMLMap {
  const pair = pairOf(parent, key);
  if (isMap(pair?.value)) return pair.value as YAMLMap;
  const { value } = pair ?? {};
  if (isAlias(value)) throw new BrinkError('E_CONFLICT', `${file}: ${key} is an alias; change it by hand`);
  if (value !== undefined && value !== null && !(isScalar(value) && value.value === null)) {
    throw new BrinkError('E_CONFLICT', `${file}: ${key} is no mapping; change it by hand`);
  }
  const made = document.createNode({}) as YAMLMap;
  if (pair === undefined) parent.items.push(document.createPair(key, made) as never);
  else pair.value = made;
  return made;
}

/** Makes what stands under a key say the value, changing no more than it must. */
function assign(document: Document, parent: YAMLMap, key: string, value: unknown, effective: unknown): void {
  if (effective !== undefined && isDeepStrictEqual(value, effective)) return;
  const pair = pairOf(parent, key);
  if (pair === undefined) {
    parent.items.push(document.createPair(key, lean(value, effective)) as never);
    return;
  }
  pair.value = assigned(document, pair.value, value, effective);
}

/** @returns the node that says the value: the one that was there, where it can be */
function assigned(document: Document, node: unknown, value: unknown, effective: unknown): unknown {
  if (isMap(node) && isRecord(value)) return assignedMap(document, node as YAMLMap, value, effective);
  if (isSeq(node) && Array.isArray(value) && node.items.length === value.length) {
    const items = Array.isArray(effective) ? effective : [];
    node.items = node.items.map((item, index) => assigned(document, item, value[index], items[index]) as never);
    return node;
  }
  if (isDeepStrictEqual(toValue(document, node), value)) return node;
  if (isAlias(node)) throw new BrinkError('E_CONFLICT', `*${node.source} is an alias; change it by hand`);
  const made = document.createNode(lean(value, effective));
  if (isScalar(node) && made instanceof Scalar) {
    const { comment, commentBefore, spaceBefore } = node;
    Object.assign(made, { comment, commentBefore, spaceBefore });
    // Quotes stay the ones that were there.
    if (node.type !== undefined && typeof node.value === 'string' && typeof value === 'string') made.type = node.type;
  }
  return made;
}

function assignedMap(document: Document, map: YAMLMap, value: Record<string, unknown>, effective: unknown): YAMLMap {
  for (const key of keysOf(map)) if (value[key] === undefined) remove(map, key);
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) assign(document, map, key, item, isRecord(effective) ? effective[key] : undefined);
  }
  return map;
}

/** Without what it repeats. */
function lean(value: unknown, effective: unknown): unknown {
  if (!isRecord(value)) return value;
  const now = isRecord(effective) ? effective : {};
  return Object.fromEntries(
    Object.entries(value).filter(([key, item]) => item !== undefined && !isDeepStrictEqual(item, now[key])),
  );
}

function toValue(document: Document, node: unknown): unknown {
  const target = isAlias(node) ? node.resolve(document) : node;
  if (target === null || target === undefined) return target;
  return (target as { toJS(of: Document): unknown }).toJS(document);
}

const resolved = (document: Document, node: unknown) => (isAlias(node) ? node.resolve(document) : node);

/** Keys are compared as text: `1:` is the name "1". */
const keyText = ({ key }: Pair) => String(isScalar(key) ? key.value : key);
const pairOf = (map: YAMLMap, key: string) => (map.items as Pair[]).find((pair) => keyText(pair) === key);
const keysOf = (map: YAMLMap) => (map.items as Pair[]).map(keyText);
function remove(map: YAMLMap, key: string): void {
  map.items = (map.items as Pair[]).filter((pair) => keyText(pair) !== key) as never;
}

/** An anchor that is used elsewhere takes its other users along: then the edit is a person's. @throws BrinkError E_CONFLICT */
function refuseSideEffects(files: readonly SourceFile[], changes: readonly FileChange[], edits: readonly Edit[]): void {
  const wanted = new Set(edits.map(({ section, name }) => `${section}\0${name}`));
  const before = entriesOf(files);
  const after = entriesOf(afterChanges(files, changes));
  for (const key of new Set([...before.keys(), ...after.keys()])) {
    if (wanted.has(key) || isDeepStrictEqual(before.get(key), after.get(key))) continue;
    const path = formatPath(key.split('\0'));
    throw new BrinkError('E_CONFLICT', `an anchor or alias of the files would change ${path} too; change it by hand`);
  }
}

function entriesOf(files: readonly SourceFile[]): Map<string, unknown> {
  const { value } = mergeSources(files);
  const entries = new Map<string, unknown>();
  for (const [section, names] of Object.entries(value)) {
    if (!isRecord(names)) entries.set(section, names);
    else for (const [name, entry] of Object.entries(names)) entries.set(`${section}\0${name}`, entry);
  }
  entries.delete('version');
  return entries;
}
