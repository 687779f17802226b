import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { ActionExplanationSchema, type Outcome } from '@brink/protocol';
import { expect, test } from 'vitest';
import { outcome, startControl, until } from './harness.ts';

const siteWith = (port: number) => `version: 1
site: { name: plant-7 }
streams:
  front: { devices: "cam-*", format: image, pipelines: { pets: { model: cifar-net } } }
rules:
  hook:
    on: pets
    when: decision.label == "cat"
    stale_ms_max: 5000
    then: [ { webhook: { target: duty, body: { text: "\${decision.label} at \${device}" } } } ]
  held:
    on: pets
    when: decision.label == "dog"
    for: { ms: 50 }
    then: [ { command: { device: feeder-1, name: open, args: { who: "\${decision.label}" }, ack: none } } ]
targets:
  duty: { webhook: "http://127.0.0.1:${port}/hook", allow_private: true }
`;

const seen = (seq: number, label: string, fields: Partial<Outcome> = {}) =>
  outcome(seq, {
    received_ms: Date.now(),
    result: { task: 'classification', label, score: 0.9, classes: [{ label, score: 0.9 }] },
    ...fields,
  });

async function receiver() {
  const bodies: string[] = [];
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const chunk of request) body += String(chunk);
    bodies.push(body);
    response.end('thank you');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  return {
    bodies,
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

test('every action is explained back to the frame: a webhook, a stale trigger, a timer', async () => {
  await using hook = await receiver();
  await using control = await startControl({ files: { 'site.yaml': siteWith(hook.port) } });
  const explained = async (id: string) =>
    ActionExplanationSchema.parse((await control.get(`/v1/actions/${encodeURIComponent(id)}/explain`)).body);
  const source = {
    decision: { id: expect.stringContaining('cam-1.front.k3v9.') },
    model: { name: 'cifar-net', version: 3, model_sha256: 'b'.repeat(64), passport_sha256: 'a'.repeat(64) },
    frame: { sha256: 'f'.repeat(64), gateway: 'gateway-1' },
  };

  await control.commit(seen(1, 'cat'));
  const webhook = 'cam-1.front.k3v9.1.0.pets~hook~0';
  await until('the webhook', async () => (await control.get(`/v1/actions/${webhook}`)).body.ended_at !== undefined);
  expect(await explained(webhook)).toMatchObject({
    ...{ cause: 'rule', ...source },
    action: { kind: 'webhook', target: 'duty', config: { webhook: { body: { text: 'cat at cam-1' } } } },
    attempts: [{ attempt: 1, result: 'sent' }],
    because: { rule: 'hook', before: 'idle', after: 'active', values: { 'decision.label': 'cat' } },
  });
  expect(hook.bodies.map((body) => JSON.parse(body))).toEqual([{ text: 'cat at cam-1' }]);

  await control.commit(seen(2, 'bird'), seen(3, 'cat', { device: 'cam-2', received_ms: Date.now() - 60_000 }));
  const stale = await explained('cam-2.front.k3v9.3.0.pets~hook~0');
  expect(stale).toMatchObject({
    ...{ cause: 'rule', attempts: [], ack: null },
    action: { state: 'suppressed', error: { code: 'E_ACTION_STALE' } },
    because: { stale_ms_max: 5000 },
    frame: source.frame,
  });
  expect(stale.because?.age_ms).toBeGreaterThanOrEqual(60_000);
  expect(hook.bodies).toHaveLength(1);

  await control.commit(seen(4, 'dog'));
  const timed = await until('the timer', async () =>
    (await control.get('/v1/actions?rule=held')).body.items.find((item: { ended_at?: string }) => item.ended_at),
  );
  expect(timed.id).toMatch(/^cam-1\.front\.k3v9\.4\.0\.pets~held~cam-1~\d+~0$/);
  const held = await explained(timed.id);
  expect(held).toMatchObject({ cause: 'timer', ...source, because: { before: 'arming', after: 'active' } });
  expect(held.because?.timer_due).toBe(held.because?.at);
});
