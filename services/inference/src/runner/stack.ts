import { BrinkError } from '@brink/protocol/link';
import type { Head } from '../scheduler/job.ts';

/** All inputs of one run, one behind the other in one piece of memory, which changes threads without being copied. */
export interface Stacked {
  readonly memory: ArrayBuffer;
  readonly inputs: readonly { readonly head: Head; readonly offset: number; readonly bytes: number }[];
}

/** Of every element type, and of a cache line. */
const ALIGNMENT = 64;
/** One that the worker computes on, one that waits for it, one that is being filled. */
const IDLE_MAX = 3;
/** A single large request must not keep its memory for ever. */
const IDLE_BYTES_MAX = 32 * 1024 * 1024;

/** Puts the tensors of a batch together, into memory that is used again: new memory per batch costs more than the copy. */
export function createStacks() {
  const idle: ArrayBuffer[] = [];

  function take(bytes: number): ArrayBuffer {
    const at = idle.findIndex((memory) => memory.byteLength >= bytes);
    const [found] = at === -1 ? [] : idle.splice(at, 1);
    return found ?? new ArrayBuffer(bytes);
  }

  return {
    /**
     * @param batch rows in all; 0: `heads` are whole tensors
     * @param heads of one row, without the batch dimension
     * @param payloads job by job, one per head, of one row or more
     * @throws BrinkError E_SHAPE where they are not as many for each head
     */
    join(batch: number, heads: readonly Head[], payloads: readonly Uint8Array[]): Stacked {
      const jobs = heads.length === 0 ? 0 : payloads.length / heads.length;
      if (!Number.isInteger(jobs) || (jobs === 0 && heads.length > 0) || (heads.length === 0 && payloads.length > 0)) {
        throw new BrinkError('E_SHAPE', `${payloads.length} tensors for ${heads.length} inputs`);
      }
      const sizes = heads.map(() => 0);
      payloads.forEach((part, at) => {
        sizes[at % heads.length] = (sizes[at % heads.length] ?? 0) + part.byteLength;
      });
      let end = 0;
      const inputs = heads.map((head, at) => {
        const offset = end;
        const bytes = sizes[at] ?? 0;
        end += Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
        return { head: batch === 0 ? head : { ...head, shape: [batch, ...head.shape] }, offset, bytes };
      });
      const memory = take(end);
      const whole = new Uint8Array(memory);
      const next = inputs.map(({ offset }) => offset);
      payloads.forEach((part, at) => {
        const input = at % heads.length;
        whole.set(part, next[input]);
        next[input] = (next[input] ?? 0) + part.byteLength;
      });
      return { memory, inputs };
    },
    /** Nobody uses it any more. */
    giveBack(memory: ArrayBuffer): void {
      if (memory.byteLength === 0 || memory.byteLength > IDLE_BYTES_MAX) return;
      // The oldest goes: sizes that are no longer in use must not keep out those that are.
      if (idle.push(memory) > IDLE_MAX) idle.shift();
    },
  };
}
