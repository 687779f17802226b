import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Control, SITE, startControl, until } from './harness.ts';

const RULES = `# ours
version: 1
rules:
  # who is at the door
  dog-at-the-door:
    on: pets
    when: decision.label == "dog" # not the cat
    cooldown_ms: 1000
    then:
      # quietly
      - command: { device: bell-1, name: ring, args: { level: 1 } }
`;
const DOG = {
  on: 'pets',
  when: 'decision.label == "dog"',
  cooldown_ms: 2000,
  // biome-ignore lint/suspicious/noThenProperty: the word of the configuration; never awaited
  then: [{ command: { device: 'bell-1', name: 'ring', args: { level: 1 } } }],
};

const send = (control: Control, method: string, path: string, body?: unknown, ifMatch?: string) =>
  control.ask(path, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    headers: {
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...(ifMatch === undefined ? {} : { 'if-match': ifMatch }),
    },
  });
const fileOf = (control: Control, name: string) => readFile(join(control.folder, 'config', name), 'utf8');
const revisionOf = async (control: Control): Promise<string> => (await control.get('/v1/config')).body.revision;

let control: Control;
beforeAll(async () => {
  control = await startControl({ files: { 'site.yaml': SITE, 'rules.yaml': RULES } });
});
afterAll(() => control[Symbol.asyncDispose]());

/** As it was, for the next test. */
async function restore(): Promise<void> {
  const files = [
    { name: 'site.yaml', text: SITE },
    { name: 'rules.yaml', text: RULES },
  ];
  expect((await send(control, 'PUT', '/v1/config', { files })).status).toBe(200);
}

describe('one name', () => {
  test('that is put changes what differs and nothing else: comments and order stay', async () => {
    const answer = await send(control, 'PUT', '/v1/rules/dog-at-the-door', DOG);
    expect(answer).toMatchObject({ status: 200, body: { name: 'dog-at-the-door', changed: true } });
    expect(await fileOf(control, 'rules.yaml')).toBe(RULES.replace('cooldown_ms: 1000', 'cooldown_ms: 2000'));
    expect(answer.body.revision).toBe(await revisionOf(control));
    expect(answer.headers.get('etag')).toBe(`"${answer.body.revision}"`);
    const again = await send(control, 'PUT', '/v1/rules/dog-at-the-door', DOG);
    expect(again.body).toEqual({ ...answer.body, changed: false });
    await restore();
  });

  test('that is read, changed and put back brings no defaults into the file', async () => {
    const {
      name: _,
      arming: __,
      keys: ___,
      errors: ____,
      ...rule
    } = (await control.get('/v1/rules/dog-at-the-door')).body;
    const answer = await send(control, 'PUT', '/v1/rules/dog-at-the-door', { ...rule, cooldown_ms: 7 });
    expect(answer.status).toBe(200);
    expect(await fileOf(control, 'rules.yaml')).toBe(RULES.replace('cooldown_ms: 1000', 'cooldown_ms: 7'));
    await restore();
  });

  test('that is new stands where its kind stands, or in a file of its own; deleted, it is gone', async () => {
    const target = await send(control, 'PUT', '/v1/targets/duty', { webhook: 'https://hooks.example/brink' });
    expect(target.status).toBe(201);
    expect(await fileOf(control, 'targets.yaml')).toMatch(
      /^# yaml-language-server: .*\nversion: 1\ntargets:\n {2}duty:\n/,
    );
    expect((await control.get('/v1/targets')).body.items).toMatchObject([{ name: 'duty', allow_private: false }]);
    const rule = await send(control, 'PUT', '/v1/rules/any', { ...DOG, when: 'true' });
    expect(rule.status).toBe(201);
    expect(await fileOf(control, 'rules.yaml')).toMatch(/^# ours\n[\s\S]*\n {2}any:\n {4}on: pets\n/);
    expect((await send(control, 'DELETE', '/v1/rules/any')).status).toBe(200);
    expect(await fileOf(control, 'rules.yaml')).toBe(RULES);
    expect(await send(control, 'DELETE', '/v1/rules/any')).toMatchObject({
      status: 404,
      body: { code: 'E_NOT_FOUND' },
    });
    await restore();
    expect(await readdir(join(control.folder, 'config'))).toEqual(['rules.yaml', 'site.yaml']);
  });

  test('of the site: what is left out has its default again', async () => {
    const answer = await send(control, 'PUT', '/v1/site', { name: 'plant-8', mqtt_allow: ['zigbee2mqtt/'] });
    expect(answer.status).toBe(200);
    expect((await control.get('/v1/config')).body.configuration.site).toMatchObject({
      name: 'plant-8',
      language: 'en',
    });
    expect(await fileOf(control, 'site.yaml')).toContain('site: { name: plant-8, mqtt_allow: [ "zigbee2mqtt/" ] }');
    await restore();
  });
});

describe('nothing is written', () => {
  let before: { revision: string; files: string[] };
  const look = async () => ({
    revision: await revisionOf(control),
    files: await Promise.all(['site.yaml', 'rules.yaml'].map((name) => fileOf(control, name))),
  });
  const unchanged = async () => expect(await look()).toEqual(before);
  beforeAll(async () => {
    before = await look();
  });

  test('where it would be wrong: every problem is said, with the line that it would have had, and an example', async () => {
    const { status, body } = await send(control, 'PUT', '/v1/rules/dog-at-the-door', {
      ...DOG,
      cooldwn_ms: 5,
      on: 'pet',
    });
    expect([status, body.code]).toEqual([422, 'E_CONFIG']);
    expect(body.detail).toMatch(
      /rules\.yaml:\d+:\d+: rules\.dog-at-the-door\.cooldwn_ms: found the unknown key .*did you mean "cooldown_ms"/,
    );
    await unchanged();
  });

  test.each([
    ['a list', []],
    ['text', 'x'],
    ['null', null],
  ])('where the body is %s', async (_, body) => {
    expect((await send(control, 'PUT', '/v1/rules/dog-at-the-door', body)).status).toBe(422);
    expect((await send(control, 'PUT', '/v1/site', body)).status).toBe(422);
    await unchanged();
  });

  test('where something else needs what is taken away', async () => {
    const { status, body } = await send(control, 'DELETE', '/v1/streams/front');
    expect([status, body.code]).toEqual([422, 'E_CONFIG']);
    expect(body.detail).toContain('rules.dog-at-the-door.on');
    await unchanged();
  });

  test('where the body is nested without end, has a forbidden key, or a name that is none', async () => {
    const deep = `${'{"a":'.repeat(5000)}1${'}'.repeat(5000)}`;
    const put = (path: string, body: string) =>
      control.ask(path, { method: 'PUT', body, headers: { 'content-type': 'application/json' } });
    expect(await put('/v1/rules/x', deep)).toMatchObject({ status: 422, body: { code: 'E_DEPTH' } });
    expect((await put('/v1/rules/x', '{"__proto__":{"on":"pets"}}')).status).toBe(400);
    expect((await put('/v1/rules/..%2Fx', '{}')).status).toBe(400);
    expect((await put('/v1/config', JSON.stringify({ files: [{ name: '../x.yaml', text: '' }] }))).status).toBe(400);
    expect((await put('/v1/config', JSON.stringify({ files: [{ name: '.x.yaml', text: '' }] }))).status).toBe(400);
    expect(await put('/v1/config', '{"configuration":{"version":1,"sites":{}}}')).toMatchObject({ status: 422 });
    await unchanged();
  });

  test('where another revision is active than the one that was expected', async () => {
    const stale = await send(control, 'PUT', '/v1/rules/dog-at-the-door', DOG, '"0123456789ab"');
    expect(stale).toMatchObject({ status: 412, body: { code: 'E_REVISION' } });
    expect(
      (await send(control, 'DELETE', '/v1/rules/dog-at-the-door', undefined, `W/"${before.revision}"`)).status,
    ).toBe(412);
    // A revision stands in quotes: what does not is none that is active.
    expect((await send(control, 'PUT', '/v1/site', {}, before.revision)).status).toBe(412);
    await unchanged();
  });

  test('of two edits that began with the same revision the second is refused', async () => {
    const tag = (await control.get('/v1/rules/dog-at-the-door')).headers.get('etag') ?? '';
    const answers = await Promise.all(
      [3000, 4000].map((cooldown_ms) =>
        send(control, 'PUT', '/v1/rules/dog-at-the-door', { ...DOG, cooldown_ms }, tag),
      ),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412]);
    await restore();
    await unchanged();
  });
});

describe('the whole', () => {
  test('as files: those that are not among them go, and all of it is one activation', async () => {
    const before = await revisionOf(control);
    const files = [{ name: 'all.yaml', text: `${SITE}${RULES.slice(RULES.indexOf('  # who'))}` }];
    const answer = await send(control, 'PUT', '/v1/config', { files }, `"${before}"`);
    // The same configuration in other files is the same revision.
    expect(answer.body).toEqual({ revision: before, changed: true });
    expect(await readdir(join(control.folder, 'config'))).toEqual(['all.yaml']);
    await restore();
  });

  test('as values: what GET gives can be put, and one change of it changes one line', async () => {
    const { configuration } = (await control.get('/v1/config')).body;
    expect((await send(control, 'PUT', '/v1/config', { configuration })).body.changed).toBe(false);
    configuration.rules['dog-at-the-door'].when = 'decision.label == "cow"';
    expect((await send(control, 'PUT', '/v1/config', { configuration })).body.changed).toBe(true);
    expect(await fileOf(control, 'rules.yaml')).toBe(
      RULES.replace('"dog" #', '"cow" #').replace(/when: (.*) #/, 'when: $1 #'),
    );
    await restore();
  });

  test('validate says what would be different', async () => {
    const files = [
      { name: 'site.yaml', text: SITE },
      { name: 'rules.yaml', text: RULES.replace('level: 1', 'level: 2').replace('cooldown_ms: 1000\n', '\n') },
    ];
    const { body } = await control.post('/v1/config/validate', { files });
    expect(body.valid).toBe(true);
    expect(body.changes).toEqual([
      { path: 'rules.dog-at-the-door.cooldown_ms', before: 1000, after: 0 },
      { path: 'rules.dog-at-the-door.then[0].command.args.level', before: 1, after: 2 },
    ]);
  });
});

test('revisions say when, by whom and instead of which; each can be compared, and activated again with its comments', async () => {
  const before = await revisionOf(control);
  const edited = (await send(control, 'PUT', '/v1/rules/dog-at-the-door', DOG)).body.revision;
  await control.write('rules.yaml', RULES.replace('cooldown_ms: 1000', 'cooldown_ms: 3000'));
  const byHand = await until('the edit by hand is active', async () => {
    const revision = await revisionOf(control);
    return revision !== edited && revision;
  });
  const [first, second] = (await control.get('/v1/config/revisions?limit=2')).body.items;
  expect(first).toMatchObject({ revision: byHand, how: 'files', by: null, previous: edited });
  expect(second).toMatchObject({ revision: edited, how: 'http', by: 'local', previous: before });
  const { body } = await control.get(`/v1/config/revisions/${edited}/diff`);
  expect(body).toEqual({
    ...{ revision: edited, against: before },
    changes: [{ path: 'rules.dog-at-the-door.cooldown_ms', before: 1000, after: 2000 }],
  });
  const against = (await control.get(`/v1/config/revisions/${before}/diff?against=${byHand}`)).body;
  expect(against.changes).toEqual([{ path: 'rules.dog-at-the-door.cooldown_ms', before: 3000, after: 1000 }]);

  const back = await send(control, 'POST', `/v1/config/revisions/${before}/activate`);
  expect(back).toMatchObject({ status: 200, body: { revision: before, changed: true, files: true } });
  expect(await fileOf(control, 'rules.yaml')).toBe(RULES);
  const [last] = (await control.get('/v1/config/revisions?limit=1')).body.items;
  expect(last).toMatchObject({ revision: before, how: 'rollback', by: 'local', previous: byHand });
  expect((await send(control, 'POST', '/v1/config/revisions/000000000000/activate')).status).toBe(404);
});

test('going back over an edit that is wrong keeps that edit beside', async () => {
  const before = await revisionOf(control);
  const wrong = RULES.replace('on: pets', 'on: pest');
  await control.write('rules.yaml', wrong);
  await until('it is refused', async () => (await control.get('/v1/config')).body.error);
  expect((await send(control, 'POST', `/v1/config/revisions/${before}/activate`)).status).toBe(200);
  expect(await fileOf(control, 'rules.yaml')).toBe(RULES);
  expect(await fileOf(control, '.replaced/rules.yaml')).toBe(wrong);
  expect((await control.get('/v1/config')).body.error).toBeNull();
});

test('the command line compares, applies, lists and goes back', async () => {
  const brink = async (...args: string[]) => {
    const entry = new URL('../../../packages/cli/bin/brink.js', import.meta.url).pathname;
    const child = spawn(process.execPath, [entry, 'config', ...args, '--url', control.url]);
    let text = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        text += chunk;
      });
    }
    const [code] = await once(child, 'close');
    return { code, text };
  };
  const before = await revisionOf(control);
  const folder = join(control.folder, 'elsewhere');
  await mkdir(folder);
  await writeFile(join(folder, 'site.yaml'), SITE);
  await writeFile(join(folder, 'rules.yaml'), RULES.replace('level: 1', 'level: 3'));
  const diff = await brink('diff', folder);
  expect(diff).toEqual({ code: 1, text: 'rules.dog-at-the-door.then[0].command.args.level\n  - 1\n  + 3\n' });
  expect(await revisionOf(control)).toBe(before);

  const apply = await brink('apply', folder);
  const after = await revisionOf(control);
  expect(apply).toEqual({ code: 0, text: `${diff.text}active: revision ${after}\n` });
  expect(await fileOf(control, 'rules.yaml')).toContain('level: 3');

  const back = await brink('rollback');
  expect(back).toEqual({ code: 0, text: `active: revision ${before}\n` });
  expect(await fileOf(control, 'rules.yaml')).toBe(RULES);
  expect((await brink('revisions', '--limit', '2')).text).toMatch(
    new RegExp(`^${before} +active +\\S+ +rollback +local\\n${after} +\\S+ +http +local\\n$`),
  );
});
