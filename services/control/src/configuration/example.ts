import type { ConfigPath } from './problems.ts';
import { isRecord } from './sources.ts';

/**
 * One right value for every key of the configuration. Messages quote it; a test holds it against ConfigurationSchema
 * in both directions, so that no key lacks an example and no example is wrong.
 */
export const EXAMPLE = {
  version: 1,
  site: {
    name: 'plant-7',
    join: 'open',
    timezone: 'Europe/Berlin',
    language: 'en',
    mqtt_allow: ['zigbee2mqtt/'],
    notify: 'phone',
    heartbeat: { url: 'https://monitor.example/ping/plant-7', target: 'duty', every_ms: 60000, allow_private: false },
  },
  streams: {
    front: {
      devices: 'cam-*',
      topics: ['frigate/{device}/snapshot'],
      format: 'image',
      audio: { encoding: 's16le', rate_hz: 16000, channels: 1 },
      signal: { encoding: 'json', fields: ['ax', 'ay', 'az'], rate_hz: 100 },
      gap: 'reset',
      delivery: 'latest',
      frame_bytes_max: 4194304,
      frame_age_ms_max: 500,
      zones: {
        drive: [
          [0.1, 0.5],
          [0.9, 0.5],
          [0.9, 1],
          [0.1, 1],
        ],
      },
      mask: [
        {
          regions: [[0, 0, 0.2, 0.1]],
          faces: { model: 'faces', score_min: 0.4, grow: 0.2, when_unavailable: 'drop' },
          fields: { drop: ['user.name'], pseudonymise: ['user.id'], secret: 'people' },
        },
      ],
      denoise: { median: 3, gaussian: 1 },
      keep_s: 10,
      pipelines: {
        pets: { model: 'cifar-net', priority: 5, deadline_ms: 200, every_ms: 1000, keep: { every_ms: 60000 } },
      },
    },
  },
  models: {
    'cifar-net': {
      serve: 1,
      versions: 'all',
      copies: 1,
      providers: ['cpu'],
      strict: true,
      memory_mb_max: 2048,
      batch_wait_ms: 0,
      queue_max: 64,
      run_ms_max: 5000,
    },
  },
  rules: {
    'cat-at-the-flap': {
      on: 'pets',
      when: 'decision.label == "cat" && decision.score >= 0.6',
      absent_ms: 60000,
      by: ['device'],
      for: { at_least: 3, of: 5, ms: 2000 },
      quorum: { pipelines: 2, within_ms: 2000, devices: 2 },
      release: { when: 'decision.label != "cat"', ms: 5000 },
      cooldown_ms: 60000,
      between: '22:00-06:00',
      stale_ms_max: 5000,
      // biome-ignore lint/suspicious/noThenProperty: the word of the configuration; never awaited
      then: [
        {
          command: { device: 'feeder-1', name: 'open', args: { grams: 20 }, expires_ms: 10000, ack: 'required' },
          mqtt: { topic: 'zigbee2mqtt/lamp/set', payload: { state: 'ON' }, retain: false, expires_ms: 10000 },
          webhook: { target: 'duty', body: { text: 'A cat at ${device}' }, expires_ms: 86400000 },
          notify: { title: 'A cat', message: '${decision.label}', priority: 3, target: 'phone', expires_ms: 3600000 },
          record: { before_ms: 5000, after_ms: 10000 },
        },
      ],
      on_release: [
        {
          command: { device: 'feeder-1', name: 'close', args: { grams: 20 }, expires_ms: 10000, ack: 'required' },
          mqtt: { topic: 'zigbee2mqtt/lamp/set', payload: { state: 'OFF' }, retain: false, expires_ms: 10000 },
          webhook: { target: 'duty', body: { text: 'No cat at ${device}' }, expires_ms: 86400000 },
          notify: { title: 'No cat', message: '${decision.label}', priority: 3, target: 'phone', expires_ms: 3600000 },
          record: { before_ms: 5000, after_ms: 10000 },
        },
      ],
      tests: [
        {
          name: 'three frames are enough',
          starts_at: '2026-03-28T23:00:00+01:00',
          given: [
            {
              at_ms: 0,
              decision: {
                device: 'cam-1',
                stream: 'front',
                pipeline: 'pets',
                outcome: 'decided',
                task: 'detection',
                label: 'cat',
                label_text: '猫',
                score: 0.9,
                objects: [{ label: 'cat', label_text: '猫', score: 0.9, box: [0.1, 0.2, 0.4, 0.9] }],
                classes: [{ label: 'cat', label_text: '猫', score: 0.9 }],
                values: { temperature: 21.5 },
                quality: 'bad',
                error: { code: 'E_EXPIRED', detail: 'too late' },
                frames: { boot: 'k3v9', first: 1, last: 1, received: 1 },
                model: { name: 'cifar-net', version: 1 },
                latency_ms: 8.4,
              },
              repeat: 2,
              every_ms: 200,
            },
          ],
          expect: [
            {
              at_ms: 400,
              phase: 'then',
              key: 'cam-1',
              fate: 'pending',
              command: { device: 'feeder-1' },
              mqtt: { topic: 'zigbee2mqtt/lamp/set' },
              webhook: { target: 'duty' },
              notify: { title: 'A cat' },
              record: { before_ms: 5000 },
            },
          ],
        },
      ],
    },
  },
  targets: {
    duty: {
      webhook: 'https://hooks.example/brink',
      ntfy: 'https://ntfy.sh/my-topic',
      gotify: 'https://gotify.example',
      secret: 'duty_hook',
      allow_private: true,
      timeout_ms: 5000,
    },
  },
} as const;

const EXAMPLE_CHARACTERS_MAX = 120;

/** Sections whose keys are names that people choose. */
const NAMED = new Set(['streams', 'models', 'rules', 'targets', 'pipelines', 'zones']);

/** A line with the key as it could stand there, or undefined where the path means nothing. */
export function exampleFor(path: ConfigPath): string | undefined {
  let value: unknown = EXAMPLE;
  let key: string | undefined;
  let named = false;
  for (const part of path) {
    if (Array.isArray(value)) value = value[0];
    else if (!isRecord(value)) return undefined;
    else {
      key = named ? Object.keys(value)[0] : String(part);
      value = value[key ?? ''];
    }
    if (value === undefined) return undefined;
    named = !named && NAMED.has(String(key));
  }
  if (key === undefined) return undefined;
  const last = path.at(-1);
  const example = typeof last === 'number' ? `- ${inline(value)}` : `${key}: ${inline(value)}`;
  return example.length > EXAMPLE_CHARACTERS_MAX ? undefined : example;
}

/** Shapes of a union stand side by side in EXAMPLE; a message shows the first. */
const ALTERNATIVE_TO: Record<string, string> = {
  mqtt: 'command',
  record: 'command',
  webhook: 'command',
  notify: 'command',
  ntfy: 'webhook',
  gotify: 'webhook',
  target: 'url',
  ms: 'at_least',
  devices: 'pipelines',
  faces: 'regions',
  fields: 'regions',
};

/** YAML flow style, with no more quotes than it needs. */
function inline(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`;
  if (isRecord(value)) {
    const shown = Object.entries(value).filter(([key]) => !Object.hasOwn(value, ALTERNATIVE_TO[key] ?? ''));
    return `{ ${shown.map(([key, item]) => `${key}: ${inline(item)}`).join(', ')} }`;
  }
  if (typeof value !== 'string') return JSON.stringify(value);
  return /^[\w][\w./-]*$/.test(value) ? value : `'${value.replaceAll("'", "''")}'`;
}
