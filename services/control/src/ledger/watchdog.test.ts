import type { BrinkError } from '@brink/protocol';
import { systemClock } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { items, openLedger, outcome, published, site } from './ledger.testing.ts';
import type { HungRule } from './messages.ts';
import { createRuleWatch, createWatchdog } from './watchdog.ts';

const rules = { flap: {}, endless: { when: 'decision.score > 0.5' } };
const codeOf = (promise: Promise<unknown>) =>
  promise.then(
    () => 'none',
    (error: BrinkError) => `${error.code} ${error.detail}`,
  );

/** One that is fast: what is asked for later comes at once. */
const hasty = { ...systemClock, setTimeout: (run: () => void) => systemClock.setTimeout(run, 60) };

describe('a rule whose evaluation does not end', () => {
  it('costs one thread: it rests, by name, the others act, and nothing that was committed is lost', async () => {
    await using opened = await openLedger({ clock: hasty, testing: { hangOnRule: 'endless' } });
    const { ledger } = opened;
    await ledger.commit(items(outcome(1)));
    await ledger.configure(published(site(rules)));
    expect(await codeOf(ledger.commit(items(outcome(2))))).toContain(
      'E_UNAVAILABLE rule endless: an evaluation did not',
    );
    await expect.poll(() => ledger.problem, { timeout: 10_000 }).toBeUndefined();

    expect(await ledger.commit(items(outcome(1), outcome(2)))).toEqual({ inserted: 1, duplicates: 1 });
    const actions = opened.feed.flatMap((committed) => committed.actions.map((action) => action.rule));
    expect(actions).toEqual(['flap']);
    const [endless] = await ledger.read.ruleStates('endless');
    expect(endless).toMatchObject({ arming: { state: 'hung', by: 'brink' }, keys: [] });
    expect(endless?.last_error).toContain('an evaluation did not end');
    expect(ledger.stats.hangs).toBe(1);
    const [decision] = (await ledger.read.decisions({ limit: 1 })).items;
    const order = { rule: 'endless', phase: 'then', decision: decision!, sample: false, by: 'me' } as const;
    expect(await codeOf(ledger.fire(order))).toContain('E_CONFLICT');
    // Disarmed it would be evaluated; it goes on resting, and wakes up when it is changed, disarmed as somebody wanted.
    await ledger.arm('endless', { state: 'disarmed', by: 'me' });
    expect((await ledger.read.ruleStates('endless'))[0]?.arming.state).toBe('hung');
    await ledger.configure(published(site(rules), 'c7f1a2000001'));
    expect((await ledger.read.ruleStates('endless'))[0]?.arming.state).toBe('hung');
    await ledger.configure(published(site({ ...rules, endless: { when: 'decision.score > 0.6' } }), 'c7f1a2000002'));
    expect((await ledger.read.ruleStates('endless'))[0]?.arming.state).toBe('disarmed');
  });
});

describe('the watchdog', () => {
  function watched() {
    const found: HungRule[] = [];
    let looks: (() => void)[] = [];
    const clock = {
      ...systemClock,
      setTimeout: (run: () => void) => {
        looks.push(run);
        return systemClock.setTimeout(() => {}, 0);
      },
    };
    const dog = createWatchdog({ clock, onHang: (hung) => void found.push(hung) });
    const watch = createRuleWatch(dog.memory);
    watch.names(['first', 'second']);
    const thread = dog.over({
      start: () => Promise.resolve({ ready: true, warnings: [], damage: [] }),
      ...{ prepare() {}, post() {}, end() {}, stop: () => Promise.resolve() },
    });
    thread.post('work' as never);
    return {
      ...{ found, watch },
      look(times: number) {
        for (let time = 0; time < times; time++) for (const run of looks.splice(0)) run();
        looks = [...looks];
      },
    };
  }

  it('names the rule after ten looks at the same evaluation', () => {
    const { found, watch, look } = watched();
    watch.at('second');
    look(10);
    expect(found).toEqual([]);
    look(1);
    expect(found.map(({ rule }) => rule)).toEqual(['second']);
  });

  it('leaves alone what is slow but comes to an end, and what is no rule', () => {
    const { found, watch, look } = watched();
    for (let round = 0; round < 20; round++) {
      watch.at('first');
      look(9);
    }
    watch.at(undefined);
    look(100);
    expect(found).toEqual([]);
  });
});
