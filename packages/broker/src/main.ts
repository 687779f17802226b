import { collectBuffersEarly, readSettings, runMain, systemClock } from '@brink/runtime';
import { SettingsSchema } from './config.ts';
import { createService } from './service.ts';

collectBuffersEarly();
await runMain({
  service: 'broker',
  create: (env, logger) => createService(readSettings(SettingsSchema, env), { logger, clock: systemClock }),
});
