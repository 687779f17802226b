import { expect, test } from 'vitest';
import { newSpanId, nextTraceparent, spanOf } from './trace.ts';

const TRACE = '0af7651916cd43dd8448eb211c80319c';
const DEVICE = 'b7ad6b7169203331';
const ours = () => '00f067aa0ba902b7';
const next = (received: unknown) => nextTraceparent(received, ours);

test('a hop keeps the trace and its sampled flag, and puts its own span in', () => {
  expect(next(`00-${TRACE}-${DEVICE}-01`)).toBe(`00-${TRACE}-00f067aa0ba902b7-01`);
  expect(next(`00-${TRACE}-${DEVICE}-00`)).toBe(`00-${TRACE}-00f067aa0ba902b7-00`);
  expect(spanOf(next(`00-${TRACE}-${DEVICE}-00`) ?? '')).toBe(ours());
});

test('flags and fields of later versions are read as far as they are known, and not passed on', () => {
  expect(next(`00-${TRACE}-${DEVICE}-ff`)).toBe(`00-${TRACE}-00f067aa0ba902b7-01`);
  expect(next(`cc-${TRACE}-${DEVICE}-02-what-the-future-will-be-like`)).toBe(`00-${TRACE}-00f067aa0ba902b7-00`);
});

test.each([
  ['no text', undefined],
  ['two of them', [`00-${TRACE}-${DEVICE}-01`, `00-${TRACE}-${DEVICE}-01`]],
  ['nothing', ''],
  ['version ff', `ff-${TRACE}-${DEVICE}-01`],
  ['more than version 00 has', `00-${TRACE}-${DEVICE}-01-more`],
  ['a trace of zeros', `00-${'0'.repeat(32)}-${DEVICE}-01`],
  ['a parent of zeros', `00-${TRACE}-${'0'.repeat(16)}-01`],
  ['capital letters', `00-${TRACE.toUpperCase()}-${DEVICE}-01`],
  ['too short', `00-${TRACE}-${DEVICE.slice(1)}-01`],
])('%s begins no trace', (_, received) => {
  expect(next(received)).toBeUndefined();
});

test('a span is never all zeros', () => {
  const numbers = [0, 0, 0.5, 0.25];
  expect(newSpanId(() => numbers.shift() ?? 0)).toBe('8000000040000000');
  expect(newSpanId(Math.random)).toMatch(/^[0-9a-f]{16}$/);
});
