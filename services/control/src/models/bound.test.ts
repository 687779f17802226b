import { ConfigurationSchema, type FleetStatus } from '@brink/protocol';
import { expect, test } from 'vitest';
import { boundModels } from './bound.ts';

const configuration = ConfigurationSchema.parse({
  version: 1,
  streams: {
    front: {
      format: 'image',
      mask: [{ faces: { model: 'faces' } }],
      pipelines: { pets: { model: 'cats' }, people: { model: 'persons' } },
    },
  },
});
const gateway = (instance: string, names: string[], state: 'online' | 'offline' = 'online'): FleetStatus => ({
  ...{ service: 'gateway', instance, state },
  models: names.map((name) => ({ name, version: 1, state: 'ready' })),
});
const served = (...services: FleetStatus[]) => Object.fromEntries(boundModels(configuration, services));

test('a model that a pipeline or a mask names is served where every gateway that is online has it', () => {
  expect(served()).toEqual({ faces: false, cats: false, persons: false });
  expect(served(gateway('a', ['faces', 'cats', 'other']))).toEqual({ faces: true, cats: true, persons: false });
  expect(served(gateway('a', ['faces', 'cats']), gateway('b', ['cats']))).toMatchObject({ faces: false, cats: true });
  expect(served(gateway('a', ['cats']), gateway('b', [], 'offline'))).toMatchObject({ cats: true });
  const inference: FleetStatus = { ...gateway('i', ['persons']), service: 'inference' };
  expect(served(gateway('a', ['cats']), inference)).toMatchObject({ persons: false });
});
