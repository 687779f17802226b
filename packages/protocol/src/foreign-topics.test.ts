import { describe, expect, it } from 'vitest';
import {
  checkForeignTopics,
  deviceNameOf,
  FOREIGN_TOPICS_MAX,
  foreignFilters,
  foreignTopicProblem,
  foreignTopicsOverlap,
  parseForeignTopic,
} from './foreign-topics.ts';

describe('a foreign topic', () => {
  it.each([
    ['frigate/{device}/snapshot', 'frigate/+/snapshot', 'frigate/front/snapshot', 'front'],
    ['frigate/{device}/+/snapshot', 'frigate/+/+/snapshot', 'frigate/front/person/snapshot', 'front'],
    ['zigbee2mqtt/{device}', 'zigbee2mqtt/+', 'zigbee2mqtt/Living Room', 'Living Room'],
    ['tele/tasmota_{device}/SENSOR', 'tele/+/SENSOR', 'tele/tasmota_0A1B/SENSOR', '0A1B'],
    ['shellies/{device}-em/power', 'shellies/+/power', 'shellies/cellar-em/power', 'cellar'],
  ])('%s is subscribed to as %s and finds the device in %s', (pattern, filter, topic, device) => {
    const parsed = parseForeignTopic(pattern);
    expect(parsed.filter).toBe(filter);
    expect(parsed.deviceIn(topic)).toBe(device);
  });

  it.each([
    ['zigbee2mqtt/{device}', 'zigbee2mqtt/lamp/set'],
    ['zigbee2mqtt/{device}', 'zigbee2mqtt/'],
    ['tele/tasmota_{device}/SENSOR', 'tele/tasmota_/SENSOR'],
    ['tele/tasmota_{device}/SENSOR', 'tele/shelly_1/SENSOR'],
    ['tele/{device}/SENSOR', 'tele/plug/STATE'],
    ['a/x{device}x', 'a/xx'],
  ])('%s does not match %s', (pattern, topic) => {
    expect(parseForeignTopic(pattern).deviceIn(topic)).toBeUndefined();
  });

  it.each([
    ['', 'printable'],
    ['a/\u0000/{device}', 'printable'],
    ['a/\u001f/{device}', 'printable'],
    ['a/\u007f/{device}', 'printable'],
    ['a/\u009f/{device}', 'printable'],
    [`a/${'x'.repeat(256)}/{device}`, '256 bytes'],
    ['a/b/c/d/e/f/g/h/{device}', '8 levels'],
    ['brink/{device}/up/frames/front', "Brink's own"],
    ['+/{device}/sensor', 'plain word'],
    ['{device}/sensor', 'plain word'],
    ['/{device}/sensor', 'plain word'],
    ['$SYS/{device}', 'plain word'],
    ['$share/g/{device}', 'plain word'],
    ['frigate/{device}/#', '"#"'],
    ['frigate/{device}/x+', 'whole level'],
    ['frigate/+/snapshot', '"{device}" once'],
    ['frigate/{device}/{device}', '"{device}" once'],
    ['frigate/{device}/{label}', 'no other braces'],
  ])('%j is refused: %s', (pattern, expected) => {
    expect(foreignTopicProblem(pattern)).toContain(expected);
    expect(() => parseForeignTopic(pattern)).toThrow(/E_TOPIC/);
  });

  it("is another system's under another root", () => {
    expect(foreignTopicProblem('brink/{device}/snapshot', 'plant')).toBeUndefined();
    expect(foreignTopicProblem('plant/{device}/snapshot', 'plant')).toContain("Brink's own");
  });

  it.each([
    ['zigbee2mqtt/{device}', 'zigbee2mqtt/{device}', true],
    ['a/{device}/+', 'a/+/{device}', true],
    ['tele/{device}/SENSOR', 'tele/kitchen/{device}', true],
    ['tele/a_{device}/SENSOR', 'tele/ab_{device}/SENSOR', false],
    ['tele/a{device}/SENSOR', 'tele/ab{device}/SENSOR', true],
    ['tele/{device}_x/SENSOR', 'tele/{device}_y/SENSOR', false],
    ['tele/a{device}/SENSOR', 'tele/{device}b/SENSOR', true],
    ['frigate/{device}/snapshot', 'frigate/{device}/person/snapshot', false],
    ['frigate/{device}/snapshot', 'zigbee2mqtt/{device}/snapshot', false],
  ])('%s and %s overlap: %s', (one, other, overlap) => {
    const [a, b] = [parseForeignTopic(one), parseForeignTopic(other)];
    expect([foreignTopicsOverlap(a, b), foreignTopicsOverlap(b, a)]).toEqual([overlap, overlap]);
  });

  it('overlaps wherever a topic matches both: random patterns against random topics', () => {
    const words = ['a', 'b', 'ab', '+', '{device}', 'a{device}', '{device}b'];
    let state = 3;
    const pick = (list: readonly string[]) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return list[state % list.length] as string;
    };
    let overlapping = 0;
    for (let i = 0; i < 3000; i++) {
      const [one, other] = [0, 0].map(() => `s/${pick(words)}/${pick(words)}`) as [string, string];
      if (foreignTopicProblem(one) !== undefined || foreignTopicProblem(other) !== undefined) continue;
      const [a, b] = [parseForeignTopic(one), parseForeignTopic(other)];
      const topic = `s/${pick(['a', 'b', 'ab', 'aab', 'abb'])}/${pick(['a', 'b', 'ab', 'aab', 'abb'])}`;
      if (a.deviceIn(topic) === undefined || b.deviceIn(topic) === undefined) continue;
      overlapping += 1;
      expect(foreignTopicsOverlap(a, b), `${one} and ${other}: ${topic}`).toBe(true);
    }
    expect(overlapping).toBeGreaterThan(50);
  });
});

describe('the name of a foreign device', () => {
  it.each([
    ['kitchen', 'kitchen'],
    ['Living Room/Lamp 2', 'living-room-lamp-2'],
    ['0x00158D0001', '0x00158d0001'],
    ['__pump__', 'pump'],
    ['Café Küche', 'cafe-kuche'],
  ])('%s becomes %s', (text, name) => expect(deviceNameOf(text)).toBe(name));

  it.each(['', '厨房', '---', 'x'.repeat(65), 'fleet', 'Fleet'])('%j has none', (text) => {
    expect(deviceNameOf(text)).toBeUndefined();
  });
});

describe('the topics of all streams', () => {
  it('are checked together', () => {
    const findings = checkForeignTopics({
      front: { topics: ['frigate/{device}/snapshot', 'frigate/#'] },
      back: { topics: ['frigate/{device}/snapshot', 'tele/{device}/SENSOR'] },
    });
    expect(findings.map(({ stream, index }) => [stream, index])).toEqual([
      ['front', 1],
      ['back', 0],
    ]);
    expect(findings[1]?.expected).toContain('streams.front');
  });

  it('are so many at most', () => {
    const topics = Array.from({ length: FOREIGN_TOPICS_MAX + 1 }, (_, i) => `s${i}/{device}`);
    expect(checkForeignTopics({ front: { topics } })).toMatchObject([{ index: FOREIGN_TOPICS_MAX }]);
  });

  it('become one filter each, also where two streams share it', () => {
    const streams = {
      front: { topics: ['frigate/{device}/snapshot', 'tele/a_{device}/SENSOR'] },
      back: { topics: ['tele/b_{device}/SENSOR'] },
    };
    expect(foreignFilters(streams)).toEqual(['frigate/+/snapshot', 'tele/+/SENSOR']);
  });
});
