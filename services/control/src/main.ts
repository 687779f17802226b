import { runMain, systemClock } from '@brink/runtime';
import { readConfig } from './config.ts';
import { createService } from './service.ts';

await runMain({
  service: 'control',
  create: (env, logger) => createService(readConfig(env), { logger, clock: systemClock, random: Math.random }),
});
