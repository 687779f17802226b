import {
  type Ack,
  BrinkError,
  createTopics,
  type Decision,
  DecisionSchema,
  isName,
  type Topics,
} from '@brink/protocol';
import {
  type Clock,
  createMqtt,
  type Logger,
  type Mqtt,
  type MqttMessage,
  type Part,
  silentLogger,
  systemClock,
} from '@brink/runtime';
import { type CommandHandler, createCommands } from './commands.ts';
import { type FrameName, propertiesOf } from './frame.ts';
import { Keeper, type KeeperDeps, type RejectedFrame } from './keeper.ts';
import { createKeys } from './keys.ts';
import type { OutboxConfig } from './outbox.ts';

export interface DeviceConfig {
  /** The broker: `mqtt://192.168.1.5:1883` */
  url: string;
  /** `[a-z0-9][a-z0-9-]{0,63}`; also the MQTT client id and the user name, where the next two say nothing else. */
  name: string;
  clientId?: string;
  username?: string;
  /**
   * For a program that sends in the name of a device which may be connected itself: no status is published, no command taken.
   * Needs a `clientId` of its own, or the two would throw each other out. Default false.
   */
  sendOnly?: boolean;
  /** Absent: without credentials, which only a broker on this very machine takes. */
  password?: string;
  /** First level of every topic, default `brink`. */
  root?: string;
  /** File that remembers which commands were carried out. Absent: a restart forgets, and a command may then be carried out twice. */
  keysFile?: string;
  /** A command that takes longer is answered with 504 and its signal aborts; default 60,000. */
  commandMsMax?: number;
  /** Where `keep` keeps frames until they have a receipt. */
  outbox?: OutboxConfig;
  /** Frames that may wait to be sent, default 64; beyond, `publish` rejects with E_BUSY. */
  framesWaitingMax?: number;
}

export interface PublishFrame {
  /** 0 (default): sent once, for pictures that the next one replaces. 1: resolves when the broker has it. */
  qos?: 0 | 1;
  /** As `image/jpeg`. Needs MQTT 5; without, Brink looks at the bytes. */
  contentType?: string;
  /** Of samples: the position of the first one since the start, in samples of one channel. Needs MQTT 5. */
  at?: number;
  /** Send a frame again under the name that it had; default is the next number. */
  as?: FrameName;
}

export interface Device extends Part {
  readonly name: string;
  /** Random, new at every start: frames of two starts are never taken for one another. */
  readonly boot: string;
  readonly connected: boolean;
  /** The name that the next frame of this stream gets. Takes it: each call gives another one. */
  nextFrame(stream: string): FrameName;
  /**
   * Sends the bytes of one frame, whatever the stream takes (a picture, samples, text).
   * @throws BrinkError E_BROKER when there is no connection, E_BUSY when too many frames wait; sent again it keeps its name (`as`)
   */
  publish(stream: string, bytes: Uint8Array, o?: PublishFrame): Promise<FrameName>;
  /**
   * For durable streams: resolves when the frame is on this device's disk. It is sent, and sent again under its name also after a
   * restart, until the gateway's receipt says that it has it.
   * @throws BrinkError E_STORAGE_FULL, E_NAME; E_SETTING without an `outbox` in the configuration
   */
  keep(stream: string, bytes: Uint8Array, o?: Pick<PublishFrame, 'contentType' | 'at'>): Promise<FrameName>;
  /** Whether frames can be kept: the outbox is open, wherever the broker is. */
  readonly keeps: boolean;
  /** Kept frames without a receipt. */
  readonly waiting: number;
  /** Kept frames that the gateway refused by name; they are not sent again. */
  onRejected(handler: (frame: RejectedFrame) => void): void;
  /** Carries out what control orders, each command at most once. To be called before `start`. */
  onCommand(name: string, handler: CommandHandler): void;
  /** What Brink decided on this device's frames, from now on: nothing is repeated after a loss of connection. */
  onDecision(stream: string, handler: (decision: Decision) => void): void;
}

/**
 * A device of Brink, for programs that have sensors or motors:
 *
 *     const device = createDevice({ url: 'mqtt://127.0.0.1:1883', name: 'feeder-1' });
 *     device.onCommand('open', async () => motor.turn());
 *     await device.start(AbortSignal.timeout(10_000));
 *     await device.publish('front', jpeg);
 *
 * It is `online` while it is connected and `offline` by its last will when it vanishes, reconnects by itself, and needs no clock.
 * @throws BrinkError E_NAME
 */
export function createDevice(
  config: DeviceConfig,
  deps: { logger?: Logger; clock?: Clock; random?: () => number } = {},
): Device {
  const { logger = silentLogger, clock = systemClock, random = Math.random } = deps;
  const { name } = config;
  if (!isName(name)) throw new BrinkError('E_NAME', `device name "${name}"; expected [a-z0-9][a-z0-9-]{0,63}`);
  const topics = createTopics(config.root);
  const status = { topic: topics.format({ kind: 'status', device: name }), qos: 1, retain: true } as const;
  const boot = newBoot(random);
  const numbers = new Map<string, number>();
  const keys = createKeys(config.keysFile);
  const mqtt = connectionOf(config, status.topic, { logger, clock, random });
  const commands = createCommands(
    { commandMsMax: config.commandMsMax ?? 60_000 },
    { keys, clock, logger, acknowledge },
  );

  function acknowledge(ack: Ack): void {
    const topic = topics.format({ kind: 'acks', device: name });
    // Lost with the connection? Then control sends the command again, and gets the same answer.
    mqtt
      .publish(topic, JSON.stringify(ack), { qos: 1 })
      .catch(() => logger.debug({ key: ack.key }, 'ack was not sent'));
  }

  function nextFrame(stream: string): FrameName {
    const seq = (numbers.get(stream) ?? 0) + 1;
    numbers.set(stream, seq);
    return { boot, seq };
  }

  const keeper = keeperOf(config, topics, { mqtt, clock, random, logger });

  function takePart(): void {
    const command = topics.format({ kind: 'command', device: name, name: 'x' }).replace(/x$/, '');
    mqtt.subscribe(`${command}+`, { qos: 1 }, (message) => {
      // A command that somebody retained would come again at every connect.
      if (!message.retain) commands.receive(message.topic.slice(command.length), message.payload);
    });
    mqtt.onConnect(() => {
      mqtt.publish(status.topic, ONLINE, status).catch(() => logger.debug('status was not sent'));
    });
  }
  if (config.sendOnly !== true) takePart();

  return {
    name,
    boot,
    get connected() {
      return mqtt.connected;
    },
    nextFrame,
    async publish(stream, bytes, o = {}) {
      const id = o.as ?? nextFrame(named(stream));
      const topic = topics.format({ kind: 'frame', device: name, stream, id });
      await mqtt.publish(topic, bytes, { qos: o.qos ?? 0, properties: propertiesOf(o) });
      return id;
    },
    async keep(stream, bytes, { contentType, at } = {}) {
      if (keeper === undefined) throw new BrinkError('E_SETTING', 'outbox is not set; expected the file of the outbox');
      return keeper.keep(named(stream), () => nextFrame(stream), bytes, { contentType, at });
    },
    get keeps() {
      return keeper?.running ?? false;
    },
    get waiting() {
      return keeper?.waiting ?? 0;
    },
    onRejected: (handler) => keeper?.onRejected(handler),
    onCommand: (to, handler) => commands.on(to, handler),
    onDecision(stream, handler) {
      const topic = topics.format({ kind: 'decisions', device: name, stream });
      mqtt.subscribe(topic, { qos: 0 }, (message) => {
        const decision = readDecision(message, logger);
        if (decision !== undefined) handler(decision);
      });
    },
    async start(signal) {
      await keys.open();
      await keeper?.open();
      await mqtt.start(signal);
    },
    async stop() {
      await commands.stop();
      // The last will only speaks for those who vanish; who leaves says so.
      if (config.sendOnly !== true) await mqtt.publish(status.topic, OFFLINE, status).catch(() => {});
      await mqtt.stop();
      keeper?.close();
      await keys.close();
    },
  };
}

function connectionOf(
  config: DeviceConfig,
  statusTopic: string,
  d: { logger: Logger; clock: Clock; random: () => number },
): Mqtt {
  const { url, name, password, sendOnly } = config;
  const will = { topic: statusTopic, qos: 1, retain: true, payload: OFFLINE } as const;
  return createMqtt(
    {
      url,
      clientId: config.clientId ?? name,
      ...(password === undefined ? {} : { username: config.username ?? name, password }),
      // Nothing waits at the broker for a device that is away: a command from before would be stale.
      clean: true,
      keepaliveS: 15,
      outgoingMax: config.framesWaitingMax ?? 64,
      ...(sendOnly === true ? {} : { will }),
    },
    d,
  );
}

function named(stream: string): string {
  if (isName(stream)) return stream;
  throw new BrinkError('E_NAME', `stream name "${stream}"; expected [a-z0-9][a-z0-9-]{0,63}`);
}

function keeperOf({ name, outbox }: DeviceConfig, topics: Topics, d: KeeperDeps): Keeper | undefined {
  return outbox === undefined ? undefined : new Keeper({ ...outbox, device: name, topics }, d);
}

const ONLINE = JSON.stringify({ state: 'online' });
const OFFLINE = JSON.stringify({ state: 'offline' });

/** 8 of 36 characters: 41 bits. */
const newBoot = (random: () => number) =>
  Array.from({ length: 8 }, () => Math.floor(random() * 36).toString(36)).join('');

function readDecision(message: MqttMessage, logger: Logger): Decision | undefined {
  try {
    // A newer Brink may say more than this SDK knows.
    return DecisionSchema.loose().parse(JSON.parse(message.payload.toString()));
  } catch (error) {
    logger.warn({ topic: message.topic, err: error }, 'a decision that cannot be read');
    return undefined;
  }
}
