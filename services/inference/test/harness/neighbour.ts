import { expect } from 'vitest';
import { eventually, type Inference, pixels } from './inference.ts';

/** Who shares the service with what goes wrong, and must not notice. */
export interface Neighbour {
  /** While it is done, the neighbour's answers go on: at least three came, all right. @returns what `work` gave */
  during<T>(work: () => Promise<T>): Promise<T>;
  /** The longest time between two answers since the last `during` began, in ms. */
  readonly gapMs: number;
  stop(): Promise<void>;
}

const ANSWERS_MIN = 3;
const PAUSE_MS = 10;

/** Asks one unit after the other, a few a second more than a camera would. @param of a model of four grey pixels */
export function createNeighbour(inference: Inference, of: { name: string; passport: string }): Neighbour {
  const wrong: unknown[] = [];
  let answers = 0;
  let lastAt = performance.now();
  let gapMs = 0;
  let running = true;

  async function askOnce(): Promise<void> {
    const best = answers % 4;
    const [answer] = await inference.decide(of, [pixels(...[0, 1, 2, 3].map((at) => (at === best ? 9 : 0)))]);
    if (answer?.result?.label !== ['zero', 'one', 'two', 'three'][best]) wrong.push(answer);
    answers += 1;
    gapMs = Math.max(gapMs, performance.now() - lastAt);
    lastAt = performance.now();
  }
  const done = (async () => {
    while (running) {
      await askOnce().catch((reason: unknown) => wrong.push(reason));
      await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
    }
  })();

  return {
    async during(work) {
      const before = answers;
      gapMs = 0;
      const result = await work();
      await eventually('answers of the neighbour', async () => answers >= before + ANSWERS_MIN);
      expect(wrong).toEqual([]);
      return result;
    },
    get gapMs() {
      return Math.max(gapMs, performance.now() - lastAt);
    },
    async stop() {
      running = false;
      await done;
    },
  };
}
