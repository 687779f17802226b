import { matchesGlob } from 'node:path';
import {
  BrinkError,
  type Credentials,
  createTopics,
  type DeviceRecord,
  type ForgottenDevice,
  isName,
  type StreamConfig,
} from '@brink/protocol';
import { type Command, InvalidArgumentError } from 'commander';
import type { Api } from '../api.ts';
import { printable, table } from '../terminal.ts';
import { type Context, type Edge, filled, usingApi, type VerbOptions, verb, withApi } from '../verb.ts';

type DeviceItem = DeviceRecord & { waiting?: boolean };
type StreamItem = StreamConfig & { name: string };

/** `brink devices list|add|approve|rotate|show|revoke|forget`. Without a word: list. */
export function addDevices(program: Command, edge: Edge): void {
  const devices = program
    .command('devices')
    .description('who may send frames and take commands')
    .addHelpText('after', '\nExamples:\n  $ brink devices\n  $ brink devices add cam-9');
  addList(devices, edge);
  addAdd(devices, edge);
  addApprove(devices, edge);
  addShow(devices, edge);
  addRevoke(devices, edge);
  addForget(devices, edge);
}

function addList(devices: Command, edge: Edge): void {
  const command = withApi(devices.command('list', { isDefault: true })).description('every device that is known');
  verb<VerbOptions>(edge, command, ['brink devices', 'brink devices list --json'], async (context, options) =>
    usingApi(context, options, async (api) => {
      const page = await api.get<{ items: DeviceItem[] }>('/v1/devices');
      const rows = page.items.map((device) => [
        device.name,
        device.state,
        device.waiting === true ? 'waits to be approved' : device.registered ? 'registered' : 'joined by itself',
        device.credentials_at === undefined ? 'no credentials' : `credentials of ${device.credentials_at}`,
        device.last_seen ?? 'never seen',
        printable(device.note ?? ''),
      ]);
      context.show(page, rows.length === 0 ? ['no devices yet; a device appears with its first frame'] : table(rows));
      return 0;
    }),
  );
}

function addAdd(devices: Command, edge: Edge): void {
  for (const [name, description] of [
    ['add', 'register a device and print its credentials, once'],
    ['rotate', 'make new credentials; the old ones end at once'],
  ] as const) {
    const command = withApi(devices.command(name))
      .description(description)
      .argument('<device>', 'its name, as cam-9', deviceName);
    if (name === 'add') command.option('--note <text>', 'what it is');
    const example = [`brink devices ${name} cam-9`, `docker compose exec control brink devices ${name} cam-9`];
    verb<VerbOptions & { note?: string }>(edge, command, example, async (context, options, device = '') =>
      usingApi(context, options, async (api) => {
        if (name === 'add') await register(api, device, options.note);
        // A name that is mistyped is no new device.
        else await api.get<DeviceRecord>(`/v1/devices/${device}`);
        const credentials = await api.send<Credentials>('POST', `/v1/devices/${device}/credentials`);
        const use = await howToUse(api, context, device, credentials);
        context.show({ ...credentials, ...use.json }, use.lines);
        return 0;
      }),
    );
  }
}

/** A device that joined by itself is registered by the same word. */
async function register(api: Api, device: string, note: string | undefined): Promise<void> {
  try {
    await api.send('POST', '/v1/devices', { name: device, ...(note === undefined ? {} : { note }) });
  } catch (error) {
    if (!(error instanceof BrinkError) || error.code !== 'E_CONFLICT') throw error;
    throw new BrinkError('E_CONFLICT', `${error.detail}; \`brink devices rotate ${device}\` makes new credentials`, {
      cause: error,
    });
  }
}

async function howToUse(api: Api, context: Context, device: string, credentials: Credentials) {
  const url = credentials.url ?? filled(context.env['BRINK_MQTT_PUBLIC_URL']) ?? 'mqtt://127.0.0.1:1883';
  const topics = createTopics(filled(context.env['BRINK_TOPIC_ROOT']) ?? 'brink');
  const { items } = await api.get<{ items: StreamItem[] }>('/v1/streams');
  const streams = items.filter((stream) => matchesGlob(device, stream.devices)).map((stream) => stream.name);
  const stream = streams[0] ?? 'front';
  const topic = topics.format({ kind: 'frame', device, stream });
  const { hostname, port } = new URL(url);
  const broker = `-h ${hostname} -p ${port === '' ? 1883 : port}`;
  const json = { url, topic, streams };
  const paint = context.paint;
  const known =
    streams.length > 0
      ? `streams that take this device: ${streams.join(', ')}`
      : 'no stream in the configuration takes this device yet: its frames appear under /v1/discovered';
  const place = [`  url       ${url}`, `  topic     ${topic}   (${known})`];
  if (!credentials.needed) {
    return {
      json,
      lines: [`${device}: ${credentials.detail}`, ...place, '', `  mosquitto_pub ${broker} -t ${topic} -f picture.jpg`],
    };
  }
  const { username, password, client_id } = credentials;
  return {
    json,
    lines: [
      `${paint('bold', device)} may connect. The password is shown this once.`,
      `  username  ${username}   (its client id too)`,
      `  password  ${password}`,
      ...place,
      '',
      `  mosquitto_pub ${broker} -i ${client_id} -u ${username} -P '${password}' -t ${topic} -f picture.jpg`,
    ],
  };
}

function addShow(devices: Command, edge: Edge): void {
  const command = withApi(devices.command('show'))
    .description('one device')
    .argument('<device>', 'its name', deviceName);
  verb<VerbOptions>(edge, command, ['brink devices show cam-9'], async (context, options, device = '') =>
    usingApi(context, options, async (api) => {
      const record = await api.get<DeviceRecord>(`/v1/devices/${device}`);
      context.show(
        record,
        table(
          Object.entries(record).map(([name, value]) => [`  ${name.replaceAll('_', ' ')}`, printable(String(value))]),
        ),
      );
      return 0;
    }),
  );
}

/** Where `site.join` is approve, its frames are taken from now on. */
function addApprove(devices: Command, edge: Edge): void {
  const command = withApi(devices.command('approve'))
    .description('take the frames of a device that came by itself (site.join: approve)')
    .argument('<device>', 'its name', deviceName)
    .option('--note <text>', 'what it is');
  const example = ['brink devices approve cam-9', "brink devices approve cam-9 --note 'above the gate'"];
  verb<VerbOptions & { note?: string }>(edge, command, example, async (context, options, device = '') =>
    usingApi(context, options, async (api) => {
      const note = options.note === undefined ? {} : { note: options.note };
      const record = await api.send<DeviceItem>('PATCH', `/v1/devices/${device}`, { registered: true, ...note });
      context.show(record, [`${device} is approved`]);
      return 0;
    }),
  );
}

function addRevoke(devices: Command, edge: Edge): void {
  const command = withApi(devices.command('revoke'))
    .description('take a device its credentials and approval away; its connection ends within a second')
    .argument('<device>', 'its name', deviceName);
  verb<VerbOptions>(edge, command, ['brink devices revoke cam-9'], async (context, options, device = '') =>
    usingApi(context, options, async (api) => {
      await api.send('DELETE', `/v1/devices/${device}/credentials`);
      context.show({ revoked: device }, [`${device} is out; \`brink devices rotate ${device}\` lets it in again`]);
      return 0;
    }),
  );
}

function addForget(devices: Command, edge: Edge): void {
  const command = withApi(devices.command('forget'))
    .description(
      'remove a device and all that it left: decisions, actions, dead letters, recordings, retained messages',
    )
    .argument('<device>', 'its name', deviceName);
  verb<VerbOptions>(edge, command, ['brink devices forget cam-9'], async (context, options, device = '') =>
    usingApi(context, options, async (api) => {
      const forgotten = await api.send<ForgottenDevice>('DELETE', `/v1/devices/${device}?forget=true`);
      const { done, rows, recordings, left } = forgotten;
      const what = done
        ? `${device} is forgotten: ${rows} rows of the ledger, ${recordings} recordings`
        : `${device} has left much: it is being forgotten, see \`brink devices\``;
      context.show(forgotten, [what, ...left.map((line) => `  not reached: ${printable(line)}`)]);
      return 0;
    }),
  );
}

function deviceName(text: string): string {
  if (!isName(text))
    throw new InvalidArgumentError('a name is 1 to 64 of a-z, 0-9 and "-", and starts with a letter or digit');
  return text;
}
