import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { systemClock, wait } from '@brink/runtime';
import { describe, expect, it } from 'vitest';
import { decided } from './harness/neighbours.ts';
import { expectLaws, SITE, type Site, startSite, tensor, until } from './harness/site.ts';

const DURABLE = {
  ...SITE,
  streams: { raw: { format: 'tensor' as const, delivery: 'durable' as const, pipelines: { bits: { model: 'cats' } } } },
};
const LONG = process.env['BRINK_TEST_SIZE'] === 'long';
/**
 * Where a crash would hurt most. `commit.…` is in the spool's thread and is passed by every group: with frames, with the attempts that
 * are counted before they are made, and with the ends of units.
 */
const POINTS = [
  ...['commit.before', 'commit.after', 'outcome.before_send', 'outcome.after_commit'],
  ...(LONG ? ['ingest.before_commit', 'ingest.after_commit', 'ingest.after_ack', 'outcome.after_settle'] : []),
];
const FRAMES = LONG ? 8 : 3;
/** Of the sweep: n = 1, 2, 3 … until a point is not passed so often. In short, once more where groups differ most. */
const N_MAX = (point: string) => (LONG ? 100 : point.startsWith('commit.') ? 2 : 1);

/** A gateway process of its own that dies at the n-th passing of a point. */
function gateway(site: Site, ...argv: string[]): { child: ChildProcess; gone: Promise<unknown> } {
  const child = fork(join(import.meta.dirname, 'harness/gateway-child.ts'), argv, {
    env: { ...process.env, ...site.env },
  });
  return { child, gone: once(child, 'exit') };
}

const unitsOf = (site: Site) => new Set(site.control.outcomes.map(({ boot, seq }) => `${boot}-${seq}`));

/** Sends frames to a gateway that dies at the n-th passing of a point. @returns whether it died, before or after they were decided */
async function dies(site: Site, point: string, n: number, ids: readonly string[]): Promise<boolean> {
  const { child, gone } = gateway(site, point, String(n));
  for (const id of ids) await site.frame('dev-1', 'raw', tensor(), id);
  const died = gone.then(() => true);
  const decided = until(() => ids.every((id) => unitsOf(site).has(id)), 'decided', 15_000).catch(() => {});
  // Its last points come after the decision.
  const lived = decided.then(() => wait(300, systemClock)).then(() => false);
  if (await Promise.race([died, lived])) return true;
  child.kill('SIGKILL');
  await gone;
  return false;
}

describe('a gateway that is killed', () => {
  it(`at any point between a frame and its row's end loses nothing and keeps its counts`, {
    timeout: 600_000,
  }, async () => {
    await using site = await startSite({ configuration: DURABLE });
    await site.ready();
    await site.service.stop();
    const sent: string[] = [];
    let fired = 0;
    for (const [index, point] of POINTS.entries()) {
      for (let n = 1; n <= N_MAX(point); n++) {
        const ids = Array.from({ length: FRAMES }, (_, i) => `b${index}x${String(n).padStart(2, '0')}-${i + 1}`);
        sent.push(...ids);
        if (!(await dies(site, point, n, ids))) break;
        fired += 1;
        // Whoever comes next ends it: three processes that die while they have a unit are its end.
        await site.restart();
        await until(
          () => unitsOf(site).size === sent.length,
          () => `${point} ${n} lost: ${sent.filter((id) => !unitsOf(site).has(id)).join(' ')}`,
        );
        await until(() => site.service.counts.units('bits').pending === 0);
        await site.service.stop();
      }
    }
    process.stdout.write(`${fired} times dead at ${POINTS.length} points, ${sent.length} frames\n`);
    expect(fired).toBeGreaterThanOrEqual(POINTS.length);
    await site.restart();
    // A frame counts as accepted once, and its unit ends once, however many processes had it.
    expect(site.service.counts.frames('dev-1', 'raw').accepted).toBe(sent.length);
    expect(site.service.counts.units('bits')).toMatchObject({ formed: sent.length, decided: sent.length });
    expectLaws(site);
  });

  it('loses frames if it acknowledges them before they are committed: what the test above would see', async () => {
    await using site = await startSite({ configuration: DURABLE });
    await site.ready();
    await site.service.stop();
    for (let seq = 1; seq <= 20; seq++) await site.frame('dev-1', 'raw', tensor(), `k3v9-${seq}`);
    const { gone } = gateway(site, 'ingest.before_commit', '20', 'ack-first');
    await gone;
    await site.restart();
    await site.ready();
    await site.frame('dev-1', 'raw', tensor(), 'last-1');
    await until(() => unitsOf(site).has('last-1'));
    expect(unitsOf(site).size).toBeLessThan(21);
  });

  it.runIf(LONG)(
    '(skipped without BRINK_TEST_SIZE=long) three times while it has a unit gives that unit up, and decides the others',
    async () => {
      await using site = await startSite({ configuration: DURABLE });
      await site.ready();
      await site.service.stop();
      site.inference.answer(() => new Promise(() => {}));
      await site.frame('dev-1', 'raw', tensor(), 'k3v9-1');
      for (let tries = 1; tries <= 3; tries++) {
        const { child, gone } = gateway(site);
        await until(() => site.inference.units.length === tries);
        child.kill('SIGKILL');
        await gone;
      }
      await site.frame('dev-1', 'raw', tensor(), 'k3v9-2');
      site.inference.answer(({ decide }) => decide.units.map(decided));
      await site.restart();
      await until(() => site.control.outcomes.length === 2);
      const [first, second] = site.control.outcomes.toSorted((a, b) => a.seq - b.seq);
      expect(first).toMatchObject({ outcome: 'dead', error: { code: 'E_ATTEMPTS' }, evidence: { attempts: 3 } });
      expect(second).toMatchObject({ outcome: 'decided', evidence: { attempts: 0 } });
    },
  );
});
