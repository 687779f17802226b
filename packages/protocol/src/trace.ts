// W3C Trace Context, Level 1: https://www.w3.org/TR/trace-context/#traceparent-header

/** Version, trace, the sender's span, flags; a later version may add fields behind. */
const TRACEPARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const SAMPLED = 1;

/**
 * The context that goes on from here: the trace and whether it is sampled stay, the span is ours, so that whoever comes next names
 * us as its parent. What is no traceparent begins no trace: undefined.
 * @param received as it came: a header, a user property
 * @param spanId 16 hex digits, random, not all zero (`newSpanId`)
 */
export function nextTraceparent(received: unknown, spanId: () => string): string | undefined {
  if (typeof received !== 'string') return undefined;
  const [, version, trace = '', parent = '', flags = '', more] = TRACEPARENT.exec(received) ?? [];
  if (version === undefined || version === 'ff' || (version === '00' && more !== undefined)) return undefined;
  if (isZero(trace) || isZero(parent)) return undefined;
  // Flags that this version does not know are not passed on.
  return `00-${trace}-${spanId()}-0${Number.parseInt(flags, 16) & SAMPLED}`;
}

/** The span in a traceparent of ours. */
export const spanOf = (traceparent: string): string => traceparent.slice(36, 52);

/** @param random uniform 0..1 */
export function newSpanId(random: () => number): string {
  const half = () => Math.floor(random() * 2 ** 32);
  const id = `${hex(half())}${hex(half())}`;
  return isZero(id) ? newSpanId(random) : id;
}

const hex = (word: number) => word.toString(16).padStart(8, '0');
const isZero = (digits: string) => /^0+$/.test(digits);
