import { join } from 'node:path';
import type { DeadRecord, Discovered, Status } from '@brink/protocol';
import { expect, test } from 'vitest';
import { createNews } from './news.ts';

const plain = (_colour: string, text: string) => text;
const withoutTime = (lines: readonly string[]) => lines.map((line) => line.replace(/^\d\d:\d\d:\d\d /, ''));

function status(revision: string, o: { applied?: boolean; wrong?: string; dead?: Status['dead'] } = {}): Status {
  const error = o.wrong === undefined ? null : { since: '2026-11-22T18:22:01.000Z', detail: o.wrong, problems: [] };
  return {
    configuration: { revision, activated_at: '2026-11-22T18:22:01.000Z', error, applied: o.applied ?? true },
    services: [{ service: 'gateway', instance: 'gw', state: 'online', revision_error: 'E_CONFIG: no' }],
    dead: o.dead ?? [],
  } as unknown as Status;
}

const letter = (code: string, device = 'cam-9') =>
  ({ device, stream: 'front', error: { code, detail: 'the bytes look like text/plain' } }) as DeadRecord;

test('a new configuration is told when every service has applied it, not before', () => {
  const news = createNews(plain, () => 0);
  expect(news.status(status('aaa')).lines).toEqual([]);
  expect(news.status(status('bbb', { applied: false })).lines).toEqual([]);
  expect(withoutTime(news.status(status('bbb')).lines)).toEqual(['configuration bbb in force']);
  expect(news.status(status('bbb')).lines).toEqual([]);
});

test('a configuration that a service does not apply is told with its reason', () => {
  let now = 0;
  const news = createNews(plain, () => now);
  news.status(status('aaa'));
  news.status(status('bbb', { applied: false }));
  now = 6000;
  expect(withoutTime(news.status(status('bbb', { applied: false })).lines)).toEqual([
    'configuration bbb is active, but not every service has applied it',
    '  gateway: E_CONFIG: no',
  ]);
});

test('a refused edit is told once, a line per problem with its path as seen from here; so is its mending', () => {
  const news = createNews(plain, () => 0);
  news.status(status('aaa'));
  const wrong = `${join(process.cwd(), 'config/x.yaml')}:8:5: a: found 1; expected 2\n/else/y.yaml:1:1: b`;
  expect(withoutTime(news.status(status('aaa', { wrong })).lines)).toEqual([
    'configuration refused, aaa stays in force:',
    '  config/x.yaml:8:5: a: found 1; expected 2',
    '  /else/y.yaml:1:1: b',
  ]);
  expect(news.status(status('aaa', { wrong })).lines).toEqual([]);
  expect(withoutTime(news.status(status('aaa')).lines)).toEqual([
    'configuration aaa in force, the files are right again',
  ]);
  news.status(status('aaa', { wrong }));
  expect(withoutTime(news.status(status('bbb')).lines)).toEqual(['configuration bbb in force']);
});

test('a refused frame has a line, its repeats are counted; what was there at the start says nothing', () => {
  const news = createNews(plain, () => 0);
  const dead = (count: number) => status('aaa', { dead: [{ code: 'E_IMAGE_TYPE', count }] });
  expect(news.status(dead(7)).refused).toEqual([]);
  expect(news.status(dead(10)).refused).toEqual(['E_IMAGE_TYPE']);
  expect(withoutTime(news.dead(letter('E_IMAGE_TYPE')))).toEqual([
    '! cam-9/front refused E_IMAGE_TYPE: the bytes look like text/plain  (brink dead)',
  ]);
  expect(news.dead(letter('E_IMAGE_TYPE'))).toEqual([]);
  expect(news.refused()).toEqual(['2 more refused E_IMAGE_TYPE']);
  expect(news.refused()).toEqual([]);
});

test('a stream that nobody configured is told once', () => {
  const news = createNews(plain, () => 0);
  const items = [{ device: 'cam-9', stream: 'backyard' }] as Discovered[];
  expect(withoutTime(news.discovered(items))).toEqual([
    '? cam-9/backyard is no stream of the configuration  (brink discovered)',
  ]);
  expect(news.discovered(items)).toEqual([]);
});
