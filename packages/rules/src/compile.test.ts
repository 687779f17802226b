import { type BrinkError, RuleSchema } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { compileRules } from './compile.ts';
import { compileExpression } from './expression.ts';
import { checkRules } from './rule-tests.ts';
import { compileTemplate } from './template.ts';

const context = { pipelines: ['pets'], mqttAllow: ['zigbee2mqtt/'] };
const open = { command: { device: 'feeder-1', name: 'open' } };
/** `does` stands for `then`, for the sake of the linter. */
const rule = ({ does = [open], ...config }: Record<string, unknown>) =>
  RuleSchema.parse(Object.fromEntries([...Object.entries({ on: 'pets', when: 'true', ...config }), ['then', does]]));

const decision = {
  ...{
    id: 'cam-1.front.k3v9.1.0.pets',
    device: 'cam-1',
    label: 'cat',
    score: 0.5,
    n: 7,
    model: { name: 'm', version: 3 },
  },
  objects: [{ label: 'person', score: 0.8, box: [0, 0, 0.5, 1] as [number, number, number, number] }],
  values: { t: 3.5 },
};
const variables = { decision, device: 'cam-1', stream: 'front', pipeline: 'pets', previous: {} };

describe('conditions', () => {
  it.each([
    ['decision.label == "cat" && decision.score >= 0.5', true],
    ['decision.score >= 1', false],
    ['decision.model.version == 3', true],
    ['decision.n > 6', true],
    ['decision.objects.exists(o, o.label == "person" && o.box[3] > 0.9)', true],
    ['decision.objects.filter(o, o.score > 0.9).size() == 0', true],
    ['decision.objects[0].label == "person"', true],
    ['decision.values.t > 3 && "t" in decision.values', true],
    ['device.startsWith("cam-") && stream == "front" && pipeline == "pets"', true],
    ['has(previous.label)', false],
    ['has(decision.quality)', false],
  ])('%s is %s', (text, value) => {
    const expression = compileExpression(text);
    expect([expression.type, expression.evaluate(variables)]).toEqual(['bool', value]);
  });

  it.each([
    ['decision.lable == "cat"', 10, 'No such key: lable'],
    ['decision.objects.exists(o, o.lable == "cat")', 30, 'No such key: lable; expected label, label_text, score, box'],
    ['decision.objects.filter(o, o.score > 0.1).exists(x, x.size > 1)', 55, 'No such key: size'],
    ['devic == "cam-1"', 1, 'Unknown variable: devic'],
    ['decision.score > "high"', 1, 'no such overload: double > string'],
    ['decision.label == "cat" &&', 27, 'Unexpected token'],
    ['decision.label.matches("^(a+)+$")', 1, 'regular expressions are not allowed'],
    ['decision.label', 1, 'it is a string; expected a condition'],
    ['[1].all(a, [1].all(b, [1].all(c, true)))', 23, 'at most 2 levels'],
    [`${'('.repeat(60)}true${')'.repeat(60)}`, 41, 'maxDepth'],
  ])('%s is refused, with the place', (when, column, message) => {
    const [problem, ...more] = checkRules({ flap: rule({ when }) }, context);
    expect(more).toEqual([]);
    expect(problem).toMatchObject({ code: 'E_RULE', path: ['rules', 'flap', 'when'], found: JSON.stringify(when) });
    expect(problem?.detail).toContain(message);
    expect(problem?.column).toBe(column);
  });
});

describe('rules', () => {
  it('every problem is named, with rule, field, found and expected', () => {
    const rules = {
      a: rule({ on: ['pets', 'birds'], release: { when: 'decision.' } }),
      b: rule({ does: [{ mqtt: { topic: 'lamp/set', payload: { on: '${decision.lable}' } } }] }),
    };
    expect(checkRules(rules, context).map((problem) => [problem.code, problem.path.join('.')])).toEqual([
      ['E_CONFIG', 'rules.a.on'],
      ['E_RULE', 'rules.a.release.when'],
      ['E_CONFIG', 'rules.b.then.0.mqtt.topic'],
      ['E_RULE', 'rules.b.then.0.mqtt.payload.on'],
    ]);
    let thrown: BrinkError | undefined;
    try {
      compileRules(rules, context);
    } catch (error) {
      thrown = error as BrinkError;
    }
    expect(thrown?.code).toBe('E_CONFIG');
    expect(thrown?.detail).toContain('rules.a.on: no such pipeline; expected one of pets; found "birds"');
  });

  it('a topic under a prefix of mqtt_allow is accepted', () => {
    const does = [{ mqtt: { topic: 'zigbee2mqtt/lamp/set', payload: { state: 'ON' } } }];
    expect(checkRules({ lamp: rule({ does }) }, context)).toEqual([]);
  });
});

describe('templates', () => {
  it.each([
    ['plain', 'plain'],
    ['${decision.score}', 0.5],
    ['${decision.n}', 7],
    ['${size(decision.objects)}', 1],
    ['at ${device}: ${decision.label} ${decision.score}', 'at cam-1: cat 0.5'],
    ['$${device} costs $5', '${device} costs $5'],
    ['${ {"a": decision.score, "b": "}"} }', { a: 0.5, b: '}' }],
    ['${decision.objects.map(o, o.label)}', ['person']],
    ["${decision.label == 'cat' ? 'yes' : 'no'}!", 'yes!'],
  ])('%s becomes %j', (text, value) => {
    expect(compileTemplate(text).render(variables)).toEqual(value);
  });

  it('are filled in at any depth, and leave the rest as it is', () => {
    const value = { a: [1, '${device}', null], b: { c: true } };
    expect(compileTemplate(value).render(variables)).toEqual({ a: [1, 'cam-1', null], b: { c: true } });
  });

  it.each([
    ['${device', 'without its "}"'],
    ['${decision}', 'expected a field'],
    ['x ${devic}', 'Unknown variable'],
  ])('%s is refused', (text, message) => {
    expect(() => compileTemplate(text)).toThrow(message);
  });
});
