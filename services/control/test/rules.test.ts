import { type Outcome, RuleStateSchema, RuleTestReportSchema, StatusSchema } from '@brink/protocol';
import { describe, expect, test } from 'vitest';
import { outcome, SITE, startControl, until } from './harness.ts';

const seen = (seq: number, label: string, fields: Partial<Outcome> = {}) =>
  outcome(seq, {
    received_ms: Date.now(),
    result: { task: 'classification', label, score: 0.9, classes: [{ label, score: 0.9 }] },
    ...fields,
  });
const RULE = '/v1/rules/cat-at-the-flap';
const id = (seq: number) => `cam-1.front.k3v9.${seq}.0.pets~cat-at-the-flap~0`;
const stricter = SITE.slice(SITE.indexOf('rules:')).replace('>= 0.6', '>= 0.95');

describe('a rule that a person sets aside', () => {
  test('leads to suppressed actions, across changes of the configuration and a restart, until it is armed', async () => {
    await using first = await startControl();
    const disarmed = await first.post(`${RULE}/disarm`, { by: 'ann', note: 'being painted' });
    expect(disarmed.body).toMatchObject({
      rule: 'cat-at-the-flap',
      arming: { state: 'disarmed', by: 'ann', note: 'being painted' },
    });
    await first.commit(seen(1, 'cat'), seen(2, 'dog'));
    const { body: action } = await first.get(`/v1/actions/${id(1)}`);
    expect(action).toMatchObject({ state: 'suppressed', error: { code: 'E_RULE_DISARMED' }, attempts: 0 });
    expect(action.error.detail).toMatch(/^the rule is disarmed, by ann since .*: being painted$/);
    const status = StatusSchema.parse((await first.get('/v1/status')).body);
    expect(status.rules.set_aside).toMatchObject([{ rule: 'cat-at-the-flap', state: 'disarmed', by: 'ann' }]);
    const { body: rule } = await first.get(RULE);
    expect(rule.arming.state).toBe('disarmed');

    const changed = `{"on":"pets","when":"decision.label == 'cat' && decision.score >= 0.7","stale_ms_max":600000,
      "cooldown_ms":60000,"then":[{"command":{"device":"feeder-1","name":"open"}}]}`;
    const headers = { 'content-type': 'application/json' };
    expect((await first.ask(RULE, { method: 'PUT', body: changed, headers })).status).toBe(200);
    await first.service.stop();
    await using second = await startControl({ folder: first.folder, files: {} });
    await second.commit(seen(3, 'cat'), seen(4, 'dog'));
    expect((await second.get(`/v1/actions/${id(3)}`)).body.state).toBe('suppressed');
    expect((await second.get(`/v1/actions/${id(3)}/explain`)).body).toMatchObject({
      cause: 'rule',
      action: { error: { code: 'E_RULE_DISARMED' } },
      attempts: [],
      decision: { label: 'cat' },
      frame: { sha256: 'f'.repeat(64) },
    });

    expect((await second.post(`${RULE}/arm`)).body.arming).toEqual({ state: 'armed' });
    await second.commit(seen(5, 'cat'), seen(6, 'dog'));
    expect((await second.get(`/v1/actions/${id(5)}`)).body.state).not.toBe('suppressed');
    expect((await second.get('/v1/status')).body.rules.set_aside).toEqual([]);
  });
});

describe('rules over HTTP', () => {
  test('are snoozed, looked at, fired and tried', async () => {
    await using control = await startControl();
    await snooze(control);
    await state(control);
    await fire(control);
    await tried(control);
  });
});

type Control = Awaited<ReturnType<typeof startControl>>;

async function snooze(control: Control) {
  const made = await control.post('/v1/tokens', { name: 'carol', scopes: ['commands:write'] });
  const headers = { authorization: `Bearer ${made.body.token}`, 'content-type': 'application/json' };
  const said = await control.ask(`${RULE}/disarm`, { method: 'POST', headers, body: '{"by":"somebody else"}' });
  expect(said.body.arming.by).toBe('carol');
  const before = Date.now();
  const { body } = await control.post(`${RULE}/snooze`, { for_ms: 3_600_000, by: 'bob' });
  expect(body.arming).toMatchObject({ state: 'snoozed', by: 'bob' });
  expect(Date.parse(body.arming.until)).toBeGreaterThanOrEqual(before + 3_600_000);
  const over = await control.post(`${RULE}/snooze`, { until: '2020-01-01T00:00:00Z' });
  expect([over.status, over.body.code]).toEqual([400, 'E_BAD_REQUEST']);
  for (const wrong of [{}, { until: '2099-01-01T00:00:00Z', for_ms: 1000 }, { for_ms: '5' }, { for_ms: 5000, x: 1 }]) {
    expect((await control.post(`${RULE}/snooze`, wrong)).status, JSON.stringify(wrong)).toBe(400);
  }
  for (const verb of ['arm', 'disarm', 'fire', 'snooze']) {
    const body = verb === 'snooze' ? { for_ms: 1000 } : undefined;
    const missing = await control.post(`/v1/rules/nobody/${verb}`, body);
    expect([missing.status, missing.body.detail]).toEqual([404, expect.stringContaining('one of cat-at-the-flap')]);
  }
}

async function state(control: Control) {
  const before = RuleStateSchema.parse((await control.get(`${RULE}/state`)).body);
  expect(before).toMatchObject({ arming: { state: 'snoozed' }, keys: [] });
  await control.post(`${RULE}/arm`);
  await control.commit(seen(1, 'cat'));
  const { keys } = RuleStateSchema.parse((await control.get(`${RULE}/state`)).body);
  expect(keys).toMatchObject([{ key: 'cam-1', state: 'active' }]);
  expect(keys[0]?.waits_for).toMatch(
    /^release: no longer decision\.label == "cat" && decision\.score >= 0\.6; silent until /,
  );
}

async function fire(control: Control) {
  const commands = await control.listen('brink/feeder-1/down/commands/#', 'feeder-1');
  await control.post(`${RULE}/disarm`);
  const { body } = await control.post(`${RULE}/fire`, { by: 'ann' });
  expect(body.actions).toMatchObject([{ kind: 'command', state: 'pending', key: '@test', rule: 'cat-at-the-flap' }]);
  const key = body.actions[0].id;
  const arrived = await until('the command', () =>
    commands.map(({ payload }) => JSON.parse(String(payload))).find((command) => command.key === key),
  );
  expect(arrived).toMatchObject({ args: { grams: 20 }, because: 'cam-1.front.k3v9.1.0.pets' });
  await control.publish('brink/feeder-1/up/acks', { key, status: 200 });
  await until('the ack', async () => (await control.get(`/v1/actions/${key}`)).body.state === 'acked');
  const explained = (await control.get(`/v1/actions/${key}/explain`)).body;
  expect(explained).toMatchObject({
    ...{ cause: 'test', by: 'ann', because: { test: { by: 'ann' } }, ack: { status: 200 } },
    frame: { sha256: 'f'.repeat(64) },
  });

  const sample = { device: 'cam-7', label: 'cat', score: 0.8 };
  const sampled = await control.post(`${RULE}/fire`, { sample });
  const of = (await control.get(`/v1/actions/${sampled.body.actions[0].id}/explain`)).body;
  expect(of).toMatchObject({ cause: 'test', because: { test: { sample: true } }, decision: null, frame: null });
  const none = await control.post(`${RULE}/fire`, { phase: 'on_release' });
  expect([none.status, none.body.code]).toEqual([409, 'E_CONFLICT']);
  await control.post(`${RULE}/arm`);

  const ordered = await control.post('/v1/devices/feeder-1/commands', { name: 'open' });
  const chain = (await control.get(`/v1/actions/${ordered.body.id}/explain`)).body;
  expect(chain).toMatchObject({ cause: 'person', because: null, decision: null });
  expect(chain.by.length).toBeGreaterThan(0);
}

async function tried(control: Control) {
  const since = new Date(Date.now() - 3_600_000).toISOString();
  const bare = RuleTestReportSchema.parse((await control.post('/v1/rules/test')).body);
  expect(bare).toEqual({ ok: true, tests: [], backtest: null });

  const files = [{ name: 'new.yaml', text: stricter }];
  const answer = await control.post('/v1/rules/test', { files, since });
  expect(answer.headers.get('content-type')).toContain('application/json');
  const { backtest } = RuleTestReportSchema.parse(answer.body);
  expect(backtest?.rules).toMatchObject([
    { rule: 'cat-at-the-flap', change: 'changed', before: 1, after: 0, silent: 1 },
  ]);
  expect(backtest?.differences).toMatchObject([{ difference: 'silent', decision: 'cam-1.front.k3v9.1.0.pets' }]);

  const tested = `${stricter}    tests:
      - name: a cat at 0.96 opens
        given: [{ at_ms: 0, decision: { label: cat, score: 0.96 } }]
        expect: [{ command: { name: open } }]
      - name: a cat at 0.7 opens
        given: [{ at_ms: 0, decision: { label: cat, score: 0.7 } }]
        expect: [{ command: { name: open } }]
`;
  const { tests, ok } = (await control.post('/v1/rules/test', { files: [{ name: 'new.yaml', text: tested }] })).body;
  expect(ok).toBe(false);
  expect(tests.map((one: { ok: boolean; at: string }) => [one.ok, one.at])).toEqual([
    [true, 'new.yaml:10:9'],
    [false, 'new.yaml:13:9'],
  ]);
  expect(tests[1].detail).toContain('expected 1 action, came 0');

  const wrong = async (body: unknown) => {
    const { status, body: problem } = await control.post('/v1/rules/test', body);
    return [status, problem.code, problem.detail];
  };
  const broken = stricter.replace('decision.label', 'decision.lable');
  expect(await wrong({ files: [{ name: 'new.yaml', text: broken }] })).toEqual([
    ...[422, 'E_CONFIG', expect.stringContaining('new.yaml:4:20: rules.cat-at-the-flap.when')],
  ]);
  expect((await wrong({ since: '2099-01-01T00:00:00Z' })).slice(0, 2)).toEqual([400, 'E_BAD_REQUEST']);
  expect((await wrong({ rules: ['nobody'] })).slice(0, 2)).toEqual([404, 'E_NOT_FOUND']);
  expect((await wrong({ against: 'aaaaaaaaaaaa' })).slice(0, 2)).toEqual([404, 'E_NOT_FOUND']);
  expect((await control.get('/v1/rules/test')).status).toBe(404);
}
