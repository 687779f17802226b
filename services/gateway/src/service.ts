import { join } from 'node:path';
import { createTopics } from '@brink/protocol';
import {
  type Clock,
  createChildMetrics,
  createLinkMetrics,
  createOps,
  createRegistry,
  type Logger,
} from '@brink/runtime';
import manifest from '../package.json' with { type: 'json' };
import type { GatewayConfig } from './config.ts';
import { type AppliedConfiguration, createAppliedConfiguration } from './configuration/applied.ts';
import { createFleetStatus } from './configuration/status.ts';
import { createBrokerConnections, createLinks } from './connections.ts';
import { applyPlan, createDataPath, type DataPath, problemsOf } from './data-path.ts';
import type { FrameMessage } from './ingest/arrival.ts';
import { createPostFrame } from './ingest/post.ts';
import { createLifecycle } from './lifecycle.ts';
import { createReporter } from './outcomes/report.ts';
import type { SpoolWorker } from './spool/spool.ts';

export type { GatewayConfig } from './config.ts';

interface Deps {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  /** For tests of crashes: called by name where one would hurt most. Nothing in Brink gives one. */
  readonly failpoint?: (name: string) => void;
  /** For tests: stands between the broker and the way in. */
  readonly tap?: (message: FrameMessage) => FrameMessage;
  /** For tests: another module in place of the spool's thread. */
  readonly spoolWorker?: SpoolWorker;
}

/**
 * The gateway: frames in over MQTT and from control, units out to inference, outcomes to control.
 *
 *   broker ──frames──▶ data path ══units══▶ inference
 *      └──configuration──▶ ▲  ╚═══outcomes, report══▶ control ──posted frames──▶ data path
 */
export function createService(config: GatewayConfig, deps: Deps) {
  const { logger, clock, failpoint = () => {}, tap = (message) => message } = deps;
  const topics = createTopics(config.topicRoot);
  const registry = createRegistry('gateway');
  const linkMetrics = createLinkMetrics(registry);
  const childMetrics = createChildMetrics(registry);
  const path = createDataPath(
    { ...config, topics },
    {
      ...deps,
      registry,
      linkMetrics,
      childMetrics,
      inference: (...request) => links.inference.request(...request),
      control: (...request) => links.control.request(...request),
      failpoint,
      // Lost where there is no connection; the frame that is sent again then brings the next.
      publish: (topic, payload) => void broker.fleet.publish(topic, payload).catch(() => {}),
      gate: { open: (stream) => broker.deliveries.open(stream), close: (stream) => broker.deliveries.close(stream) },
    },
  );
  const links = createLinks(config, {
    ...deps,
    linkMetrics,
    inference: {
      handlers: {
        async announce({ models }) {
          path.models.announce(models);
          return { body: { case: 'done', value: {} } };
        },
      },
      onDown: () => path.models.down(),
    },
    control: {
      handlers: {
        postFrame: createPostFrame({ ingest: path.ingest, clock }),
        record: async (request) => ({ body: { case: 'recorded', value: await path.recorder.record(request) } }),
        forget: async ({ device }) => ({ body: { case: 'forgotten', value: await forgetDevice(path, device) } }),
      },
      // The link takes requests as soon as this returns, not before.
      onUp: () => queueMicrotask(() => path.outbox.linkUp()),
      onDown: () => path.outbox.linkDown(),
    },
  });
  const applied = createAppliedConfiguration(
    { path: join(config.dataDir, 'applied.json'), spoolAgeMsMax: config.spool.ageMsMax },
    {
      logger,
      check: (plan) => path.secrets.load(plan),
      onApply(plan) {
        const filters = path.foreign.apply(plan);
        applyPlan(path, plan);
        broker.expectFrames(plan);
        broker.hearForeign(filters);
        broker.deliveries.apply(plan);
        lifecycle.configured();
      },
    },
  );
  const status = createFleetStatus(
    { instance: config.instance, topics, version: manifest.version, startedAt: new Date(clock.now()).toISOString() },
    {
      mqtt: () => broker.fleet,
      logger,
      now: () => ({ ...revisionOf(applied), problems: problems(), models: path.models.status() }),
    },
  );
  const broker = createBrokerConnections(
    { ...config, topics, status: () => status },
    {
      ...deps,
      registry,
      onConfiguration: applied.receive,
      onFrame: (message) => path.ingest.receive(tap(message)),
      onRetired: path.ingest.retired,
      foreignStream: (topic) => path.foreign.shown(topic)?.stream,
      onForeign: (message) => (path.foreign.hears(message.topic) ? path.ingest.receive(message) : message.ack?.()),
    },
  );
  const reporter = createReporter({ instance: config.instance }, { ...path, clock, logger, control: links.control });
  const ops = createOps(config.ops, { registry, problems, logger });

  const lifecycle = createLifecycle(config, { clock, path, links, broker, applied, status, reporter, ops });

  function problems(): string[] {
    const { inference, control } = links;
    const all = [broker.fleet.problem, broker.problem, applied.problem, inference.problem, control.problem];
    return [...all.filter((problem) => problem !== undefined), ...problemsOf(path)];
  }

  return {
    start: lifecycle.start,
    stop: lifecycle.stop,
    get addresses() {
      return { ops: ops.address };
    },
    ...forTests(path),
  };
}

/** Its frames of the last seconds, and what was recorded of it. */
async function forgetDevice({ keeper, recorder }: DataPath, device: string): Promise<{ recordings: number }> {
  keeper.forgetDevice(device);
  return { recordings: await recorder.forgetDevice(device) };
}

/** What tests look at, and where they put frames in that no broker here can bring. */
function forTests({ counts, models, ingest }: DataPath) {
  const serves = (model: string) => models.current(model) !== undefined;
  return { counts, serves, receive: ingest.receive };
}

function revisionOf({ revision, error }: AppliedConfiguration): { revision?: string; revision_error?: string } {
  return { ...(revision === undefined ? {} : { revision }), ...(error === undefined ? {} : { revision_error: error }) };
}
