import { checkRules } from '@brink/rules';
import { expect, test } from 'vitest';
import { formatProblem } from './problems.ts';
import { validateConfiguration } from './validate.ts';

const versions = new Map([['cifar-net', [1]]]);
const models = { dir: 'models', versions, all: versions };

/** What is wrong with a site that has these targets and this action. */
function problemsOf(o: { targets?: string; action: string; notify?: string }): string[] {
  const { targets = '{}', action, notify } = o;
  const text = `version: 1
site: { name: home${notify === undefined ? '' : `, notify: ${notify}`} }
streams: { front: { format: image, pipelines: { pets: { model: cifar-net } } } }
rules: { cat: { on: pets, when: decision.label == "cat", then: [ ${action} ] } }
targets: ${targets}
`;
  const validation = validateConfiguration([{ name: 'a.yaml', text }], models, checkRules);
  return validation.ok ? [] : validation.problems.map(formatProblem);
}

const TARGETS =
  '{ duty: { webhook: "https://a.example/hook" }, phone: { ntfy: "https://ntfy.sh/t" }, wall: { gotify: "https://g.example", secret: wall } }';
const hook = (target: string) => `{ webhook: { target: ${target}, body: { a: 1 } } }`;

test('webhooks and notifications to targets that there are, are right', () => {
  expect(problemsOf({ targets: TARGETS, action: hook('duty') })).toEqual([]);
  expect(problemsOf({ targets: TARGETS, action: '{ notify: { title: Cat, target: wall } }' })).toEqual([]);
  expect(problemsOf({ targets: TARGETS, action: '{ notify: { title: Cat } }', notify: 'phone' })).toEqual([]);
});

test('a target that is not there is named, with those that could be meant', () => {
  expect(problemsOf({ targets: TARGETS, action: hook('dutty') })).toEqual([
    expect.stringContaining(
      'rules.cat.then[0].webhook.target: found "dutty"; expected a target of webhook: one of duty; did you mean "duty"?',
    ),
  ]);
  expect(problemsOf({ action: hook('duty') })[0]).toContain(
    'there is none (example: targets: { duty: { webhook: "https://hooks.example/brink", secret: duty_hook } })',
  );
});

test('where a target may be is said when the configuration is checked, not when it is needed', () => {
  const allowed = [
    '"http://127.0.0.1:1/a", allow_private: true',
    '"http://nas.local/a", allow_private: true',
    '"https://nas.local/a"',
  ];
  for (const url of allowed)
    expect(problemsOf({ targets: `{ duty: { webhook: ${url} } }`, action: hook('duty') })).toEqual([]);
  const beat = validateConfiguration(
    [{ name: 'a.yaml', text: 'version: 1\nsite: { name: a, heartbeat: { url: "http://192.168.1.5/" } }\n' }],
    models,
    checkRules,
  );
  expect(beat.ok ? [] : beat.problems.map(formatProblem)).toEqual([
    expect.stringContaining(
      'site.heartbeat.url: found 192.168.1.5 is a private address; expected a public address, or',
    ),
  ]);
});

test('a target of another kind is named', () => {
  expect(problemsOf({ targets: TARGETS, action: hook('phone') })[0]).toContain(
    'found "phone", which is a target of ntfy',
  );
  expect(problemsOf({ targets: TARGETS, action: '{ notify: { title: Cat } }', notify: 'duty' })[0]).toContain(
    'site.notify: found "duty", which is a target of webhook; expected a target of ntfy or gotify: one of phone, wall',
  );
});

test('a notification to nobody is named, with the line to add', () => {
  expect(problemsOf({ targets: TARGETS, action: '{ notify: { title: Cat } }' })[0]).toContain(
    'rules.cat.then[0].notify: found no target; expected a target, or site.notify, which says the one of all that name none (example: site: { notify: phone })',
  );
});

test.each([
  ['{ duty: { webhook: "ftp://a.example" } }', 'https://… (http:// only to private addresses)'],
  [
    '{ duty: { webhook: "http://127.0.0.1:8199/hook" } }',
    'targets.duty.webhook: found 127.0.0.1 is this machine itself',
  ],
  ['{ duty: { ntfy: "https://10.0.0.5/topic" } }', 'beside the URL, the line `allow_private: true`'],
  ['{ duty: { webhook: "http://a.example/hook" } }', 'found http:// to a.example; expected https://, or'],
  ['{ duty: { webhook: "http://1.1.1.1/hook", allow_private: true } }', 'expected https:// to it'],
  [
    '{ duty: { webhook: "http://169.254.169.254/", allow_private: true } }',
    '`allow_private: true` does not allow this',
  ],
  ['{ duty: { webhook: "http://[::1]/hook" } }', 'found ::1 is this machine itself'],
  ['{ duty: { webhook: "https://u:p@a.example" } }', 'a URL without user and password; a secret goes into a file'],
  ['{ duty: { webhook: "https://a.example", secret: "whsec_abc/def" } }', 'the name of a file'],
  ['{ duty: { webhook: "https://a.example", secret: "../mqtt" } }', 'the name of a file'],
  ['{ duty: { webhook: "https://a.example", tokn: x } }', 'found the unknown key "tokn"'],
  ['{ duty: { webhook: "https://a.example", timeout_ms: 99999 } }', 'at most 30000'],
  ['{ duty: { ntfy: "https://ntfy.sh/" } }', 'a URL that ends with a topic'],
  ['{ duty: { gotify: "https://g.example" } }', 'secret: found nothing'],
])('%s is refused', (targets, expected) => {
  const found = problemsOf({ targets, action: '{ record: { before_ms: 0 } }' }).filter((line) =>
    line.includes('targets.'),
  );
  expect(found).toEqual([expect.stringContaining(expected)]);
});

test('a template that names what is not there is refused, with its place', () => {
  const action = '{ webhook: { target: duty, body: { text: "${decision.lable}" } } }';
  expect(problemsOf({ targets: TARGETS, action })[0]).toContain('rules.cat.then[0].webhook.body.text');
  const notice = '{ notify: { title: "${devic}", target: phone } }';
  expect(problemsOf({ targets: TARGETS, action: notice })[0]).toContain('rules.cat.then[0].notify.title');
});
