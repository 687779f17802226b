import { randomBytes } from 'node:crypto';
import {
  ActionRecordSchema,
  CommandActionSchema,
  CredentialsSchema,
  DeviceRecordSchema,
  type DeviceState,
  DeviceStateSchema,
  type ForgottenDevice,
  ForgottenDeviceSchema,
  NameSchema,
  StreamCountsSchema,
} from '@brink/protocol';
import { z } from 'zod';
import type { Ledger } from '../../ledger/ledger.ts';
import type { Devices } from '../../registry/devices.ts';
import { type App, problems } from '../app.ts';
import { noteFor } from '../audit.ts';
import { callerOf } from '../guard.ts';
import { listOf } from '../query.ts';

const DeviceSchema = DeviceRecordSchema.extend({
  waiting: z.boolean().describe('site.join is approve and nobody has approved it: its frames are refused'),
  streams: z.array(StreamCountsSchema).describe('counted since the gateway started'),
});
const NewDevice = z.strictObject({ name: NameSchema, note: z.string().max(500).optional() });
const Changes = z
  .strictObject({
    registered: z.boolean().optional().describe('true approves it; false takes that back'),
    note: z.string().max(500).nullable().optional(),
  })
  .refine((changes) => Object.keys(changes).length > 0, 'expected registered or note')
  .meta({ minProperties: 1 });
const Order = CommandActionSchema.omit({ device: true });
const params = z.strictObject({ id: NameSchema });

/** Below what a request may take at all. */
const FORGET_WAIT_MS = 12_000;

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
    async (request, reply) => {
      const { body } = request;
      noteFor(request, { device: body.name });
      const device = await devices.add(body.name, body.note);
      return reply.code(201).header('location', `/v1/devices/${device.name}`).send(device);
    },
  );
  app.get(
    '/v1/devices/:id',
    { schema: { summary: 'One device', tags, params, response: { 200: DeviceSchema, ...problems } } },
    ({ params: { id } }) => devices.get(id),
  );
  app.patch(
    '/v1/devices/:id',
    {
      schema: {
        summary: 'Approve it, or change what people call it',
        tags,
        params,
        body: Changes,
        response: { 200: DeviceSchema, ...problems },
      },
    },
    (request) => {
      noteFor(request, { ...request.body });
      return devices.change(request.params.id, request.body);
    },
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
        summary: 'Remove it and revoke its credentials; with forget=true also all that it left',
        tags,
        params,
        querystring: z.strictObject({
          forget: z
            .enum(['true', 'false'])
            .optional()
            .describe('its decisions, evidence, actions, dead letters, recordings and retained messages go too'),
        }),
        response: { 200: ForgottenDeviceSchema, 202: ForgottenDeviceSchema, 204: z.undefined(), ...problems },
      },
    },
    async ({ params: { id }, query: { forget } }, reply) => {
      if (forget === 'true') {
        const forgotten = await withinTime(id, devices.forget(id));
        return reply.code(forgotten.done ? 200 : 202).send(forgotten);
      }
      await devices.remove(id);
      return reply.code(204).send();
    },
  );
  addCredentials(app, devices, tags);
  addCommands(app, d.ledger, tags);
}

/** Who left very much takes longer than a request may: it goes on without one. */
function withinTime(device: string, forgetting: Promise<ForgottenDevice>): Promise<ForgottenDevice> {
  const waited = Promise.withResolvers<ForgottenDevice>();
  const timer = setTimeout(
    () => waited.resolve({ device, done: false, rows: 0, recordings: 0, left: [] }),
    FORGET_WAIT_MS,
  );
  forgetting.then(waited.resolve, waited.reject).finally(() => clearTimeout(timer));
  return waited.promise;
}

function addCommands(app: App, ledger: Ledger, tags: string[]): void {
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
    async (request, reply) => {
      const { id } = request.params;
      // Random, not derived: the same order twice is two orders.
      const key = `http.${id}.${randomBytes(9).toString('base64url')}`;
      const action = await ledger.order(key, { command: { device: id, ...request.body } }, callerOf(request).name);
      noteFor(request, { action: key, command: request.body.name });
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
