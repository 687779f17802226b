import type { Clock, LinkPeer, Logger, Registry } from '@brink/runtime';
import type { GatewayConfig } from '../config.ts';
import type { DecodePool } from '../decode/pool.ts';
import type { Sources } from '../ingest/sources.ts';
import { createMasking } from '../mask/masking.ts';
import { createSecrets } from '../mask/secrets.ts';
import { createKeepMetrics } from '../metrics.ts';
import type { Models } from '../models/models.ts';
import { createKeeper } from './keeper.ts';
import { Recorder } from './recorder.ts';

/** Masks, and what is kept behind them: every way on which a picture leaves the gateway begins here. */
export function createKeeping(
  config: Pick<GatewayConfig, 'instance' | 'secretsDir' | 'keep' | 'record'>,
  d: {
    clock: Clock;
    logger: Logger;
    registry: Registry;
    pool: DecodePool;
    models: Models;
    request: LinkPeer['request'];
    sources: Pick<Sources, 'plan'>;
  },
) {
  const planOf = (stream: string) => d.sources.plan.streams.get(stream);
  const secrets = createSecrets({ dir: config.secretsDir });
  const masking = createMasking({
    ...{ ...d, secrets },
    onMasked: (faces, ms) => metrics.searched(faces, ms),
    onFailed: (code) => metrics.maskFailures.inc({ code }),
  });
  const keeper = createKeeper(config.keep, {
    ...{ ...d, masking },
    keepMs: (stream) => planOf(stream)?.keepMs ?? 0,
    isMaskedAsNow({ plan }) {
      const now = planOf(plan.name);
      return now === plan || (now !== undefined && JSON.stringify(now.mask) === JSON.stringify(plan.mask));
    },
    rateHz: ({ plan }) =>
      plan.pipelines.map(({ model }) => d.models.known(model)?.rateHz).find((rate) => rate !== undefined),
    onGone: (reason) => metrics.evicted.inc({ reason }),
    onSkipped: (reason) => metrics.skipped.inc({ reason }),
    onKept: (frame) => recorder.kept(frame),
  });
  const recorder: Recorder = new Recorder(
    { ...config.record, gateway: config.instance },
    {
      ...{ ...d, ring: keeper.ring, plan: planOf },
      onEnd: (state) => metrics.recordings.inc({ state }),
      onRemoved: (reason) => metrics.removed.inc({ reason }),
    },
  );
  const metrics = createKeepMetrics(d.registry, { ring: keeper.ring, recorder });
  return { secrets, masking, keeper, recorder };
}
