import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { z } from 'zod';
import { logSettings, mqttSettings, opsSettings, portSetting, readSettings, secretFrom } from './settings.ts';

const schema = z.object({ ...logSettings, ...opsSettings, ...mqttSettings, BRINK_OPS_PORT: portSetting(9101, 'ops') });

describe('settings', () => {
  test('have defaults, take strings for what they are, and cannot be changed', () => {
    const settings = readSettings(schema, {
      BRINK_OPS_PORT: '9200',
      BRINK_LOG_PRETTY: 'true',
      BRINK_MQTT_USERNAME: '',
      X: 'y',
    });
    expect(settings).toMatchObject({
      BRINK_OPS_PORT: 9200,
      BRINK_LOG_PRETTY: true,
      BRINK_LOG_LEVEL: 'info',
      BRINK_TOPIC_ROOT: 'brink',
      BRINK_MQTT_URL: 'mqtt://127.0.0.1:1883',
    });
    expect(settings.BRINK_MQTT_USERNAME).toBeUndefined();
    expect(Object.isFrozen(settings)).toBe(true);
    expect(readSettings(schema, {}).BRINK_OPS_PORT).toBe(9101);
  });

  test('that are wrong are all named at once, with what was found', () => {
    const env = {
      BRINK_OPS_PORT: '70000',
      BRINK_LOG_LEVEL: 'loud',
      BRINK_MQTT_URL: 'http://x',
      BRINK_TOPIC_ROOT: 'a/b',
    };
    const problem = (() => {
      try {
        readSettings(schema, env);
      } catch (error) {
        return String(error);
      }
      return 'none';
    })();
    for (const [name, value] of Object.entries(env)) expect(problem).toContain(`${name} is "${value}"`);
    expect(problem).toContain('E_SETTING');
    expect(problem).toContain('mqtt://host:port');
  });

  test('that are missing are named', () => {
    expect(() => readSettings(z.object({ BRINK_X: z.string() }), {})).toThrow(/E_SETTING.*BRINK_X is not set/);
  });

  test('with secrets do not show them', () => {
    const secret = z.object({ BRINK_TOKEN: z.string().max(3) });
    expect(() => readSettings(secret, { BRINK_TOKEN: 'hunter2' })).toThrow(/BRINK_TOKEN is \(not shown\)/);
  });
});

describe('a secret in a file', () => {
  test('comes without its line end; without a file there is none', () => {
    const folder = mkdtempSync(join(tmpdir(), 'brink-secret-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    const file = join(folder, 'password');
    writeFileSync(file, ' top secret \n');
    expect(secretFrom(file)).toBe(' top secret ');
    expect(secretFrom(undefined)).toBeUndefined();
    writeFileSync(file, '\n');
    expect(() => secretFrom(file)).toThrow('E_SETTING');
    expect(() => secretFrom(join(folder, 'absent'))).toThrow(/E_SETTING.*absent/);
  });
});
