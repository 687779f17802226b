import { describe, expect, it } from 'vitest';
import { BrinkError } from './errors.ts';
import { createTopics, type Topic } from './topics.ts';

const topics = createTopics();

const table: ReadonlyArray<readonly [string, Topic]> = [
  ['brink/cam-1/up/frames/front', { kind: 'frame', device: 'cam-1', stream: 'front' }],
  [
    'brink/cam-1/up/frames/front/k3v9-1042',
    { kind: 'frame', device: 'cam-1', stream: 'front', id: { boot: 'k3v9', seq: 1042 } },
  ],
  ['brink/cam-1/up/retired/front', { kind: 'retired', device: 'cam-1', stream: 'front' }],
  ['brink/cam-1/up/status', { kind: 'status', device: 'cam-1' }],
  ['brink/cam-1/up/acks', { kind: 'acks', device: 'cam-1' }],
  ['brink/siren-1/down/commands/sound', { kind: 'command', device: 'siren-1', name: 'sound' }],
  ['brink/cam-1/down/receipts/front', { kind: 'receipts', device: 'cam-1', stream: 'front' }],
  ['brink/cam-1/down/decisions/front', { kind: 'decisions', device: 'cam-1', stream: 'front' }],
  ['brink/cam-1/state', { kind: 'state', device: 'cam-1' }],
  ['brink/fleet/gateway/gateway-1', { kind: 'fleet', service: 'gateway', instance: 'gateway-1' }],
  ['brink/fleet/config', { kind: 'config' }],
];

describe('topics', () => {
  it.each(table)('reads and writes %s', (text, topic) => {
    expect(topics.parse(text)).toEqual(topic);
    expect(topics.format(topic)).toBe(text);
  });

  it.each([
    ['brink/Cam/up/frames/front', 'E_NAME'],
    ['brink/cam+1/up/frames/front', 'E_NAME'],
    ['brink//up/frames/front', 'E_NAME'],
    [`brink/${'a'.repeat(65)}/up/status`, 'E_NAME'],
    ['brink/cam-1/up/frames', 'E_TOPIC'],
    ['brink/cam-1/up/frames/front/k3v9', 'E_TOPIC'],
    ['brink/cam-1/up/frames/front/k3v9-0', 'E_TOPIC'],
    ['brink/cam-1/up/frames/front/k3v9-01', 'E_TOPIC'],
    ['brink/cam-1/up/frames/front/k3v9-9007199254740992', 'E_TOPIC'],
    ['brink/cam-1/up/frames/front/k3v9-1/more', 'E_TOPIC'],
    ['brink/cam-1/up/retired/front/k3v9-1', 'E_TOPIC'],
    ['other/cam-1/up/status', 'E_TOPIC'],
    ['brink/cam-1/sideways/status', 'E_TOPIC'],
    ['brink', 'E_TOPIC'],
  ])('refuses %s with %s', (text, code) => {
    expect(() => topics.parse(text)).toThrow(expect.objectContaining({ code }));
    expect(() => topics.parse(text)).toThrow(BrinkError);
  });

  it('keeps to another root', () => {
    expect(createTopics('site').parse('site/cam-1/up/status')).toEqual({ kind: 'status', device: 'cam-1' });
    expect(() => createTopics('site').parse('brink/cam-1/up/status')).toThrow(/E_TOPIC/);
  });
});
