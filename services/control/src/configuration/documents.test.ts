import { describe, expect, test } from 'vitest';
import { type Edit, editFiles } from './documents.ts';

const edit = (files: Record<string, string>, ...edits: Edit[]) => {
  const sources = Object.entries(files).map(([name, text]) => ({ name, text }));
  const changes = editFiles(sources, edits, (name) => name);
  return Object.fromEntries(changes.map(({ name, after }) => [name, after]));
};
const rule = (name: string, value: unknown, effective?: unknown): Edit => ({
  section: 'rules',
  name,
  value,
  effective,
});

describe('an edit of a file', () => {
  const FILE = `# top
version: 1

rules:
  # the first
  a:
    on: pets # which
    when: 'true'
    actions:
      - { record: {} } # one
      - record: { before_ms: 1 }
    # the end of a

  b: { on: pets, when: "x" } # flow
`;

  const A = { on: 'pets', when: 'true', actions: [{ record: {} }, { record: { before_ms: 1 } }] };
  test.each<[string, unknown, string, string]>([
    ['a scalar', { ...A, when: 'false' }, "'true'", "'false'"],
    [
      'an item of a list',
      { ...A, actions: [{ record: {} }, { record: { before_ms: 2 } }] },
      'before_ms: 1',
      'before_ms: 2',
    ],
    ['a key that goes', { on: 'pets', actions: A.actions }, "    when: 'true'\n", ''],
  ])('changes %s, and no other line', (_, value, from, to) => {
    expect(edit({ 'rules.yaml': FILE }, rule('a', value))).toEqual({ 'rules.yaml': FILE.replace(from, to) });
  });

  test.each([
    [
      'four spaces and tight brackets',
      'version: 1\nrules:\n    a:\n        on: [x,y]\n        for: {ms: 1}\n    b:\n        on: [z]\n',
    ],
    [
      'lists that are not indented',
      'version: 1\nrules:\n  a:\n    on:\n    - x\n    - y\n    for: { ms: 1 }\n  b:\n    on:\n    - z\n',
    ],
    [
      'lines that end as on Windows',
      'version: 1\r\nrules:\r\n  a: { on: [x, y], for: { ms: 1 } }\r\n  b: { on: [z] }\r\n',
    ],
    ['no end of the last line', 'version: 1\nrules:\n  a: { on: [x, y], for: {ms: 1} }\n  b: { on: [z] }'],
  ])('leaves other lines as they are: %s', (_, text) => {
    const after = edit({ 'a.yaml': text }, rule('b', { on: ['q'] }))['a.yaml'] ?? '';
    const lines = text.split('\n');
    const changed = after.split('\n').filter((line) => line !== '' && !lines.includes(line));
    expect(changed.map((line) => line.trim())).toEqual([
      expect.stringMatching(/^(b: \{ on: |on: |- )?\[? ?q ?\]?( \})?$/),
    ]);
  });

  test('stays within the style of a mapping in one line', () => {
    const changed = edit({ 'rules.yaml': FILE }, rule('b', { on: 'pets', when: 'x', cooldown_ms: 5 }));
    expect(changed['rules.yaml']).toBe(FILE.replace('when: "x" }', 'when: "x", cooldown_ms: 5 }'));
  });

  test('that says what is said already changes nothing', () => {
    expect(edit({ 'rules.yaml': FILE }, rule('b', { on: 'pets', when: 'x' }))).toEqual({});
    expect(edit({ 'rules.yaml': FILE }, rule('nobody', undefined))).toEqual({});
  });

  test('writes nothing that only repeats a default', () => {
    const effective = { on: 'pets', when: 'x', cooldown_ms: 0, by: ['device'] };
    expect(edit({ 'rules.yaml': FILE }, rule('b', effective, effective))).toEqual({});
    const changed = edit({ 'rules.yaml': FILE }, rule('b', { ...effective, when: 'y' }, effective));
    expect(changed['rules.yaml']).toBe(FILE.replace('when: "x"', 'when: "y"'));
  });

  test('finds names that YAML reads as numbers, and text that looks like something else stays text', () => {
    const numbers = 'version: 1\nrules:\n  1: { on: pets }\n';
    expect(edit({ 'a.yaml': numbers }, rule('1', { on: 'dogs' }))).toEqual({
      'a.yaml': numbers.replace('pets', 'dogs'),
    });
    const text = edit(
      { 'a.yaml': 'version: 1\nrules: { x: { on: pets } }\n' },
      rule('x', { on: 'no', when: '1', note: 'a: b #c' }),
    );
    expect(text['a.yaml']).toBe('version: 1\nrules: { x: { on: no, when: "1", note: "a: b #c" } }\n');
  });

  test('goes into the file that has the name, then that which has its key, then one of its own', () => {
    const files = {
      'a.yaml': 'version: 1\nrules: { x: { on: p } }\n',
      'b.yaml': 'version: 1\nrules: { y: { on: p } }\n',
    };
    expect(Object.keys(edit(files, rule('y', { on: 'q' })))).toEqual(['b.yaml']);
    expect(Object.keys(edit(files, rule('z', { on: 'q' })))).toEqual(['a.yaml']);
    expect(edit(files, { section: 'models', name: 'm', value: { serve: 1 } })).toEqual({
      'models.yaml': expect.stringMatching(
        /^# yaml-language-server[^\n]*\nversion: 1\nmodels:\n {2}m:\n {4}serve: 1\n$/,
      ),
    });
  });

  test('several edits of one file come together', () => {
    const changed = edit({ 'rules.yaml': FILE }, rule('b', undefined), rule('c', { on: 'pets' }));
    expect(changed['rules.yaml']).toContain('# top');
    expect(changed['rules.yaml']).not.toContain('b:');
    expect(changed['rules.yaml']).toMatch(/c:\n {4}on: pets\n/);
  });
});

describe('is left to a person', () => {
  test.each([
    ['an anchor that others use', 'rules:\n  a: &a { on: pets }\n  b: *a\n', 'a', /rules\.b too/],
    ['an alias', 'rules:\n  a: &a { on: pets }\n  b: *a\n', 'b', /\*a is an alias/],
    ['a key that is no mapping', 'rules: [1]\n', 'a', /rules is no mapping/],
    ['a file that is broken', 'rules: {\n', 'a', /no valid YAML/],
  ])('%s', (_, text, name, message) => {
    expect(() => edit({ 'a.yaml': text }, rule(name, { on: 'dogs' }))).toThrow(message);
  });
});
