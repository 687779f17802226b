import { describe, expect, it } from 'vitest';
import { createWindow } from './between.ts';
import { decision, open, play, rule, shut, T0 } from './engine.testing.ts';

const at = (text: string) => Date.parse(text);

describe('times of day', () => {
  it.each([
    ['22:00-06:00', 'Europe/Berlin', '2026-01-10T21:59:59+01:00', false],
    ['22:00-06:00', 'Europe/Berlin', '2026-01-10T22:00:00+01:00', true],
    ['22:00-06:00', 'Europe/Berlin', '2026-01-11T05:59:59+01:00', true],
    ['22:00-06:00', 'Europe/Berlin', '2026-01-11T06:00:00+01:00', false],
    ['22:00-06:00', 'Europe/Berlin', '2026-07-10T22:00:00+02:00', true],
    ['22:00-06:00', 'Europe/Berlin', '2026-07-10T21:59:59+02:00', false],
    ['08:00-24:00', 'UTC', '2026-07-10T23:59:59Z', true],
    ['00:00-24:00', 'Asia/Kathmandu', '2026-07-10T23:59:59Z', true],
    ['05:45-05:46', 'Asia/Kathmandu', '2026-07-10T00:00:30Z', true],
    // In spring 02:00 becomes 03:00: what is left out does not come, and nothing else is shortened.
    ['02:15-02:45', 'Europe/Berlin', '2026-03-29T01:30:00Z', false],
    ['01:30-03:30', 'Europe/Berlin', '2026-03-29T00:59:59Z', true],
    ['01:30-03:30', 'Europe/Berlin', '2026-03-29T01:00:00Z', true],
    ['01:30-03:30', 'Europe/Berlin', '2026-03-29T01:30:00Z', false],
    // In autumn 03:00 becomes 02:00: what comes twice holds twice.
    ['02:15-02:45', 'Europe/Berlin', '2026-10-25T00:30:00Z', true],
    ['02:15-02:45', 'Europe/Berlin', '2026-10-25T01:00:00Z', false],
    ['02:15-02:45', 'Europe/Berlin', '2026-10-25T01:30:00Z', true],
    // Half an hour only, as on Lord Howe Island.
    ['01:45-02:00', 'Australia/Lord_Howe', '2026-04-04T14:50:00Z', true],
    ['01:45-02:00', 'Australia/Lord_Howe', '2026-04-04T15:20:00Z', true],
  ])('%s in %s: at %s %s', (text, zone, when, holds) => {
    expect(createWindow(text, zone).holdsAt(at(when))).toBe(holds);
  });

  it('follow the wall clock minute by minute over both changes of a year, as Intl says it', () => {
    const window = createWindow('01:20-04:40', 'America/New_York');
    const clock = new Intl.DateTimeFormat('en', {
      timeZone: 'America/New_York',
      hourCycle: 'h23',
      hour: '2-digit',
      minute: '2-digit',
    });
    for (const day of ['2026-03-08T04:00:00Z', '2026-11-01T03:00:00Z']) {
      for (let minute = 0; minute < 600; minute++) {
        const ms = at(day) + minute * 60_000 + 59_999;
        const time = clock.format(ms);
        expect([time, window.holdsAt(ms)]).toEqual([time, time >= '01:20' && time < '04:40']);
      }
    }
  });

  it('open next at a whole minute, the day after where the hour is left out', () => {
    const night = createWindow('22:00-06:00', 'Europe/Berlin');
    expect(night.nextStart(at('2026-01-10T12:34:56.789+01:00'))).toBe(at('2026-01-10T22:00:00+01:00'));
    const gone = createWindow('02:15-02:45', 'Europe/Berlin');
    expect(gone.nextStart(at('2026-03-28T12:00:00Z'))).toBe(at('2026-03-30T02:15:00+02:00'));
    expect(night.nextStart(at('2026-01-10T12:35:00+01:00'))).toBe(at('2026-01-10T22:00:00+01:00'));
  });
});

// T0 is 2023-11-14T22:13:20Z.
const timezone = 'UTC';
const minutes = (count: number) => count * 60_000;

describe('a rule with between', () => {
  it('becomes active only within, and is released by the first decision after', () => {
    const flap = play(rule({ between: '22:15-22:17', on_release: [shut] }), { timezone });
    expect(flap.see(0, 'cat')).toEqual([]);
    expect(flap.see(minutes(2), 'cat')).toHaveLength(1);
    expect(flap.at()?.state).toBe('active');
    expect(flap.see(minutes(5), 'cat')).toHaveLength(1);
    expect(flap.at()?.state).toBe('idle');
    expect(flap.see(minutes(6), 'cat')).toEqual([]);
  });

  it('does not fire by a timer that is due outside, and says in which times it acted', () => {
    const flap = play(rule({ between: '22:13-22:14', for: { ms: 30_000 } }), { timezone });
    flap.see(20_000, 'cat');
    expect(flap.tick(minutes(2))).toEqual([]);
    expect(flap.at()?.state).toBe('idle');
    const inside = play(rule({ between: '22:13-22:14' }), { timezone });
    const [action] = inside.run({ kind: 'decision', decision: decision(1, 0), receivedMs: T0, nowMs: T0 });
    expect(action?.because.between).toBe('22:13-22:14');
  });

  it('in another zone is at another time', () => {
    const there = play(rule({ between: '23:10-23:20', does: [open] }), { timezone: 'Europe/Berlin' });
    expect(there.see(0, 'cat')).toHaveLength(1);
  });
});
