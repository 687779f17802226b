import { type Clock, type DataFolder, openDataFolder, type Part, type Timer } from '@brink/runtime';
import type { AppliedConfiguration } from './configuration/applied.ts';
import type { FleetStatusPublisher } from './configuration/status.ts';
import type { BrokerConnections, Links } from './connections.ts';
import { type DataPath, finish, openSpool } from './data-path.ts';
import type { Reporter } from './outcomes/report.ts';

const TICK_MS = 1000;
/** Of a stop: for units on their way, and for outcomes. Together with the rest it must stay under three seconds. */
const FINISH = { unitsMs: 1000, outcomesMs: 1000 };

/** In which order the parts of the gateway come up, and go. */
export function createLifecycle(
  config: { dataDir: string },
  d: {
    clock: Clock;
    path: DataPath;
    links: Links;
    broker: BrokerConnections;
    applied: AppliedConfiguration;
    status: FleetStatusPublisher;
    reporter: Reporter;
    ops: Part;
  },
) {
  const { clock, path, links, broker, applied, status, reporter, ops } = d;
  const running = new AbortController();
  let folder: DataFolder | undefined;
  let ticking: Timer | undefined;
  let started = false;
  let listening = false;

  /** Frames are asked for once it is known what to do with them. */
  function listen(): void {
    if (listening || !started || applied.revision === undefined) return;
    listening = true;
    // First those whose frames the broker keeps: what came on both connections would be two frames.
    void broker.deliveries.start(running.signal).then(() => broker.data.start(running.signal).catch(() => {}));
  }

  function tick(): void {
    void status.refresh();
    reporter.report();
    path.backlog.sweep();
    path.windows.measure(path.sources.lanes());
    ticking = clock.setTimeout(tick, TICK_MS);
  }

  return {
    /** A configuration is in force. */
    configured: listen,

    async start(signal: AbortSignal): Promise<void> {
      const starting = AbortSignal.any([signal, running.signal]);
      folder = await openDataFolder(config.dataDir);
      await ops.start(starting);
      broker.deliveries.remember(await openSpool(path));
      await path.recorder.start();
      await applied.load();
      await path.pool.start(starting);
      path.dispatch.start();
      await links.inference.start(starting);
      await links.control.start(starting);
      await broker.fleet.start(starting);
      started = true;
      listen();
      tick();
    },

    /** Takes no more frames, finishes what is on its way, gives the outcomes away, and says good-bye. */
    async stop(): Promise<void> {
      const { inference, control } = links;
      running.abort();
      await Promise.all([broker.data.stop(), broker.deliveries.stop()]);
      const up = { inferenceUp: () => inference.peer !== undefined, controlUp: () => control.peer !== undefined };
      await finish(path, { ...FINISH, ...up }, clock);
      if (ticking !== undefined) clock.clearTimeout(ticking);
      await reporter.last();
      if (broker.fleet.connected) await status.leave();
      await Promise.all([broker.fleet.stop(), inference.stop(), control.stop(), path.pool.stop(), applied.saved()]);
      await ops.stop();
      await folder?.release();
    },
  };
}
