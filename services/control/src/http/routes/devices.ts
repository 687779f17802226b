import { randomBytes } from 'node:crypto';
import {
  ActionRecordSchema,
  CommandActionSchema,
  CredentialsSchema,
  DeviceRecordSchema,
  type DeviceState,
  DeviceStateSchema,
  NameSchema,
  StreamCountsSchema,
} from '@brink/protocol';
import { z } from 'zod';
import type { Ledger } from '../../ledger/ledger.ts';
import type { Devices } from '../../registry/devices.ts';
import { type App, problems } from '../app.ts';
import { listOf } from '../query.ts';

const DeviceSchema = DeviceRecordSchema.extend({
  streams: z.array(StreamCountsSchema).describe('counted since the gateway started'),
});
const NewDevice = z.strictObject({ name: NameSchema, note: z.string().max(500).optional() });
const Order = CommandActionSchema.omit({ device: true });
const params = z.strictObject({ id: NameSchema });

export function addDevices(
  app: App,
  d: {
    devices: Devices;
    ledger: Ledger;
    state: (device: string) => Promise<DeviceState>;
  },
): void {
  const { devices } = d;
  const tags = ['devices'];
  app.get(
    '/v1/devices',
    {
      schema: {
        summary: 'Devices that were added or seen',
        tags,
        response: { 200: listOf(DeviceSchema), ...problems },
      },
    },
    async () => ({ items: await devices.list() }),
  );
  app.post(
    '/v1/devices',
    { schema: { summary: 'Add a device', tags, body: NewDevice, response: { 201: DeviceSchema, ...problems } } },
    async ({ body }, reply) => {
      const device = await devices.add(body.name, body.note);
      return reply.code(201).header('location', `/v1/devices/${device.name}`).send(device);
    },
  );
  app.get(
    '/v1/devices/:id',
    { schema: { summary: 'One device', tags, params, response: { 200: DeviceSchema, ...problems } } },
    ({ params: { id } }) => devices.get(id),
  );
  app.get(
    '/v1/devices/:id/state',
    {
      schema: {
        summary: 'Its latest decision per pipeline, and its rules',
        tags,
        params,
        response: { 200: DeviceStateSchema, ...problems },
      },
    },
    async ({ params: { id } }) => {
      await devices.get(id);
      return await d.state(id);
    },
  );
  app.delete(
    '/v1/devices/:id',
    {
      schema: {
        summary: 'Remove it and revoke its credentials',
        tags,
        params,
        response: { 204: z.undefined(), ...problems },
      },
    },
    async ({ params: { id } }, reply) => {
      await devices.remove(id);
      return reply.code(204).send();
    },
  );
  addCredentials(app, devices, tags);
  app.post(
    '/v1/devices/:id/commands',
    {
      schema: {
        summary: 'Order a command by hand',
        tags,
        params,
        body: Order,
        response: { 202: ActionRecordSchema, ...problems },
      },
    },
    async ({ params: { id }, body }, reply) => {
      // Random, not derived: the same order twice is two orders.
      const key = `http.${id}.${randomBytes(9).toString('base64url')}`;
      const action = await d.ledger.order(key, { command: { device: id, ...body } }, 'http');
      return reply
        .code(202)
        .header('location', `/v1/actions/${encodeURIComponent(action.id)}`)
        .send(action);
    },
  );
}

function addCredentials(app: App, devices: Devices, tags: string[]): void {
  app.post(
    '/v1/devices/:id/credentials',
    {
      schema: {
        summary: 'New credentials; the ones before stop working. The password is shown this once',
        tags,
        params,
        response: { 200: CredentialsSchema, 201: CredentialsSchema, ...problems },
      },
    },
    async ({ params: { id } }, reply) => {
      const credentials = await devices.createCredentials(id);
      return reply.code(credentials.needed ? 201 : 200).send(credentials);
    },
  );
  app.delete(
    '/v1/devices/:id/credentials',
    { schema: { summary: 'Revoke its credentials', tags, params, response: { 204: z.undefined(), ...problems } } },
    async ({ params: { id } }, reply) => {
      await devices.revokeCredentials(id);
      return reply.code(204).send();
    },
  );
}
