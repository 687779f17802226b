import { readSettings, runMain, systemClock } from '@brink/runtime';
import { createSimulation, SimulationSettingsSchema } from './simulation.ts';

await runMain({
  service: 'devices',
  create: (env, logger) =>
    createSimulation(readSettings(SimulationSettingsSchema, env), { logger, clock: systemClock, random: Math.random }),
});
