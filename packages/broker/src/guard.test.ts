import { expect, test } from 'vitest';
import { createScanner } from './guard.ts';

const limits = { connectBytesMax: 100, publishBytesMax: 1000, controlBytesMax: 200 };
const CONNECT = [0x10, 2, 0, 0];

/** The same bytes must say the same however the network cuts them. */
function scan(bytes: number[]): string | undefined {
  const whole = createScanner(limits).scan(Uint8Array.from(bytes));
  const scanner = createScanner(limits);
  let single: string | undefined;
  for (const byte of bytes) single ??= scanner.scan(Uint8Array.of(byte));
  expect(single).toBe(whole);
  return whole;
}

test('packets within their limits pass, one after the other', () => {
  const publish = [0x30, 0xe8, 0x07, ...new Array<number>(1000).fill(0xff)];
  expect(scan([...CONNECT, ...publish, 0xc0, 0, ...publish, 0xe0, 0])).toBeUndefined();
});

test('the first packet must be a CONNECT', () => {
  expect(scan([0x30, 2, 0, 0])).toBe('not_connect');
  expect(scan([0x40, 2, 0, 1])).toBe('not_connect');
});

test('each kind of packet has its own limit, judged by the fixed header alone', () => {
  expect(scan([0x10, 101])).toBe('packet_too_large');
  expect(scan([...CONNECT, 0x30, 0xe9, 0x07])).toBe('packet_too_large');
  expect(scan([...CONNECT, 0x82, 0xc9, 0x01])).toBe('packet_too_large');
});

test('200 MB are refused within the five bytes that announce them', () => {
  expect(scan([0x10, 0x80, 0x84, 0xaf, 0x5f])).toBe('packet_too_large');
});

test('a remaining length of five bytes is malformed, also where its value would be small', () => {
  expect(scan([0x10, 0x80, 0x80, 0x80, 0x80])).toBe('malformed');
});

test('types that only a broker sends, and reserved ones, are malformed', () => {
  for (const type of [0x00, 0x20, 0x90, 0xb0, 0xd0, 0xf0]) expect(scan([...CONNECT, type])).toBe('malformed');
});

test('it knows how much of a packet has arrived', () => {
  const scanner = createScanner(limits);
  scanner.scan(Uint8Array.from([...CONNECT, 0x30, 10, 1, 2, 3]));
  expect(scanner.pending).toBe(3);
  scanner.scan(new Uint8Array(7));
  expect(scanner.pending).toBe(0);
});
