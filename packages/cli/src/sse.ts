import { BrinkError } from '@brink/protocol';

// Server-sent events. https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream

export interface ServerEvent {
  readonly id?: string;
  readonly event: string;
  readonly data: string;
}

const LINE_CHARS_MAX = 4 * 1024 * 1024;

/** @param body chunks of UTF-8, cut anywhere */
export async function* parseEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent, void> {
  let fields: Record<string, string[]> = {};
  for await (const line of linesOf(body)) {
    if (line !== '') {
      const { name, value } = fieldOf(line);
      fields[name] = [...(fields[name] ?? []), value];
      continue;
    }
    const { data, event, id } = fields;
    fields = {};
    if (data === undefined) continue;
    const named = id?.at(-1);
    yield { event: event?.at(-1) ?? 'message', data: data.join('\n'), ...(named === undefined ? {} : { id: named }) };
  }
}

/** A comment (`: ping`) has the empty name. */
function fieldOf(line: string): { name: string; value: string } {
  const colon = line.indexOf(':');
  if (colon < 0) return { name: line, value: '' };
  return { name: line.slice(0, colon), value: line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1) };
}

async function* linesOf(body: AsyncIterable<Uint8Array>): AsyncGenerator<string, void> {
  const decoder = new TextDecoder();
  let rest = '';
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n');
    rest = lines.pop() ?? '';
    if (rest.length > LINE_CHARS_MAX) throw new BrinkError('E_TOO_LARGE', 'an event without end');
    for (const line of lines) yield line.endsWith('\r') ? line.slice(0, -1) : line;
  }
}
