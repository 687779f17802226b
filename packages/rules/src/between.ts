// Times of day of a place, in its time zone: what `between` of a rule means. Pure: the same instant, the same answer.

export interface Window {
  readonly text: string;
  /** @param ms instant, since 1970 */
  readonly holdsAt: (ms: number) => boolean;
  /** The first whole minute after `ms` in which it holds; undefined where there is none within days. */
  readonly nextStart: (ms: number) => number | undefined;
}

const MINUTE_MS = 60_000;
const DAY_MINUTES = 1440;
/** Clocks are changed at quarters of an hour of UTC, in every zone since the seventies (tzdata). */
const BLOCK_MS = 15 * MINUTE_MS;
/** A window within the hour that is left out in spring opens a day later. */
const SEARCH_MINUTES = 3 * DAY_MINUTES;

/**
 * The wall clock decides: a time that comes twice in autumn holds twice, one that is left out in spring does not come.
 * @param text HH:MM-HH:MM, the end not included; over midnight where the end is before the start
 */
export function createWindow(text: string, timezone: string): Window {
  const [from, to] = text.split('-').map(minuteOf) as [number, number];
  const minuteOfDay = createWallClock(timezone);

  function holdsAt(ms: number): boolean {
    const minute = minuteOfDay(ms);
    return from < to ? minute >= from && minute < to : minute >= from || minute < to;
  }

  // Many keys ask at the same time.
  let asked = { from: Number.NaN, start: undefined as number | undefined };

  function nextStart(ms: number): number | undefined {
    if (ms >= asked.from && asked.start !== undefined && ms < asked.start) return asked.start;
    const first = (Math.floor(ms / MINUTE_MS) + 1) * MINUTE_MS;
    for (let minute = 0; minute < SEARCH_MINUTES; minute++) {
      const at = first + minute * MINUTE_MS;
      if (!holdsAt(at)) continue;
      asked = { from: ms, start: at };
      return at;
    }
    return undefined;
  }

  return { text, holdsAt, nextStart };
}

function minuteOf(time: string): number {
  const [hour, minute] = time.split(':').map(Number) as [number, number];
  return hour * 60 + minute;
}

/** Minutes since midnight on the clocks of a zone. Intl takes microseconds, so the offset is asked once per quarter. */
function createWallClock(timezone: string): (ms: number) => number {
  const format = new Intl.DateTimeFormat('en', {
    ...{ timeZone: timezone, hourCycle: 'h23', hour: '2-digit', minute: '2-digit' },
  });
  let block = Number.NaN;
  let offset = 0;

  return (ms) => {
    const utc = Math.floor(ms / MINUTE_MS);
    const now = Math.floor(ms / BLOCK_MS);
    if (now !== block) {
      block = now;
      offset = minuteOf(format.format(now * BLOCK_MS)) - Math.floor((now * BLOCK_MS) / MINUTE_MS);
    }
    return (((utc + offset) % DAY_MINUTES) + DAY_MINUTES) % DAY_MINUTES;
  };
}
