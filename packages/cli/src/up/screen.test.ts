import { join, resolve } from 'node:path';
import { expect, test } from 'vitest';
import type { UpOptions } from './plan.ts';
import { createJsonScreen, createTextScreen } from './screen.ts';

const root = resolve(import.meta.dirname, '../../../..');
const options: UpOptions = {
  ...{ data: join(root, 'data'), config: join(root, 'config'), models: join(root, 'models'), demo: true, lan: false },
  ...{ topicRoot: 'brink', port: 8080, mqttPort: 1883, oipPort: 8000, opsPort: 9101 },
};

function screens(o: UpOptions = options) {
  const lines: string[] = [];
  const terminal = { line: (text: string) => lines.push(...text.split('\n')), note: () => {}, colour: false };
  return { lines, text: createTextScreen(terminal, o, root, () => 0), json: createJsonScreen(terminal, o) };
}

test('where to look fits into 100 columns, and says no default', () => {
  const { lines, text } = screens();
  text.allReady(2300, {}, false);
  expect(lines[1]).toBe('All ready after 2.3 s. Ctrl-C stops everything.');
  expect(lines.filter((line) => line.length > 100)).toEqual([]);
  expect(lines).toContain('  mosquitto_pub -t brink/cam-9/up/frames/front -f packages/device/pictures/chelsea.png');
  expect(lines.join('\n')).toContain('only the cat is right');
  const other = screens({ ...options, mqttPort: 21_883, demo: false });
  other.text.allReady(2300, {}, false);
  expect(other.lines.join('\n')).toContain('mosquitto_pub -p 21883 -t');
  expect(other.lines.join('\n')).toContain('commands to feeder-1 expire');
});

test('what is missing stands above where to look, and that it came later is one line', () => {
  const { lines, text } = screens();
  text.degraded(10_000, ['gateway: inference does not serve "mine"']);
  expect(lines.slice(1, 3)).toEqual(['Ready, except:', '  ! gateway: inference does not serve "mine"']);
  expect(lines.join('\n')).toContain('http://127.0.0.1:8080/v1/status');
  const before = lines.length;
  text.allReady(30_000, {}, true);
  expect(lines.slice(before)).toEqual([expect.stringMatching(/all ready now$/)]);
});

test('--json says degraded first and ready only when all is', () => {
  const { lines, json } = screens();
  json.degraded(10_000, ['x']);
  json.allReady(30_000, { broker: 1 }, true);
  expect(lines.map((line) => JSON.parse(line))).toMatchObject([
    { event: 'degraded', ms: 10_000, problems: ['x'] },
    { event: 'ready', ms: 30_000, pids: { broker: 1 } },
  ]);
});

test("a refused configuration is not told a second time as a service's log", () => {
  const { lines, text } = screens();
  text.note('control', 'configuration refused, the one before stays: active aaa, problems ["x"]', true);
  expect(lines).toEqual([]);
});
