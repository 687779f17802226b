import { BrinkError } from '@brink/protocol';
import { describe, expect, it } from 'vitest';
import { rankOf } from './job.ts';
import {
  createWorld,
  type Dispatch,
  mayShare,
  mustGoBefore,
  type SimulatedJob,
  type SimulatedModel,
  type World,
  waitingIn,
} from './simulation.testing.ts';

const SEEDS = process.env['BRINK_TEST_SIZE'] === 'long' ? 400 : 30;
const JOBS = 300;

/** xorshift32 (Marsaglia, 2003). */
function seeded(seed: number) {
  let state = Math.imul(seed + 1, 0x9e3779b1) | 1;
  const next = () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
  return {
    chance: (of: number) => next() < of,
    below: (most: number) => Math.floor(next() * most),
    pick: <T>(of: readonly T[]) => of[Math.floor(next() * of.length)] as T,
  };
}

type Random = ReturnType<typeof seeded>;

/** Says what is wrong with a dispatch, as seen from outside. */
function checkDispatch(world: World, runSlots: number, model: SimulatedModel, dispatch: Dispatch): string[] {
  const working = world.models.flatMap(({ runners }) => runners).filter(({ inFlight }) => inFlight > 0);
  // One may go beside what is of lower rank.
  const rank = rankOf(dispatch.jobs[0] as SimulatedJob);
  const isAbove = working.length === runSlots && working.every((runner) => runner.rank < rank);
  const isOver = !dispatch.ahead && working.length >= runSlots && !isAbove;
  const slots = isOver ? [`${working.length + 1} runners work; there are ${runSlots} slots`] : [];
  return [
    ...checkJobs(dispatch),
    ...checkFill(world, model, dispatch),
    ...checkOrder(world, model, dispatch),
    ...slots,
  ];
}

function checkJobs({ jobs, at, ahead }: Dispatch): string[] {
  const first = jobs[0] as SimulatedJob;
  return jobs.flatMap((job) => [
    ...(job.answers.length > 0 ? [`${job.id} was answered and is computed`] : []),
    ...(job.deadlineAt <= at || job.cancelled() ? [`${job.id} is late and is computed`] : []),
    ...(job !== first && !mayShare(job, first) ? [`${job.id} shares a run with ${first.id}`] : []),
    ...(ahead && first.shadow ? [`${first.id} is only shadow and was sent ahead`] : []),
  ]);
}

function checkFill(world: World, model: SimulatedModel, { jobs }: Dispatch): string[] {
  const first = jobs[0] as SimulatedJob;
  const rows = jobs.reduce((sum, job) => sum + job.rows, 0);
  if (jobs.length > 1 && rows > model.batchMax) return [`${rows} rows; ${model.batchMax} are useful`];
  const left = waitingIn(model, world).find((job) => mayShare(job, first) && rows + job.rows <= model.batchMax);
  return left === undefined ? [] : [`${left.id} would have fitted into a batch of ${rows} rows`];
}

/** Of all that waits where a runner is free, nothing must go before what goes. */
function checkOrder(world: World, model: SimulatedModel, { jobs, at }: Dispatch): string[] {
  const first = jobs[0] as SimulatedJob;
  const canRun = ({ policy, runners }: SimulatedModel) =>
    policy.batch_wait_ms === 0 && runners.some(({ inFlight }) => inFlight === 0);
  const rivals = world.models.filter((other) => other === model || canRun(other));
  return rivals
    .flatMap((rival) => waitingIn(rival, world))
    .filter((job) => mustGoBefore(job, first) && job.backAt < at)
    .map((job) => `${first.id} goes before ${job.id} of ${job.model.name}`);
}

function addRandomJob(world: World, random: Random): SimulatedJob {
  const model = random.pick(world.models);
  const now = world.clock.monotonic();
  const native = random.chance(0.25);
  const rows = native ? random.pick([0, 1, 1, 2, 3, 12]) : 1;
  const gaveUpAt = random.chance(0.05) ? now + random.below(60) : Number.POSITIVE_INFINITY;
  return world.addJob(model, {
    priority: random.pick([1, 5, 5, 5, 8]),
    shadow: random.chance(0.2),
    client: random.pick(['a', 'a', 'a', 'a', 'b', 'c']),
    deadlineAt: random.chance(0.5) ? now + 10 + random.below(300) : Number.POSITIVE_INFINITY,
    alone: random.chance(0.03),
    poison: random.chance(0.01),
    cancelled: () => world.clock.monotonic() >= gaveUpAt,
    ...(native ? { session: 'native' as const, rows } : {}),
    ...(native && rows > 0 && random.chance(0.8) ? { join: random.pick(['x', 'y']) } : {}),
  });
}

async function simulate(seed: number) {
  const random = seeded(seed);
  const runSlots = 1 + random.below(3);
  const world = createWorld({ runSlots, nextRun: () => ({ ms: 1 + random.below(20), crashes: random.chance(0.01) }) });
  const wrong: string[] = [];
  for (const name of ['one', 'two', 'three'].slice(0, 1 + random.below(3))) {
    const policy = { queue_max: random.pick([4, 16, 64]), batch_wait_ms: random.pick([0, 0, 5]) };
    world.addModel(name, { batchMax: random.pick([1, 4, 8]), copies: 1 + random.below(3), policy });
  }
  world.onDispatch((model, dispatch) => wrong.push(...checkDispatch(world, runSlots, model, dispatch)));
  for (let jobs = 0; jobs < JOBS; ) {
    for (const burst = jobs + random.below(20); jobs < burst; jobs++) addRandomJob(world, random);
    for (const { lane, policy, name, batchMax, copies } of world.models) {
      // What a crashed runner had waits again: it was let in already.
      const most = policy.queue_max + 2 * copies * Math.max(batchMax, 12);
      if (lane.waiting > most) wrong.push(`${lane.waiting} wait for ${name}; at most ${most}`);
    }
    if (random.chance(0.02)) random.pick(random.pick(world.models).runners)?.crash();
    await world.clock.advance(random.below(15));
  }
  return { world, wrong, random };
}

/** Told who got something and who still waits, it says whom that passed over. */
function watchTurns(say: (wrong: string) => void) {
  const passedOver = new Map<string, Set<string>>();
  return (took: ReadonlySet<string>, waits: ReadonlySet<string>): void => {
    for (const client of took) {
      const before = [...(passedOver.get(client) ?? [])].filter((other) => !took.has(other));
      for (const other of before) say(`${client} got a second turn before ${other} its first`);
    }
    for (const others of passedOver.values()) for (const client of took) others.delete(client);
    for (const client of took) passedOver.set(client, new Set([...waits].filter((other) => !took.has(other))));
  };
}

describe('a scheduler under a random load', () => {
  it('answers every job once, in order of priority and deadline, in full batches, within its bounds', async () => {
    const endings: string[] = [];
    for (let seed = 0; seed < SEEDS; seed++) {
      const { world, wrong } = await simulate(seed);
      await world.drain();
      const often = world.jobs.filter(({ answers }) => answers.length !== 1);
      const left = world.models.filter(({ lane }) => lane.inFlight + lane.waiting > 0);
      expect({ wrong, often: often.map(({ id }) => id), left: left.map(({ name }) => name) }, `seed ${seed}`).toEqual({
        wrong: [],
        often: [],
        left: [],
      });
      endings.push(...world.jobs.map(({ answers }) => answers[0]?.replace(/ \d+/, '') ?? ''));
    }
    // The load is one that meets everything.
    for (const ending of ['ran', 'E_BUSY', 'E_EXPIRED', 'E_CANCELLED', 'E_MODEL_RUN', 'E_MODEL_CRASH!']) {
      expect(endings.filter((one) => one === ending).length, ending).toBeGreaterThan(3);
    }
  });

  it('answers everything when it is closed in the middle of it', async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const { world, random } = await simulate(seed);
      for (let more = 0; more < 40; more++) addRandomJob(world, random);
      for (const { lane } of world.models) lane.close(new BrinkError('E_MODEL_NOT_READY', 'stopped'));
      for (const model of world.models) for (const runner of [...model.runners]) runner.crash();
      const late = addRandomJob(world, random);
      await world.clock.advance(0);
      expect(late.answers).toEqual(['E_MODEL_NOT_READY']);
      expect(world.jobs.filter(({ answers }) => answers.length !== 1).map(({ id }) => id)).toEqual([]);
    }
  });

  it('lets clients take turns: none gets a second one while another one that waits has had none', async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const random = seeded(seed);
      const world = createWorld({ runSlots: 1, nextRun: () => ({ ms: 1 + random.below(5), crashes: false }) });
      const model = world.addModel('one', { batchMax: random.pick([1, 3, 8]), policy: { queue_max: 4096 } });
      const wrong: string[] = [];
      const turns = watchTurns((text) => wrong.push(text));
      world.onDispatch((_model, { jobs }) => {
        const waits = waitingIn(model, world).map(({ client }) => client);
        turns(new Set(jobs.map(({ client }) => client)), new Set(waits));
      });
      for (let burst = 0; burst < 40; burst++) {
        const client = random.pick(['flood', 'flood', 'b', 'c', 'd']);
        for (let jobs = client === 'flood' ? 12 : 1; jobs > 0; jobs--) world.addJob(model, { client });
        await world.clock.advance(random.below(8));
      }
      await world.drain();
      expect(wrong, `seed ${seed}`).toEqual([]);
    }
  });

  it('starves no model beside others of its rank, whatever waits in them', async () => {
    const world = createWorld({ runSlots: 1, nextRun: () => ({ ms: 10, crashes: false }) });
    const models = ['one', 'two', 'three'].map((name) => world.addModel(name, { policy: { queue_max: 512 } }));
    const [one, two, three] = models as [SimulatedModel, SimulatedModel, SimulatedModel];
    for (let jobs = 0; jobs < 400; jobs++) world.addJob(one);
    await world.clock.advance(5);
    for (let jobs = 0; jobs < 40; jobs++) world.addJob(two);
    world.addJob(three);
    await world.clock.advance(70);
    // The second batch of `one` was sent ahead while nobody else was there.
    const order = world.dispatches.map(({ model }) => model.name).join(' ');
    expect(order).toBe('one one two three one two one two');
  });

  it('lets a unit that matters wait for no more than the batch that runs when it comes, whatever saturates the slot', async () => {
    for (let seed = 0; seed < SEEDS; seed++) {
      const random = seeded(seed);
      const world = createWorld({ runSlots: 1, nextRun: () => ({ ms: 10, crashes: false }) });
      const noisy = world.addModel('noisy', { batchMax: 8, policy: { queue_max: 512 } });
      const quiet = random.chance(0.5) ? noisy : world.addModel('quiet');
      const shadow = random.chance(0.5);
      const waits: number[] = [];
      world.addJob(quiet, { priority: 8 });
      for (let round = 0; round < 60; round++) {
        while (noisy.lane.waiting < 32) world.addJob(noisy, { priority: 0, shadow });
        const came = world.clock.monotonic();
        const unit = world.addJob(quiet, { priority: 8, done: () => waits.push(world.clock.monotonic() - came) });
        await world.clock.advance(1 + random.below(40));
        expect(unit.answers).toEqual([]);
      }
      await world.clock.advance(50);
      expect(waits).toHaveLength(60);
      // What is left of one run, and its own.
      expect(Math.max(...waits), `seed ${seed}`).toBeLessThanOrEqual(20);
    }
  });

  it('serves the highest rank first, to the last shadow', async () => {
    const world = createWorld({ runSlots: 1, nextRun: () => ({ ms: 10, crashes: false }) });
    const [one, two] = [world.addModel('one', { batchMax: 1 }), world.addModel('two', { batchMax: 1 })];
    const random = seeded(1);
    world.addJob(one, { priority: 9 });
    for (let jobs = 0; jobs < 50; jobs++) {
      world.addJob(random.pick([one, two]), { priority: random.below(10), shadow: random.chance(0.3) });
    }
    await world.drain();
    const ranks = world.dispatches.map(({ jobs }) => rankOf(jobs[0] as SimulatedJob));
    expect(ranks).toEqual(ranks.toSorted((a, b) => b - a));
  });
});
