import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createBroker } from '@brink/broker';
import { type FleetStatus, FleetStatusSchema } from '@brink/protocol';
import { createMqtt, createRegistry, type Mqtt, silentLogger, systemClock } from '@brink/runtime';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventually, pixels, startInference, temporaryFolder } from './harness/inference.ts';
import { pixelsGraph, writeModel } from './harness/models.ts';

const USERS = [
  { username: 'control', role: 'control' as const, password: 'c' },
  { username: 'inference', role: 'inference' as const, password: 'i' },
];
const TOPIC = 'brink/fleet/inference/inference-1';

/** A broker, and somebody who publishes configurations and reads the fleet's status. */
async function startFleet(port = 0) {
  const broker = createBroker(
    { host: '127.0.0.1', port, users: USERS },
    { logger: silentLogger, clock: systemClock, registry: createRegistry('broker') },
  );
  await broker.start(AbortSignal.timeout(10_000));
  const mqtt: Mqtt = createMqtt(
    { url: broker.url, clientId: 'test', clean: true, username: 'control', password: 'c' },
    { logger: silentLogger, clock: systemClock, random: Math.random },
  );
  let status: FleetStatus | undefined;
  mqtt.subscribe(TOPIC, { qos: 1 }, ({ payload }) => {
    status = FleetStatusSchema.parse(JSON.parse(payload.toString()));
  });
  await mqtt.start(AbortSignal.timeout(10_000));
  return {
    url: broker.url,
    until: (matches: (status: FleetStatus) => boolean) =>
      eventually(`status (last ${JSON.stringify(status)})`, async () =>
        status !== undefined && matches(status) ? status : undefined,
      ),
    publish: (configuration: unknown, revision = 'abcdefabcdef') =>
      mqtt.publish('brink/fleet/config', JSON.stringify({ revision, configuration }), { qos: 1, retain: true }),
    async [Symbol.asyncDispose]() {
      await mqtt.stop();
      await broker.stop();
    },
  };
}

let secrets: Awaited<ReturnType<typeof temporaryFolder>>;
beforeAll(async () => {
  secrets = await temporaryFolder();
  await writeFile(join(secrets.path, 'password'), 'i\n');
});
afterAll(() => secrets[Symbol.asyncDispose]());

/** Settings of a service that has credentials for this broker. */
const credentials = (url: string) => ({
  BRINK_MQTT_URL: url,
  BRINK_MQTT_USERNAME: 'inference',
  BRINK_MQTT_PASSWORD_FILE: join(secrets.path, 'password'),
});

describe('inference in the fleet', () => {
  it('says its state and its models, retained, and that it is gone', async () => {
    await using fleet = await startFleet();
    await using models = await temporaryFolder();
    await writeModel(models.path, { name: 'pixels', graph: pixelsGraph() });
    await writeModel(models.path, { name: 'broken', graph: Buffer.from('broken') });
    {
      await using _inference = await startInference(models.path, { env: credentials(fleet.url) });
      const status = await fleet.until(({ models: all }) => all?.every(({ state }) => state !== 'loading') ?? false);
      expect(status).toMatchObject({ service: 'inference', state: 'online', ready: true, version: '0.1.0' });
      expect(status.models).toEqual([
        {
          name: 'broken',
          version: 1,
          state: 'failed',
          serving: false,
          reason: expect.stringContaining('E_MODEL_PARSE'),
        },
        { name: 'pixels', version: 1, state: 'ready', serving: true, provider: 'cpu' },
      ]);
      expect(status.problems?.[0]).toMatch(/^model broken 1 is failed: E_MODEL_PARSE/);
    }
    await fleet.until(({ state }) => state === 'offline');
  });

  it('takes language and policies from the published configuration and keeps it on disk', async () => {
    await using fleet = await startFleet();
    await using models = await temporaryFolder();
    await using data = await temporaryFolder();
    const passport = await writeModel(models.path, { name: 'pixels', graph: pixelsGraph() });
    await writeModel(models.path, { name: 'pixels', version: 2, graph: pixelsGraph() });
    const env = { ...credentials(fleet.url), BRINK_DATA_DIR: data.path };
    const text = async (inference: Awaited<ReturnType<typeof startInference>>) =>
      (await inference.decide({ name: 'pixels', passport }, [pixels(0, 0, 9, 0)]))[0]?.result?.label_text;
    {
      await using inference = await startInference(models.path, { env });
      await inference.until((all) => all.every(({ state }) => state === 'ready'));
      expect(await text(inference)).toBeUndefined();
      expect(inference.announced.map(({ serving }) => serving)).toEqual([false, true]);
      await fleet.publish({ version: 1, site: { language: 'zh' }, models: { pixels: { serve: 1 } } });
      await fleet.until(({ revision }) => revision === 'abcdefabcdef');
      expect(await text(inference)).toBe('二');
      await inference.until((all) => all[0]?.serving === true && all[1]?.serving === false);

      await fleet.publish({ version: 1, site: { langauge: 'de' } }, '111111111111');
      const refused = await fleet.until(({ revision_error }) => revision_error !== undefined);
      expect(refused).toMatchObject({ revision: 'abcdefabcdef', revision_error: expect.stringContaining('langauge') });
      expect(await text(inference)).toBe('二');
      await eventually('the kept configuration', () =>
        readFile(join(data.path, 'configuration.json'), 'utf8').then(
          (kept) => kept.includes('abcdefabcdef'),
          () => false,
        ),
      );
    }
    // Without broker and control it starts with what it applied last.
    await using alone = await startInference(models.path, { env: { BRINK_DATA_DIR: data.path } });
    await alone.until((all) => all.every(({ state }) => state === 'ready'));
    expect(await text(alone)).toBe('二');
    expect(alone.announced.map(({ serving }) => serving)).toEqual([true, false]);
  });

  it('switches to a configured version that was added after the start, and says while it cannot', async () => {
    await using fleet = await startFleet();
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, { name: 'm', graph: pixelsGraph() });
    await using inference = await startInference(models.path, { env: credentials(fleet.url) });
    await inference.until(([first]) => first?.state === 'ready');
    const label = async (version: number, sha: string) =>
      (await inference.decide({ name: 'm', version, passport: sha }, [pixels(0, 0, 9, 0)]))[0]?.result?.label;

    await fleet.publish({ version: 1, models: { m: { serve: 2 } } });
    const absent = await fleet.until(({ revision }) => revision === 'abcdefabcdef');
    expect(absent.problems).toEqual(['m: version 2 is asked for but is not in the models folder; serving 1']);
    expect(absent.ready).toBe(true);

    await writeModel(models.path, { name: 'm', version: 2, graph: Buffer.from('broken') });
    const failed = await fleet.until(({ problems }) => problems?.[0]?.includes('failed') ?? false);
    expect(failed.problems?.[0]).toMatch(/^m: version 2 is asked for but failed: E_MODEL_PARSE: .*; serving 1$/);
    expect(await label(0, passport)).toBe('two');

    await writeModel(models.path, { name: 'm', version: 3, graph: pixelsGraph() });
    const second = await writeModel(models.path, { name: 'm', version: 2, graph: pixelsGraph('n') });
    const all = await inference.until((now) => now.length === 3 && now.every(({ state }) => state === 'ready'));
    expect(all.map(({ serving }) => serving)).toEqual([false, true, false]);
    expect(await label(0, second)).toBe('two');
    await fleet.until(({ problems }) => problems?.length === 0);

    await fleet.publish({ version: 1, models: { m: { serve: 1 } } }, '222222222222');
    await inference.until((now) => now[0]?.serving === true && now[1]?.serving === false);
  });

  it('serves while there is no broker, and is there when one comes', async () => {
    await using models = await temporaryFolder();
    const passport = await writeModel(models.path, { name: 'pixels', graph: pixelsGraph() });
    let url: string;
    {
      await using before = await startFleet();
      url = before.url;
    }
    await using inference = await startInference(models.path, { env: credentials(url) });
    await inference.until(([first]) => first?.state === 'ready');
    expect((await inference.decide({ name: 'pixels', passport }, [pixels(9, 0, 0, 0)]))[0]?.result?.label).toBe('zero');
    await using fleet = await startFleet(Number(new URL(url).port));
    await fleet.until(({ state, ready }) => state === 'online' && ready === true);
  });

  it('refuses a data folder that another one uses', async () => {
    await using models = await temporaryFolder();
    await using data = await temporaryFolder();
    await writeModel(models.path, { name: 'pixels', graph: pixelsGraph() });
    const env = { BRINK_DATA_DIR: data.path };
    await using _first = await startInference(models.path, { env });
    await expect(startInference(models.path, { env })).rejects.toMatchObject({ code: 'E_LOCKED' });
  });
});
