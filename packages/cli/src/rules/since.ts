import { InvalidArgumentError } from 'commander';

const UNITS_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SPAN = /^(\d{1,6})(s|m|h|d)$/;

/** For commander: `90m`, `24h`, `7d`, in ms; else exit 2. */
export function span(text: string): number {
  const [, count = '', unit = ''] = SPAN.exec(text) ?? [];
  const ms = Number(count) * (UNITS_MS[unit] ?? 0);
  if (ms > 0) return ms;
  throw new InvalidArgumentError('expected a time as 90m, 24h or 7d');
}

/** For commander: a span back from now, or a time in ISO 8601, as ISO 8601; else exit 2. */
export function sinceTime(text: string): string {
  if (SPAN.test(text)) return new Date(Date.now() - span(text)).toISOString();
  return moment(text, 'a time as 24h, 7d or 2026-11-22T16:00:00Z');
}

/** For commander: a span from now on, or a time in ISO 8601, as ISO 8601; else exit 2. */
export function untilTime(text: string): string {
  if (SPAN.test(text)) return new Date(Date.now() + span(text)).toISOString();
  return moment(text, 'a time as 90m, 8h or 2026-11-22T18:00:00Z');
}

function moment(text: string, expected: string): string {
  const ms = /^\d{4}-\d\d-\d\dT/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(ms)) throw new InvalidArgumentError(`expected ${expected}`);
  return new Date(ms).toISOString();
}
