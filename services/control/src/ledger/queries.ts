import { BrinkError } from '@brink/protocol';
import type { Answer, Failure, Query, WorkerData } from './messages.ts';
import type { LedgerReads } from './records.ts';
import { createThread, errorOf } from './thread.ts';

/** Reads that wait for an answer; beyond: E_BUSY. */
const PENDING_MAX = 256;

/** The reading side: each method of LedgerReads is one question to the reader's thread. */
export function createQueries(config: () => WorkerData, onFailure: (failure: Failure) => void = () => {}) {
  const thread = createThread<Query | 'open' | 'stop', Answer>(config);
  const pending = new Map<number, { resolve(value: unknown): void; reject(error: BrinkError): void }>();
  let asked = 0;
  let running = false;

  function ask(method: string, args: unknown[]): Promise<unknown> {
    if (!running) return Promise.reject(new BrinkError('E_UNAVAILABLE', 'the ledger is not running'));
    if (pending.size >= PENDING_MAX) {
      return Promise.reject(new BrinkError('E_BUSY', `${PENDING_MAX} reads wait for the ledger`));
    }
    const id = ++asked;
    return new Promise((resolve, reject) => {
      pending.set(id, { resolve, reject });
      thread.post({ id, method, args });
    });
  }

  function fail(error: BrinkError): void {
    running = false;
    for (const { reject } of pending.values()) reject(error);
    pending.clear();
  }

  const method =
    <K extends keyof LedgerReads>(name: K) =>
    (...args: Parameters<LedgerReads[K]>) =>
      ask(name, args) as ReturnType<LedgerReads[K]>;

  const read: LedgerReads = {
    decisions: method('decisions'),
    decision: method('decision'),
    explainDecision: method('explainDecision'),
    summary: method('summary'),
    actions: method('actions'),
    action: method('action'),
    explainAction: method('explainAction'),
    oldestOpenAction: method('oldestOpenAction'),
    dead: method('dead'),
    deadLetter: method('deadLetter'),
    ruleStates: method('ruleStates'),
    setAside: method('setAside'),
    devices: method('devices'),
    device: method('device'),
    unforgotten: method('unforgotten'),
    hasTraces: method('hasTraces'),
    tokens: method('tokens'),
    audit: method('audit'),
    auditStretch: method('auditStretch'),
    counts: method('counts'),
    actionCounts: method('actionCounts'),
    deadCounts: method('deadCounts'),
    revisions: method('revisions'),
    configuration: method('configuration'),
    configurationFiles: method('configurationFiles'),
  };

  return {
    read,
    /** While the writer opens the ledger; nothing is opened before `start`. */
    prepare: thread.prepare,
    async start(onGone: (error: BrinkError) => void): Promise<void> {
      const ready = thread.start(
        (answer) => {
          const waiter = pending.get(answer.id);
          pending.delete(answer.id);
          if ('failure' in answer) {
            onFailure(answer.failure);
            waiter?.reject(errorOf(answer.failure));
          } else waiter?.resolve(answer.value);
        },
        (error) => {
          fail(error);
          onGone(error);
        },
      );
      thread.post('open');
      await ready;
      running = true;
    },
    async stop(): Promise<void> {
      await thread.stop();
      fail(new BrinkError('E_UNAVAILABLE', 'the ledger was stopped'));
    },
  };
}
export type Queries = ReturnType<typeof createQueries>;
