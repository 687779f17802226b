import { ConfigurationSchema } from '@brink/protocol';
import { checkRules } from '@brink/rules';
import { describe, expect, test } from 'vitest';
import type { CheckRules } from './crosschecks.ts';
import { EXAMPLE, exampleFor } from './example.ts';
import { keysAt } from './issues.ts';
import { formatProblem } from './problems.ts';
import { validateConfiguration } from './validate.ts';

const versions = new Map([['cifar-net', [1, 3]]]);
const models = { dir: 'models', versions, all: versions };
const noFindings: CheckRules = () => [];

const GOOD = `version: 1
site: { name: plant-7, mqtt_allow: ["zigbee2mqtt/"] }
streams:
  front:
    devices: "cam-*"
    format: image
    pipelines:
      pets: { model: cifar-net }
rules:
  cat:
    on: pets
    when: decision.label == "cat"
    then:
      - command: { device: feeder-1, name: open }
`;

function problemsOf(text: string, more: Record<string, string> = {}, checkRules = noFindings): string[] {
  const files = [{ name: 'a.yaml', text }, ...Object.entries(more).map(([name, content]) => ({ name, text: content }))];
  const validation = validateConfiguration(files, models, checkRules);
  return validation.ok ? [] : validation.problems.map(formatProblem);
}

/** The good configuration with one place of it replaced. */
function withChange(from: string, to: string): string {
  expect(GOOD).toContain(from);
  return GOOD.replace(from, to);
}

test('a right configuration has no problems, its defaults filled in, and a revision that comments do not change', () => {
  const validation = validateConfiguration([{ name: 'a.yaml', text: GOOD }], models, noFindings);
  if (!validation.ok) throw new Error(validation.problems.map(formatProblem).join('\n'));
  expect(validation.published.configuration.streams['front']?.frame_bytes_max).toBe(1024 * 1024);
  expect(validation.published.revision).toMatch(/^[0-9a-f]{12}$/);

  const commented = validateConfiguration([{ name: 'a.yaml', text: `# hello\n${GOOD}` }], models, noFindings);
  expect(commented).toEqual(validation);
  const changed = validateConfiguration([{ name: 'a.yaml', text: GOOD.replace('cam-*', 'cam-1') }], models, noFindings);
  expect(changed.ok && changed.published.revision).not.toBe(validation.published.revision);
});

test('the same content in other files and another order is the same revision', () => {
  const [head, rules] = GOOD.split('rules:');
  const one = validateConfiguration([{ name: 'a.yaml', text: GOOD }], models, noFindings);
  const two = validateConfiguration(
    [
      { name: 'rules.yaml', text: `rules:${rules}` },
      { name: 'site.yaml', text: head ?? '' },
    ],
    models,
    noFindings,
  );
  expect(two).toEqual(one);
});

describe('each mistake is named with file, line, column, path, what was found and what was expected', () => {
  const table: [title: string, text: string, expected: string][] = [
    [
      'a key with a typo',
      withChange('model: cifar-net', 'model: cifar-net, prioritty: 8'),
      'a.yaml:8:33: streams.front.pipelines.pets.prioritty: found the unknown key "prioritty"; ' +
        'expected one of model, priority, deadline_ms, every_ms, keep; did you mean "priority"? (example: priority: 5)',
    ],
    [
      'a top-level key with a typo',
      withChange('streams:', 'steams:'),
      'a.yaml:3:1: steams: found the unknown key "steams"; expected one of version, site, streams, models, rules, targets; did you mean "streams"?',
    ],
    [
      'a word that is none of the choices',
      withChange('format: image', 'format: imag'),
      'a.yaml:6:13: streams.front.format: found "imag"; expected one of image, audio, signal, text, tensor; did you mean "image"? (example: format: image)',
    ],
    [
      "a topic of Brink's own",
      withChange('format: image', "format: image\n    topics: ['brink/{device}/up/frames/front']"),
      'a.yaml:7:14: streams.front.topics[0]: found "brink/{device}/up/frames/front"; expected a topic of another system: ' +
        "\"brink/…\" are Brink's own, which need no mapping (example: - 'frigate/{device}/snapshot')",
    ],
    [
      'an action whose message would come in again as a frame',
      withChange('format: image', "format: image\n    topics: ['zigbee2mqtt/{device}']").replace(
        'command: { device: feeder-1, name: open }',
        'mqtt: { topic: zigbee2mqtt/lamp, payload: 1 }',
      ),
      'a.yaml:15:24: rules.cat.then[0].mqtt.topic: found the topic "zigbee2mqtt/lamp"; expected a topic that no stream takes; ' +
        'streams.front.topics has "zigbee2mqtt/{device}", which would make a frame of it (example: topic: zigbee2mqtt/lamp/set)',
    ],
    [
      'a topic that is of two streams',
      withChange(
        'rules:',
        "  back: { format: image, topics: ['frigate/{device}/snapshot', 'frigate/hall/{device}'], pipelines: { b: { model: cifar-net } } }\nrules:",
      ),
      'a.yaml:9:64: streams.back.topics[1]: found "frigate/hall/{device}"; expected topics that no other pattern matches; ' +
        '"frigate/{device}/snapshot" of streams.back can match the same (example: - \'frigate/{device}/snapshot\')',
    ],
    [
      'text instead of a number',
      withChange('format: image', 'format: image\n    frame_bytes_max: 1 MiB'),
      'a.yaml:7:22: streams.front.frame_bytes_max: found "1 MiB"; expected a number (example: frame_bytes_max: 4194304)',
    ],
    [
      'a number out of range',
      withChange('model: cifar-net', 'model: cifar-net, priority: 12'),
      'a.yaml:8:43: streams.front.pipelines.pets.priority: found 12; expected a number of at most 9 (example: priority: 5)',
    ],
    [
      'something missing',
      withChange('    format: image\n', ''),
      'a.yaml:4:3: streams.front.format: found nothing; expected one of image, audio, signal, text, tensor (example: format: image)',
    ],
    [
      'a name that is none',
      withChange('front:', 'Front_1:'),
      'a.yaml:4:3: streams.Front_1: found the name "Front_1"; expected a name of 1 to 64 of a-z, 0-9 and "-", beginning with a letter or digit',
    ],
    [
      'a model that is not there',
      withChange('cifar-net', 'cifarnet'),
      'a.yaml:8:22: streams.front.pipelines.pets.model: found the model "cifarnet", of which there is no ' +
        'models/cifarnet/<version>/model.json; expected one of cifar-net; did you mean "cifar-net"? (example: model: cifar-net)',
    ],
    [
      'a version that is not there',
      `${GOOD}models:\n  cifar-net: { serve: 2 }\n`,
      'a.yaml:16:23: models.cifar-net.serve: found version 2, of which there is no models/cifar-net/2/; expected one of 1, 3 (example: serve: 3)',
    ],
    [
      'a rule on a stream instead of a pipeline',
      withChange('on: pets', 'on: front'),
      'a.yaml:11:9: rules.cat.on: found "front"; expected a pipeline: pets; "front" is a stream; a rule is on its pipelines (example: on: pets)',
    ],
    [
      'a rule on a pipeline with a typo, in a list',
      withChange('on: pets', 'on: [pets, petz]'),
      'a.yaml:11:16: rules.cat.on[1]: found "petz"; expected a pipeline: pets; did you mean "pets"?',
    ],
    [
      'an action that does not exist',
      withChange('- command:', '- comand:'),
      'a.yaml:14:9: rules.cat.then[0].comand: found the unknown key "comand"; expected one of command, mqtt, webhook, notify, record; did you mean "command"?' +
        ' (example: command: { device: feeder-1, name: open, args: { grams: 20 }, expires_ms: 10000, ack: required })',
    ],
    [
      'a command without a name',
      withChange('device: feeder-1, name: open', 'device: feeder-1'),
      'a.yaml:14:18: rules.cat.then[0].command.name: found nothing; expected text (example: name: open)',
    ],
    [
      'a topic that is not allowed',
      withChange('- command: { device: feeder-1, name: open }', '- mqtt: { topic: "home/lamp/set", payload: 1 }'),
      'a.yaml:14:24: rules.cat.then[0].mqtt.topic: found the topic "home/lamp/set"; ' +
        'expected a topic that begins with one of site.mqtt_allow: "zigbee2mqtt/"; to allow it, add its prefix to the site' +
        ' (example: site: { mqtt_allow: ["home/"] })',
    ],
    [
      'a command to the reserved name',
      withChange('device: feeder-1', 'device: fleet'),
      'a.yaml:14:28: rules.cat.then[0].command.device: found "fleet"; expected a device: brink/fleet/… belongs to the services (example: device: feeder-1)',
    ],
    [
      'a for that cannot hold',
      withChange('on: pets', 'on: pets\n    for: { at_least: 4, of: 3 }'),
      'a.yaml:12:10: rules.cat.for: found a mapping with at_least, of; expected at_least not greater than of (example: for: { at_least: 3, of: 5 })',
    ],
    [
      'a recording of what is not kept',
      withChange('- command: { device: feeder-1, name: open }', '- record: { before_ms: 5000 }'),
      'a.yaml:14:17: rules.cat.then[0].record: found before_ms: 5000, and stream "front" keeps 0 s; expected a stream that keeps as much (example: streams: { front: { keep_s: 5 } })',
    ],
    [
      'a mask by a model that is not there',
      withChange('format: image', 'format: image\n    mask: [{ faces: { model: cifar-nett } }]'),
      'a.yaml:7:30: streams.front.mask[0].faces.model: found the model "cifar-nett", of which there is no models/cifar-nett/<version>/model.json; expected one of cifar-net; did you mean "cifar-net"? (example: model: faces)',
    ],
    [
      'a mask of pictures on another stream',
      withChange('format: image', 'format: tensor\n    mask: [{ regions: [[0, 0, 1, 1]] }]'),
      'a.yaml:7:12: streams.front.mask[0]: found a mask of pictures beside format: tensor; expected format: image (example: - { regions: [[0, 0, 0.2, 0.1]] })',
    ],
    [
      'a region that is none',
      withChange('format: image', 'format: image\n    mask: [{ regions: [[0.5, 0, 0.4, 1]] }]'),
      'a.yaml:7:24: streams.front.mask[0].regions[0]: found a list of 4; expected x0 y0 x1 y1 with x0 < x1 and y0 < y1 (example: - [0, 0, 0.2, 0.1])',
    ],
    [
      'a pseudonym without a secret',
      withChange('format: image', 'format: image\n    mask: [{ fields: { pseudonymise: [user.id] } }]'),
      'a.yaml:7:22: streams.front.mask[0].fields.secret: found nothing; expected a secret, for pseudonymise (example: secret: people)',
    ],
    [
      'a mask that is misspelt',
      withChange('format: image', 'format: image\n    mask: [{ region: [[0, 0, 1, 1]] }]'),
      'a.yaml:7:14: streams.front.mask[0].region: found the unknown key "region"; expected one of regions, faces, fields; did you mean "regions"? (example: regions: [[0, 0, 0.2, 0.1]])',
    ],
    [
      'broken YAML',
      `${GOOD}models: [\n`,
      'a.yaml:16:1: found Flow sequence in block collection must be sufficiently indented and end with a ]; expected valid YAML',
    ],
    [
      'a key twice',
      `${GOOD}version: 1\n`,
      'a.yaml:15:1: found the key "version" a second time; expected each key once; the first one is at 1:1',
    ],
    [
      'a tab',
      withChange('  front:', '\tfront:'),
      'a.yaml:4:1: found Tabs are not allowed as indentation; expected valid YAML',
    ],
    [
      'an alias of nothing',
      withChange('{ model: cifar-net }', '*other'),
      'a.yaml:8:13: found the alias *other; expected an anchor &other before it',
    ],
    [
      'a list as the whole file',
      '- a\n',
      'a.yaml:1:1: found a list; expected a mapping of version, site, streams, models, rules, targets',
    ],
  ];
  test.each(table)('%s', (_, text, expected) => {
    expect(problemsOf(text)).toContain(expected);
  });
});

test('one mistake is one problem', () => {
  expect(problemsOf(withChange('format: image', 'format: image\n    mask: [{ regions: [0, 0, 0.3, 0.1] }]'))).toEqual([
    'a.yaml:7:24: streams.front.mask[0].regions: found 0, 0, 0.3, 0.1; expected a list, each item of it x0 y0 x1 y1 of a rectangle, ' +
      '[0, 0, 0.2, 0.1], or the corners of a polygon, [[0, 0], [0.2, 0], [0, 0.1]] (example: regions: [[0, 0, 0.2, 0.1]])',
  ]);
  expect(problemsOf(withChange('model: cifar-net', 'model: cifar-net, prioritty: 8'))).toHaveLength(1);
  expect(problemsOf(withChange('device: feeder-1, name: open', 'device: feeder-1'))).toHaveLength(1);
});

test('one slip of syntax is one problem per file, where it is', () => {
  const found = problemsOf(withChange('    pipelines:\n      pets', '   pipelines:\n      pets'), {
    'b.yaml': 'a: [\n',
  });
  expect(found.map((line) => line.split(':', 2).join(':'))).toEqual(['a.yaml:7', 'b.yaml:2']);
});

test('a version that is wrong in one file is said of that file, and of no other', () => {
  const wrong = withChange('version: 1', 'version: 2');
  const other = 'version: 1\n';
  const said = (file: string) => `${file}.yaml:1:10: version: found 2; expected 1 (example: version: 1)`;
  expect(problemsOf(wrong, { 'b.yaml': other, 'c.yaml': other })).toEqual([said('a')]);
  expect(problemsOf(GOOD, { 'b.yaml': 'version: 2\n', 'c.yaml': other })).toEqual([said('b')]);
});

test('several mistakes in several files are reported together, in the order of the files', () => {
  const found = problemsOf(withChange('format: image', 'format: imag').replace('on: pets', 'on: pest'), {
    'b.yaml':
      'streams:\n  back: { format: image, pipelines: { cars: { model: nothing }, bikes: { model: nothing } } }\n',
  });
  expect(found.map((line) => line.split(' ')[0])).toEqual([
    'a.yaml:6:13:',
    'a.yaml:11:9:',
    'b.yaml:2:54:',
    'b.yaml:2:81:',
  ]);
});

test('a name in two files names both', () => {
  expect(
    problemsOf(GOOD, { 'b.yaml': 'streams:\n  front: { format: tensor, pipelines: { x: { model: cifar-net } } }\n' }),
  ).toEqual([
    'b.yaml:2:3: streams.front: found "front" a second time; expected it in one file only; it is also in a.yaml:4:3',
  ]);
  expect(problemsOf(GOOD, { 'b.yaml': 'version: 1\nsite: { name: other }\n' })).toEqual([
    'b.yaml:2:9: site.name: found "name" a second time; expected it in one file only; it is also in a.yaml:2:9',
  ]);
});

test('a pipeline name in two streams names both', () => {
  const second = 'streams:\n  back: { format: image, pipelines: { pets: { model: cifar-net } } }\n';
  expect(problemsOf(GOOD, { 'b.yaml': second })).toEqual([
    'b.yaml:2:39: streams.back.pipelines.pets: found the pipeline name "pets" a second time; ' +
      'expected names that are unique in the site; it is also in a.yaml:8:7' +
      ' (example: pets: { model: cifar-net, priority: 5, deadline_ms: 200, every_ms: 1000, keep: { every_ms: 60000 } })',
  ]);
});

describe('a stream and the model that is to decide about it', () => {
  const needs = new Map([
    ['cifar-net/3', { kinds: ['image'], channels: [] }],
    ['pump/1', { kinds: ['signal'], channels: ['ax', 'ay'] }],
  ]);
  const all = new Map([...versions, ['pump', [1]]]);
  const found = (stream: string) => {
    const text = `version: 1\nstreams:\n  s:\n    ${stream}\n`;
    const validation = validateConfiguration(
      [{ name: 'a.yaml', text }],
      { dir: 'models', versions: all, all, needs },
      noFindings,
    );
    return validation.ok
      ? []
      : validation.problems.map(({ path, found: what, expected }) => `${path}: ${what}; ${expected}`);
  };
  const TABLE: [string, string, RegExp | undefined][] = [
    ['pictures for pictures', 'format: image\n    pipelines: { p: { model: cifar-net } }', undefined],
    ['tensors for anything', 'format: tensor\n    pipelines: { p: { model: pump } }', undefined],
    [
      'sound for pictures',
      'format: audio\n    pipelines: { p: { model: cifar-net } }',
      /"cifar-net" \(version 3\): it takes image, and the stream brings audio/,
    ],
    [
      'the fields that it takes',
      'format: signal\n    signal: { fields: [ay, t, ax] }\n    pipelines: { p: { model: pump } }',
      undefined,
    ],
    [
      'another field',
      'format: signal\n    signal: { fields: [ax, az] }\n    pipelines: { p: { model: pump } }',
      /it takes the channels ax, ay, and the stream brings ax, az/,
    ],
    ['no fields', 'format: signal\n    pipelines: { p: { model: pump } }', /signal: nothing; the fields of a signal/],
    [
      'a field twice',
      'format: signal\n    signal: { fields: [ax, ay, ax] }\n    pipelines: { p: { model: pump } }',
      /"ax" a second time/,
    ],
    [
      'gaps of pictures',
      'format: image\n    gap: fill\n    pipelines: { p: { model: cifar-net } }',
      /gap beside format: image/,
    ],
    [
      'sound of signals',
      'format: signal\n    audio: {}\n    signal: { fields: [ax, ay] }\n    pipelines: { p: { model: pump } }',
      /audio beside format: signal/,
    ],
  ];
  test.each(TABLE)('%s', (_title, stream, expected) => {
    const problems = found(stream);
    if (expected === undefined) expect(problems).toEqual([]);
    else expect(problems.join('\n')).toMatch(expected);
  });
});

test('a mask that could never work is refused: its detector is none, sees the middle only, or leaves out what the mask wants', () => {
  const none = { task: 'detection', isChain: false, fit: 'letterbox', scoreMin: 0.7 } as const;
  const masked = (o: object, scoreMin: number) => {
    const detectors = new Map([['cifar-net/3', { ...none, ...o }]]);
    const mask = `format: image\n    mask: [{ faces: { model: cifar-net, score_min: ${scoreMin} } }]`;
    const files = [{ name: 'a.yaml', text: withChange('format: image', mask) }];
    const validation = validateConfiguration(files, { ...models, detectors }, noFindings);
    return validation.ok ? [] : validation.problems.map(formatProblem);
  };
  expect(masked({}, 0.7)).toEqual([]);
  expect(masked({}, 0.4)[0]).toMatch(
    /^a\.yaml:7:52: streams\.front\.mask\[0\]\.faces\.score_min: found .*score_min: 0\.4, .*less than 0\.7 .*; expected at least 0\.7/,
  );
  expect(masked({ task: 'classification' }, 0.7)[0]).toMatch(
    /^a\.yaml:7:30: .*found the model "cifar-net" \(version 3\): its task is classification; expected a detector/,
  );
  expect(masked({ fit: 'crop' }, 0.7)[0]).toMatch(/fit: crop.*; expected one with fit: letterbox or stretch/);
  expect(masked({ fit: undefined }, 0.7)).toHaveLength(1);
  expect(masked({ isChain: true }, 0.7)[0]).toContain('it is a chain of models');
});

test('a condition that does not compile is named where it stands, to the column', () => {
  const finding = { found: '"…"', detail: 'unexpected end', column: 5 };
  const check: CheckRules = (rules) =>
    Object.keys(rules).map((rule) => ({ ...finding, path: ['rules', rule, 'when'] }));
  const said = ' rules.cat.when: found "…"; expected a condition or template that compiles: unexpected end';
  expect(problemsOf(GOOD, {}, check)[0]).toContain(`a.yaml:12:15:${said}`);
  const quoted = withChange('when: decision.label == "cat"', `when: 'decision.label == "cat"'`);
  expect(problemsOf(quoted, {}, check)[0]).toContain(`a.yaml:12:16:${said}`);
  // Where the text in the file is not the text of the value, the place is where it begins.
  const folded = withChange('when: decision.label == "cat"', 'when: >-\n      decision.label\n      == "cat"');
  expect(problemsOf(folded, {}, check)[0]).toContain(`a.yaml:12:11:${said}`);
});

test('a bomb of aliases is refused, not expanded', () => {
  const levels = Array.from({ length: 12 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i}, `.repeat(9)}]`);
  const started = performance.now();
  const found = problemsOf(`a0: &a0 [x]\n${levels.join('\n')}\n`);
  expect(found[0]).toContain('aliases');
  expect(performance.now() - started).toBeLessThan(2000);
});

test('names that mean something to JavaScript pollute nothing', () => {
  const found = problemsOf(`${GOOD}__proto__: { polluted: true }\nconstructor: { prototype: { polluted: true } }\n`);
  expect(found).toHaveLength(2);
  expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
});

test('a rule whose test fails is refused, with the place of the test, what was expected and what came', () => {
  const tested = `${GOOD}    tests:
      - name: one cat is enough
        given: [ { at_ms: 0, decision: { label: cat } } ]
        expect: [ { command: { name: open } } ]
      - name: dogs too
        given: [ { at_ms: 0, decision: { label: dog } } ]
        expect: [ { command: { name: open } } ]
`;
  expect(problemsOf(tested, {}, checkRules)).toEqual([
    'a.yaml:19:9: rules.cat.tests[1]: found the test "dogs too", which fails: expected 1 action, came 0; ' +
      'missing: {"fate":"pending","command":{"name":"open"}}; expected a rule whose tests hold',
  ]);
  expect(problemsOf(tested.replace('label: dog', 'label: cat'), {}, checkRules)).toEqual([]);
});

test('words of a rule that cannot stand together are named', () => {
  const rule = (words: string) =>
    problemsOf(withChange('on: pets', `on: pets\n    ${words}`), {}, checkRules).map((line) =>
      line.replace(/^\S+ /, ''),
    );
  expect(problemsOf(withChange('    when: decision.label == "cat"\n', ''))[0]).toContain(
    'rules.cat.when: found nothing; expected a condition, as decision.label == "cat"; only a rule with absent_ms goes without',
  );
  expect(rule('absent_ms: 5')).toEqual([]);
  expect(rule('absent_ms: 5\n    for: { ms: 4 }')[0]).toContain(
    'rules.cat.for: found a mapping with ms; expected no `for` beside absent_ms',
  );
  expect(rule('quorum: { devices: 2, within_ms: 5 }')[0]).toContain('rules.cat.by: found');
  expect(rule('quorum: { pipelines: 2, within_ms: 5 }')[0]).toContain(
    'at most as many pipelines as `on` has, which is 1',
  );
  expect(rule('between: "22:00-22:00"')[0]).toContain('expected two times of day that differ');
  expect(problemsOf(withChange('name: plant-7', 'name: plant-7, timezone: Europe/Berlim'))[0]).toContain(
    'site.timezone: found "Europe/Berlim"; expected a time zone of the IANA list',
  );
});

describe('the example', () => {
  test('is right, shape by shape', () => {
    const rule = EXAMPLE.rules['cat-at-the-flap'];
    const { for: times, quorum, absent_ms, ...plain } = rule;
    const { ms, ...counted } = times;
    const { pipelines, devices, within_ms } = quorum;
    for (const [form, kind] of [
      [{ for: counted, on: ['pets', 'scene'], quorum: { pipelines, within_ms } }, 'command'],
      [{ for: { ms }, by: [], quorum: { devices, within_ms } }, 'mqtt'],
      [{ absent_ms, release: undefined }, 'record'],
      [{}, 'webhook'],
      [{}, 'notify'],
    ] as const) {
      const pick = (list: readonly Record<typeof kind, object>[]) => list.map((item) => ({ [kind]: item[kind] }));
      // biome-ignore lint/suspicious/noThenProperty: the word of the configuration; never awaited
      const one = { ...plain, ...form, then: pick(rule.then), on_release: pick(rule.on_release) };
      const { mask, ...front } = EXAMPLE.streams.front;
      const streams = { front: { ...front, mask: Object.entries(mask[0]).map(([name, of]) => ({ [name]: of })) } };
      const { webhook, ntfy, gotify, ...common } = EXAMPLE.targets.duty;
      const targets = { duty: { webhook, ...common }, phone: { ntfy, ...common }, wall: { gotify, ...common } };
      const { url, target, ...beat } = EXAMPLE.site.heartbeat;
      for (const to of [{ url }, { target }]) {
        const site = { ...EXAMPLE.site, heartbeat: { ...beat, ...to } };
        expect(ConfigurationSchema.parse({ ...EXAMPLE, site, streams, rules: { one }, targets })).toBeDefined();
      }
    }
  });

  test('has every key of the schema and no other', () => {
    const walk = (value: unknown, path: (string | number)[]): void => {
      if (typeof value !== 'object' || value === null) return;
      const known = Array.isArray(value) ? [] : keysAt(ConfigurationSchema, path);
      if (known.length > 0) expect(Object.keys(value).sort(), path.join('.')).toEqual([...known].sort());
      for (const [key, item] of Object.entries(value)) walk(item, [...path, key]);
    };
    walk(EXAMPLE, []);
  });

  test('is found under names that people chose', () => {
    expect(exampleFor(['streams', 'pipelines', 'pipelines', 'models', 'every_ms'])).toBe('every_ms: 1000');
  });
});
