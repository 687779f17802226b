import type { AddressInfo } from 'node:net';
import { BrinkError, type DeviceState, type Status } from '@brink/protocol';
import { type Clock, isLoopback, type Logger, listenError, type Part } from '@brink/runtime';
import type { ConfigurationKeeper } from '../configuration/active.ts';
import type { ConfigurationEditor } from '../configuration/edit.ts';
import type { Gateways } from '../gateways/gateways.ts';
import type { Ledger } from '../ledger/ledger.ts';
import type { Metrics } from '../metrics.ts';
import type { ModelUploads } from '../models/uploads.ts';
import type { Recordings } from '../recordings/recordings.ts';
import type { Devices } from '../registry/devices.ts';
import { type App, createApp } from './app.ts';
import { createAudit } from './audit.ts';
import type { ByOf } from './editing.ts';
import { createEvents, type Events } from './events.ts';
import { callerOf, createGuard } from './guard.ts';
import { createRecovery } from './recovery.ts';
import { addActions } from './routes/actions.ts';
import { addCatalogue, type CatalogueDeps } from './routes/catalogue.ts';
import { addConfiguration } from './routes/configuration.ts';
import { addDecisions } from './routes/decisions.ts';
import { addDevices } from './routes/devices.ts';
import { addDocuments } from './routes/documents.ts';
import { addEntries } from './routes/entries.ts';
import { addEvents } from './routes/events.ts';
import { addFrames } from './routes/frames.ts';
import { addHome } from './routes/home.ts';
import { addInference } from './routes/inference.ts';
import { addLedger } from './routes/ledger.ts';
import { addModels } from './routes/models.ts';
import { addRecordings } from './routes/recordings.ts';
import { addRedrive, type RedriveDeps } from './routes/redrive.ts';
import { addRules, type RulesDeps } from './routes/rules.ts';
import { addStatus } from './routes/status.ts';
import { addAudit, addTokens } from './routes/tokens.ts';
import { createTokens } from './tokens.ts';

export interface HttpConfig {
  readonly host: string;
  readonly port: number;
  readonly token: string | undefined;
  /** Requests a minute that one client may make. */
  readonly rateMax: number;
  /** How long a request may take to arrive; default 30 s. */
  readonly requestMsMax?: number | undefined;
  /** Bytes of bodies of all requests together; default 128 MiB. */
  readonly heldBytesMax?: number | undefined;
  readonly version: string;
  readonly topicRoot: string;
  /** What devices call the broker, where that is known. */
  readonly publicUrl: string | undefined;
  /** Where `brink tokens recover` leaves what it made. */
  readonly dataDir: string;
  readonly inference: { readonly url: string; readonly token: string | undefined };
}

export interface HttpDeps
  extends Pick<CatalogueDeps, 'models' | 'reports' | 'services'>,
    Pick<RulesDeps, 'rulesDesk' | 'testingGround'> {
  readonly logger: Logger;
  readonly clock: Clock;
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly ledger: Ledger;
  readonly configuration: ConfigurationKeeper;
  readonly editor: ConfigurationEditor;
  readonly uploads: ModelUploads;
  readonly devices: Devices;
  readonly gateways: Gateways;
  readonly recordings: Recordings;
  readonly status: () => Promise<Status>;
  readonly state: (device: string) => Promise<DeviceState>;
  readonly targetStates: RedriveDeps['targetStates'];
}

export interface Http extends Part {
  readonly address: { readonly host: string; readonly port: number };
  readonly events: Events;
}

/** As the audit names them. */
const by: ByOf = (request) => callerOf(request).name;
/** How long open requests may go on when control stops. */
const CLOSE_MS_MAX = 1500;

/** The one entrance. */
export function createHttp(o: HttpConfig, d: HttpDeps): Http {
  const events = createEvents({ clock: d.clock, logger: d.logger, metrics: d.metrics, read: () => d.ledger.read });
  const tokens = createTokens(d);
  const guard = createGuard(o, { tokens });
  const audit = createAudit(d);
  const recovery = createRecovery(o, { ...d, tokens, audit });
  let app: App | undefined;
  let stopping = new AbortController();
  let port = o.port;

  function addRoutes(to: App): void {
    const { ledger } = d;
    const { read } = ledger;
    const configuration = () => d.configuration.active.configuration;
    addHome(to, {
      guard,
      status: d.status,
      streams: () => Object.keys(configuration().streams),
      topicRoot: o.topicRoot,
      broker: o.publicUrl,
    });
    addStatus(to, d);
    addDecisions(to, { read, clock: d.clock });
    addActions(to, { ledger });
    addRedrive(to, d);
    addDevices(to, d);
    addCatalogue(to, { ...d, configuration, revision: () => d.configuration.active.revision, read });
    addEntries(to, { editor: d.editor, by });
    addRules(to, d);
    addModels(to, { ...d, by });
    addConfiguration(to, { configuration: d.configuration, editor: d.editor, read, by });
    addFrames(to, { configuration, gateways: d.gateways, read, random: d.random, stopping: () => stopping.signal });
    addRecordings(to, d);
    addEvents(to, { events, guard });
    addTokens(to, { tokens });
    addAudit(to, { read });
    addLedger(to, { ledger });
    addDocuments(to);
    addInference(to, o.inference);
  }

  return {
    events,
    get address() {
      return { host: o.host, port };
    },
    async start(signal) {
      if (o.token === undefined && !isLoopback(o.host)) {
        throw new BrinkError('E_SETTING', `HTTP beyond loopback (${o.host}) needs a token: BRINK_HTTP_TOKEN_FILE`);
      }
      stopping = new AbortController();
      await tokens.start();
      app = await createApp(o, { ...d, guard, audit }, addRoutes);
      try {
        await app.listen({ host: o.host, port: o.port });
      } catch (error) {
        throw listenError(error as NodeJS.ErrnoException, `${o.host}:${o.port}`);
      }
      port = (app.server.address() as AddressInfo).port;
      events.start();
      await recovery.start(signal);
    },
    async stop() {
      if (app === undefined) return;
      const closing = app;
      app = undefined;
      stopping.abort(new BrinkError('E_UNAVAILABLE', 'control is stopping'));
      events.stop();
      const limit = d.clock.setTimeout(() => closing.server.closeAllConnections(), CLOSE_MS_MAX);
      await closing.close();
      d.clock.clearTimeout(limit);
      await recovery.stop();
      await tokens.stop();
    },
  };
}
