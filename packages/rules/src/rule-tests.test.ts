import { RuleSchema, type RuleTest } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { checkRules, runRuleTests } from './rule-tests.ts';

const context = { pipelines: ['people'], mqttAllow: [], streams: { people: 'front' } };

/** The rule of CONTRACTS with its test, or other ones. */
function run(tests: object[], change: Record<string, unknown> = {}) {
  const siren = { command: { device: 'siren-1', name: 'sound', args: { level: 3, who: '${device}' } } };
  const rule = {
    on: 'people',
    when: 'decision.objects.exists(o, o.label == "person" && o.score >= 0.6)',
    for: { at_least: 3, of: 5 },
    release: { ms: 5000 },
    on_release: [{ command: { device: 'siren-1', name: 'quiet' } }],
    ...change,
    tests,
  };
  const config = RuleSchema.parse(Object.fromEntries([...Object.entries(rule), ['then', [siren]]]));
  return runRuleTests({ 'night-person': config }, context);
}

const person = { objects: [{ label: 'person', score: 0.9 }] };
const twoFrames = [
  { at_ms: 0, decision: person },
  { at_ms: 200, repeat: 1 },
];

describe('tests that would take too long', () => {
  it('are refused before one is run', () => {
    const objects = Array.from({ length: 400 }, () => ({ label: 'person', score: 0.9 }));
    const test = { name: 'crowd', given: [{ at_ms: 0, decision: { objects }, repeat: 1000 }], expect: [] };
    const rule = {
      on: 'people',
      when: 'decision.objects.exists(a, decision.objects.exists(b, a.score < b.score))',
      tests: [test],
    };
    const config = RuleSchema.parse(Object.fromEntries([...Object.entries(rule), ['then', [{ record: {} }]]]));
    const problems = checkRules({ crowd: config }, context);
    expect(problems).toMatchObject([
      { path: ['rules', 'crowd', 'tests'], found: '1 tests, with which all tests weigh 401000' },
    ]);
  });
});

describe('tests of a rule', () => {
  it('that say what happens hold', () => {
    const results = run([
      { name: 'two frames are not enough', given: twoFrames, expect: [] },
      {
        name: 'three are, and five quiet seconds end it',
        given: [
          { at_ms: 0, decision: person, repeat: 3, every_ms: 200 },
          { at_ms: 600, decision: { objects: [] } },
          { at_ms: 5600 },
        ],
        expect: [
          { at_ms: 400, command: { name: 'sound', args: { who: 'test-1' } } },
          { at_ms: 5600, phase: 'on_release', key: 'test-1', command: { name: 'quiet' } },
        ],
      },
      {
        name: 'a person in another camera does not count',
        given: [...twoFrames, { at_ms: 400, decision: { ...person, device: 'cam-2' } }],
        expect: [],
      },
    ]);
    expect(results.map(({ ok, detail }) => [ok, detail])).toEqual([
      [true, undefined],
      [true, undefined],
      [true, undefined],
    ]);
  });

  it.each<[string, Partial<RuleTest> | object, string]>([
    [
      'too little',
      { given: twoFrames, expect: [{ command: { name: 'sound' } }] },
      'expected 1 action, came 0; missing: ',
    ],
    [
      'too much',
      { given: [...twoFrames, { at_ms: 300, repeat: 1 }], expect: [] },
      'expected no action, came 1: {"at_ms":300',
    ],
    [
      'something else',
      { given: [...twoFrames, { at_ms: 300, repeat: 1 }], expect: [{ command: { args: { level: 4 } } }] },
      'action 1: expected {"fate":"pending","command":{"args":{"level":4}}}, came {"at_ms":300,"phase":"then"',
    ],
    [
      'another time',
      { given: [...twoFrames, { at_ms: 300, repeat: 1 }], expect: [{ at_ms: 0 }] },
      'action 1: expected {"at_ms":0',
    ],
    ['nothing to repeat', { given: [{ at_ms: 0, repeat: 2 }], expect: [] }, 'repeat without a decision before it'],
    ['no end', { given: Array(11).fill({ at_ms: 0, decision: {}, repeat: 1000 }), expect: [] }, '11000 decisions'],
  ])('that expect %s fail, and say so', (name, test, detail) => {
    const [result] = run([{ name, ...test }]);
    expect(result).toMatchObject({ rule: 'night-person', test: name, index: 0, ok: false });
    expect(result?.detail).toContain(detail);
  });

  it('fill in label and score from what was found, and see a late decision as late', () => {
    const results = run(
      [
        {
          name: 'best object',
          given: [
            {
              at_ms: 0,
              decision: {
                objects: [
                  { label: 'dog', score: 0.2 },
                  { label: 'cat', score: 0.7 },
                ],
              },
            },
          ],
          expect: [{ at_ms: 0 }],
        },
        { name: 'no object', given: [{ at_ms: 0, decision: { objects: [] } }], expect: [] },
        {
          name: 'late',
          given: [
            { at_ms: 500, decision: { label: 'dog', score: 1 } },
            { at_ms: 100, decision: { label: 'cat', score: 1 } },
          ],
          expect: [{ at_ms: 100 }],
        },
      ],
      { when: 'decision.label == "cat"', for: undefined },
    );
    expect(results.map(({ detail }) => detail)).toEqual([undefined, undefined, undefined]);
  });
});
