import { describe, expect, test } from 'vitest';
import { createTopicFilter } from './topic-filter.ts';

describe('a topic filter', () => {
  const cases: [string, string[], string[]][] = [
    ['a/b', ['a/b'], ['a', 'a/b/', 'a/b/c', 'A/b', '/a/b']],
    ['a/+', ['a/b', 'a/'], ['a', 'a/b/c', 'b/b']],
    ['+/b', ['a/b', '/b'], ['b', 'a/b/c', '$SYS/b']],
    ['a/#', ['a', 'a/', 'a/b', 'a/b/c'], ['ab', 'b/a', '']],
    ['#', ['a', 'a/b', '/'], ['$SYS', '$SYS/broker']],
    ['+', ['a', ''], ['a/b', '/']],
    ['+/+', ['a/b', '/'], ['a', 'a/b/c']],
    ['$SYS/#', ['$SYS', '$SYS/broker'], ['a']],
    ['brink/+/up/frames/#', ['brink/cam-1/up/frames/front', 'brink/c/up/frames/front/k3v9-1'], ['brink/c/up/status']],
  ];
  for (const [filter, yes, no] of cases) {
    test(`${filter} matches what the specification says`, () => {
      const matches = createTopicFilter(filter);
      expect(yes.filter((topic) => !matches(topic))).toEqual([]);
      expect(no.filter(matches)).toEqual([]);
    });
  }

  test('that is not one is refused', () => {
    for (const filter of ['', 'a/#/b', 'a+', 'a/b#', '++', 'a/\0']) {
      expect(() => createTopicFilter(filter)).toThrow('E_TOPIC');
    }
  });
});
