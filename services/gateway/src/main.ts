import { collectBuffersEarly, runMain, systemClock } from '@brink/runtime';
import { readConfig } from './config.ts';
import { createService } from './service.ts';

collectBuffersEarly();
await runMain({
  service: 'gateway',
  create: (env, logger) => createService(readConfig(env), { logger, clock: systemClock, random: Math.random }),
});
