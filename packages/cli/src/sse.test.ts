import { expect, test } from 'vitest';
import { parseEvents, type ServerEvent } from './sse.ts';

async function parse(text: string, cut: number): Promise<ServerEvent[]> {
  const bytes = new TextEncoder().encode(text);
  async function* chunks() {
    for (let at = 0; at < bytes.length; at += cut) yield bytes.subarray(at, at + cut);
  }
  const events: ServerEvent[] = [];
  for await (const event of parseEvents(chunks())) events.push(event);
  return events;
}

const STREAM =
  'retry: 1000\n\n: beat\n\nid: 7\nevent: decision\ndata: {"label_text":"猫"}\n\ndata: a\ndata:b\r\n\r\ndata: half';

test.each([1, 2, 3, 1000])('events are the same however the bytes are cut: %i at a time', async (cut) => {
  expect(await parse(STREAM, cut)).toEqual([
    { id: '7', event: 'decision', data: '{"label_text":"猫"}' },
    { event: 'message', data: 'a\nb' },
  ]);
});
