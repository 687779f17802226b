import { describe, expect, it } from 'vitest';
import { firstState } from './state.ts';
import { wireHeads } from './wire.ts';

describe('the state of the first unit', () => {
  it('is float32, every element `init`, of the size that its head promises', () => {
    const state = { in: 'state', out: 'stateN', shape: [2, 1, 3], init: 0.5 };
    const bytes = firstState(state);
    expect([...new Float32Array(bytes.buffer)]).toEqual(Array(6).fill(0.5));
    expect(bytes.byteLength).toBe(wireHeads({ inputs: [], state: [state] })[0]?.bytes);
  });

  it('has one element where the shape is empty', () => {
    expect([...new Float32Array(firstState({ shape: [], init: -1 }).buffer)]).toEqual([-1]);
  });
});
