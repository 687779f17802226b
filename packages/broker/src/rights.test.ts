import { describe, expect, test } from 'vitest';
import { covers, createRights, type Role } from './rights.ts';

const rightsOf = (role: Role, name: string = role, foreign: string[] = []) =>
  createRights({ role, name, anonymous: false }, { root: 'brink', topicLevelsMax: 8, foreign: () => foreign });

function table(rights: ReturnType<typeof rightsOf>, topics: string[]) {
  return topics.filter((topic) => rights.publish(topic, false) === undefined);
}

const TOPICS = [
  'brink/cam-1/up/frames/front',
  'brink/cam-1/up/frames/front/k3v9-1',
  'brink/cam-1/up/frames/front/k3v9-1/more',
  'brink/cam-1/up/retired/front',
  'brink/cam-1/up/status',
  'brink/cam-1/up/acks',
  'brink/cam-1/up/other',
  'brink/cam-2/up/frames/front',
  'brink/cam-1/down/commands/open',
  'brink/cam-1/down/receipts/front',
  'brink/cam-1/down/decisions/front',
  'brink/cam-1/state',
  'brink/fleet/gateway/gateway-1',
  'brink/fleet/inference/inference-1',
  'brink/fleet/control/control-1',
  'brink/fleet/config',
  'brink/fleet/up/frames',
  'zigbee2mqtt/lamp/set',
  '$SYS/x/new/clients',
  '$share/a/brink/cam-1/up/status',
];

describe('publishing', () => {
  test('a device speaks for itself only, and only upwards', () => {
    expect(table(rightsOf('device', 'cam-1'), TOPICS)).toEqual([
      'brink/cam-1/up/frames/front',
      'brink/cam-1/up/frames/front/k3v9-1',
      'brink/cam-1/up/retired/front',
      'brink/cam-1/up/status',
      'brink/cam-1/up/acks',
    ]);
  });

  test('only the gateway gives receipts', () => {
    expect(table(rightsOf('gateway'), TOPICS)).toEqual([
      'brink/cam-1/down/receipts/front',
      'brink/fleet/gateway/gateway-1',
    ]);
  });

  test('inference speaks of itself only', () => {
    expect(table(rightsOf('inference'), TOPICS)).toEqual(['brink/fleet/inference/inference-1']);
  });

  test('only control commands, decides and configures, and reaches foreign topics', () => {
    expect(table(rightsOf('control'), TOPICS)).toEqual([
      'brink/cam-1/up/status',
      'brink/cam-1/down/commands/open',
      'brink/cam-1/down/decisions/front',
      'brink/cam-1/state',
      'brink/fleet/control/control-1',
      'brink/fleet/config',
      'zigbee2mqtt/lamp/set',
    ]);
  });

  test('an operator sends as any device, and never as a service', () => {
    expect(table(rightsOf('operator'), TOPICS)).toEqual([
      ...TOPICS.filter((topic) => /^brink\/cam-.\/up\//.test(topic)),
      'zigbee2mqtt/lamp/set',
    ]);
  });

  test('frames are never retained, the status may be', () => {
    for (const rights of [rightsOf('device', 'cam-1'), rightsOf('operator')]) {
      expect(rights.publish('brink/cam-1/up/status', true)).toBeUndefined();
      const refusal = rights.publish('brink/cam-1/up/frames/front', true);
      expect(refusal?.reason).toBe('retained');
      expect(refusal?.error.code).toBe('E_RETAINED');
    }
  });

  test('topics that are too deep, too long or unprintable are refused by name', () => {
    const rights = rightsOf('operator');
    for (const topic of [
      'a/b/c/d/e/f/g/h/i',
      `a/${'b'.repeat(300)}`,
      'a\0b',
      'a\ufffdb',
      'a\uffff',
      '',
      'a/+',
      'a/#',
    ]) {
      expect(rights.publish(topic, false)?.reason).toBe('topic_invalid');
    }
  });

  test('the wrong root is a foreign topic, not a device', () => {
    expect(rightsOf('device', 'cam-1').publish('other/cam-1/up/status', false)?.reason).toBe('acl_publish');
  });
});

describe('reading', () => {
  const FILTERS = [
    'brink/cam-1/down/#',
    'brink/cam-1/down/commands/+',
    'brink/cam-1/#',
    'brink/cam-2/down/#',
    'brink/+/down/#',
    'brink/+/up/frames/#',
    'brink/fleet/#',
    'brink/#',
    '+/#',
    '#',
    'zigbee2mqtt/#',
    '$SYS/#',
    '$share/g/brink/+/up/#',
  ];
  const readable = (role: Role, name?: string) =>
    FILTERS.filter((filter) => rightsOf(role, name).subscribe(filter) === undefined);

  test('a device reads what is sent down to it', () => {
    expect(readable('device', 'cam-1')).toEqual(['brink/cam-1/down/#', 'brink/cam-1/down/commands/+']);
  });

  test('the gateway reads frames and the fleet; inference the fleet', () => {
    expect(readable('gateway')).toEqual(['brink/+/up/frames/#', 'brink/fleet/#']);
    expect(readable('inference')).toEqual(['brink/fleet/#']);
  });

  test('of other systems the gateway reads what streams map, no more, and nobody else does', () => {
    const mapped: string[] = [];
    const [gateway, inference] = [rightsOf('gateway', 'gateway', mapped), rightsOf('inference', 'inference', mapped)];
    const may = (filter: string) => gateway.subscribe(filter) === undefined;
    expect([may('frigate/+/snapshot'), gateway.receive('frigate/front/snapshot')]).toEqual([false, false]);
    mapped.push('frigate/+/snapshot', 'brink/+/down/#', '+/x');
    expect([may('frigate/+/snapshot'), may('frigate/front/snapshot')]).toEqual([true, true]);
    for (const filter of ['frigate/#', 'frigate/+/events', 'zigbee2mqtt/+', '#', '+/x', 'brink/+/down/#', '$SYS/#']) {
      expect([filter, may(filter)]).toEqual([filter, false]);
    }
    expect(gateway.receive('frigate/front/snapshot')).toBe(true);
    expect(gateway.receive('brink/cam-1/down/commands/open')).toBe(false);
    expect(inference.subscribe('frigate/+/snapshot')?.reason).toBe('acl_subscribe');
  });

  test('control and operators read all but $SYS and shared subscriptions', () => {
    const all = FILTERS.filter((filter) => !filter.startsWith('$'));
    expect(readable('control')).toEqual(all);
    expect(readable('operator')).toEqual(all);
  });

  test('filters that MQTT does not know are refused', () => {
    for (const filter of ['brink/#/x', 'brink/a+', 'brink/a#', 'brink/+a/x', '']) {
      expect(rightsOf('operator').subscribe(filter)?.reason).toBe('topic_invalid');
    }
  });
});

test('covers: a filter covers what all its topics match', () => {
  const over = (allowed: string, wanted: string) => covers(allowed.split('/'), wanted.split('/'));
  expect(over('a/#', 'a')).toBe(true);
  expect(over('a/#', 'a/+/c')).toBe(true);
  expect(over('a/+', 'a/b')).toBe(true);
  expect(over('a/+', 'a/+')).toBe(true);
  expect(over('a/+', 'a/#')).toBe(false);
  expect(over('a/+', 'a')).toBe(false);
  expect(over('a/b', 'a/+')).toBe(false);
  expect(over('a/b', 'a/b/c')).toBe(false);
});
