import { systemClock } from '@brink/runtime';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createJudge, type Judge } from './judge.ts';

const none = { dir: 'models', versions: new Map(), all: new Map() };

/** Smaller ones are judged without a thread. */
const LARGE = `# ${'x'.repeat(17_000)}\n`;
const right = [{ name: 'site.yaml', text: `${LARGE}version: 1\n` }];

let judge: Judge;
beforeAll(() => {
  judge = createJudge({}, { clock: systemClock });
});
afterAll(() => judge.stop());

const lol = (levels: number, of: number) =>
  Array.from({ length: levels }, (_, level) => {
    const item = level === 0 ? '"lol"' : `*l${level - 1}`;
    return `  l${level}: &l${level} [${Array.from({ length: of }, () => item).join(', ')}]`;
  }).join('\n');

// https://en.wikipedia.org/wiki/Billion_laughs_attack, and other files that are small to send and large to read.
const BOMBS: Record<string, string> = {
  'a billion laughs': `version: 1\nsite:\n${lol(9, 9)}\n`,
  'a quadratic blow-up': `version: 1\nsite:\n  a: &a "${'x'.repeat(100_000)}"\n  b: [${'*a, '.repeat(20_000)}*a]\n`,
  'an alias of itself': 'version: 1\nsite: &s\n  name: *s\n',
  'a hundred thousand brackets': `site: ${'['.repeat(100_000)}`,
  'thousands of mappings in each other': `site: ${'{a: '.repeat(25_000)}`,
  'question marks': `site: ${'? '.repeat(40_000)}`,
  'tags of other languages': 'version: 1\nsite: !!python/object/apply:os.system ["touch /tmp/evil"]\n',
  'a merge key': 'version: 1\nsite:\n  <<: { name: other }\n',
  'a key that is a prototype':
    'version: 1\nsite:\n  __proto__: { name: x }\n  constructor: { prototype: { name: x } }\n',
};

describe('a YAML bomb', () => {
  test.each(Object.entries(BOMBS))('%s is a problem of its file, and nobody waits', async (_, text) => {
    const began = performance.now();
    let last = began;
    let longestMs = 0;
    const beat = setInterval(() => {
      longestMs = Math.max(longestMs, performance.now() - last);
      last = performance.now();
    }, 5);
    const validation = await judge.judge({ files: [{ name: 'bomb.yaml', text: LARGE + text }], models: none });
    clearInterval(beat);
    const tookMs = performance.now() - began;
    expect(validation.ok).toBe(false);
    expect(validation.ok ? [] : validation.problems.length).toBeLessThanOrEqual(201);
    // Whoever else uses this thread went on meanwhile. Of short ones there is nothing to see.
    if (tookMs > 300) expect(longestMs).toBeLessThan(tookMs * 0.6);
    expect(Object.prototype).not.toHaveProperty('name');
  });
});

test('what takes too long is given up, and the next one is judged', async () => {
  const keys = Array.from({ length: 200_000 }, (_, index) => `k${index}: 1`).join('\n');
  const impatient = createJudge({ msMax: 1500 }, { clock: systemClock });
  const slow = await impatient.judge({ files: [{ name: 'keys.yaml', text: keys }], models: none });
  expect(slow).toMatchObject({
    ok: false,
    problems: [{ file: 'keys.yaml', found: expect.stringContaining('1500 ms') }],
  });
  expect(await impatient.judge({ files: right, models: none })).toMatchObject({ ok: true });
  await impatient.stop();
});

test('small files are judged without a thread, and no bomb among them takes long', async () => {
  const keys = Array.from({ length: 4000 }, (_, i) => `${i}:`)
    .join('\n')
    .slice(0, 16_000);
  for (const text of [
    keys,
    '['.repeat(16_000),
    '{a: '.repeat(4000),
    `streams:\n${keys.replaceAll(/^/gm, ' ')}`.slice(0, 16_000),
  ]) {
    const began = performance.now();
    expect(await judge.judge({ files: [{ name: 'bomb.yaml', text }], models: none })).toMatchObject({ ok: false });
    expect(performance.now() - began).toBeLessThan(5000);
  }
});

test('tests of rules are run in the thread, however small the file is: each of them may be work for seconds', async () => {
  const objects = Array.from({ length: 200 }, () => '{ label: a, score: 0.5, box: [0, 0, 1, 1] }').join(', ');
  const all = 'decision.objects.all(a, decision.objects.all(b, a.score >= b.score))';
  const given = `[{ at_ms: 0, decision: { objects: [${objects}] } }, { at_ms: 1, repeat: 900 }]`;
  const rule = `{ on: p, when: "${all}", then: [{ command: { device: d, name: n } }], TESTS: [{ name: t, given: ${given}, expect: [{}] }] }`;
  const text = `version: 1\nsite: { name: x }\nstreams: { f: { format: image, pipelines: { p: { model: m } } } }\nrules:\n  r: ${rule}\n`;
  const models = { dir: 'models', versions: new Map([['m', [1]]]), all: new Map([['m', [1]]]) };
  const impatient = createJudge({ msMax: 300 }, { clock: systemClock });
  for (const key of ['tests', '"t\\u0065sts"']) {
    const files = [{ name: 'rules.yaml', text: text.replace('TESTS', key) }];
    const { problems } = (await impatient.judge({ files, models })) as { problems?: { found: string }[] };
    expect(problems?.[0]?.found, key).toContain('longer than 300 ms');
  }
  await impatient.stop();
});

test('of many problems the first are told', async () => {
  const text = `version: 1\nstreams:\n${Array.from({ length: 600 }, (_, i) => `  s${i}: { formt: image }`).join('\n')}\n`;
  const validation = await judge.judge({ files: [{ name: 'site.yaml', text }], models: none });
  expect(validation.ok).toBe(false);
  const problems = validation.ok ? [] : validation.problems;
  expect(problems).toHaveLength(201);
  expect(problems.at(-1)?.found).toMatch(/^\d+ more problems$/);
});
