import type { link } from '@brink/protocol';
import type { DecideOptions, Gateway, UnitTensor } from '@brink/test/inference';

export interface ClientsOptions extends DecideOptions {
  /** Each has one unit in flight, and sends its next one when that is answered. */
  readonly clients: number;
  /** What becomes ready in one turn goes in one Decide, up to so many, as a gateway sends it. */
  readonly unitsPerDecide: number;
  /** Units, in turn. */
  readonly units: readonly (readonly UnitTensor[])[];
}

/** A closed loop over the link. An error ends it; it shows in `stop`. */
export function startClients(service: Gateway, o: ClientsOptions) {
  let running = true;
  let flushing = false;
  let idle = o.clients;
  let done = 0;
  let sent = 0;
  let failure: unknown;
  const results: link.UnitResult[] = [];
  const busy = new Set<Promise<void>>();

  function ready(clients: number): void {
    idle += clients;
    if (!running || flushing) return;
    flushing = true;
    setImmediate(() => {
      flushing = false;
      flush();
    });
  }

  function flush(): void {
    if (!running) return;
    while (idle > 0) {
      const units = Array.from(
        { length: Math.min(idle, o.unitsPerDecide) },
        () => o.units[sent++ % o.units.length] ?? [],
      );
      idle -= units.length;
      const asked: Promise<void> = ask(units).finally(() => busy.delete(asked));
      busy.add(asked);
    }
  }

  async function ask(units: readonly (readonly UnitTensor[])[]): Promise<void> {
    try {
      const answers = await service.decide(o, units);
      const wrong = answers.find(({ failure: why }) => why !== undefined)?.failure;
      if (wrong !== undefined) throw new Error(`${o.model}: ${wrong.code}: ${wrong.detail}`);
      done += units.length;
      if (results.length < 100_000) results.push(...answers);
      ready(units.length);
    } catch (reason) {
      failure ??= reason;
      running = false;
    }
  }

  flush();
  return {
    /** Units that were answered. */
    get done() {
      return done;
    },
    results,
    /** Waits until nothing is in flight. @throws what went wrong */
    async stop(): Promise<void> {
      running = false;
      await Promise.all(busy);
      if (failure !== undefined) throw failure;
    },
  };
}

/** Units per second of a closed loop, once it has settled. */
export async function unitsPerSecond(service: Gateway, o: ClientsOptions, ms: number): Promise<number> {
  const clients = startClients(service, o);
  await pause(Math.min(300, ms / 5));
  const [before, start] = [clients.done, performance.now()];
  await pause(ms);
  const perSecond = ((clients.done - before) * 1000) / (performance.now() - start);
  await clients.stop();
  return perSecond;
}

export const pause = (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms));
