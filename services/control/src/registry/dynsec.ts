import { randomUUID } from 'node:crypto';
import { BrinkError, type Topics } from '@brink/protocol';
import { type Clock, createMqtt, type Logger, type Mqtt, type Part } from '@brink/runtime';
import { z } from 'zod';

// Mosquitto's dynamic-security plugin, spoken to over MQTT.
// https://mosquitto.org/documentation/dynamic-security/ ; texts of errors: plugins/dynamic_security/*.c of 2.0.21
const CONTROL_TOPIC = '$CONTROL/dynamic-security/v1';
const ANSWER_MS_MAX = 5000;
const WAITING_MAX = 100;

const AnswerSchema = z.looseObject({
  responses: z.array(
    z.looseObject({
      command: z.string(),
      correlationData: z.string().optional(),
      error: z.string().optional(),
      data: z.unknown().optional(),
    }),
  ),
});

interface DynsecCommand {
  readonly command: string;
  readonly [key: string]: unknown;
}

interface Answer {
  readonly error: string | undefined;
  readonly data: unknown;
}

export interface Dynsec extends Part {
  readonly problem: string | undefined;
  /**
   * Sends one command and waits for its answer. An error that `tolerate` contains counts as success.
   * @returns the answer's data, where it has any
   * @throws BrinkError E_BROKER with the plugin's words, E_UNAVAILABLE when it does not answer
   */
  run(command: DynsecCommand, tolerate?: readonly string[]): Promise<unknown>;
  /** The plugin can be spoken to, now and after each time that it could not. */
  onConnect(fn: () => void): void;
}

export function createDynsec(
  o: { url: string; username: string; password: string | undefined },
  d: { logger: Logger; clock: Clock; random: () => number },
): Dynsec {
  const waiting = new Map<string, (answer: Answer) => void>();
  const mqtt: Mqtt = createMqtt(
    {
      url: o.url,
      // Mosquitto runs with use_username_as_clientid.
      clientId: o.username,
      username: o.username,
      ...(o.password === undefined ? {} : { password: o.password }),
      clean: true,
    },
    d,
  );
  mqtt.subscribe(`${CONTROL_TOPIC}/response`, { qos: 1 }, ({ payload }) => {
    const { responses } = AnswerSchema.parse(JSON.parse(payload.toString('utf8')));
    for (const { correlationData, error, data } of responses) waiting.get(correlationData ?? '')?.({ error, data });
  });

  async function run(command: DynsecCommand, tolerate: readonly string[] = []): Promise<unknown> {
    if (waiting.size >= WAITING_MAX)
      throw new BrinkError('E_BUSY', `${WAITING_MAX} changes of devices wait for the broker`);
    const id = randomUUID();
    const answer = Promise.withResolvers<Answer>();
    const timer = d.clock.setTimeout(() => {
      const detail = `the broker's dynamic security did not answer ${command.command} within ${ANSWER_MS_MAX} ms`;
      answer.reject(new BrinkError('E_UNAVAILABLE', detail));
    }, ANSWER_MS_MAX);
    waiting.set(id, answer.resolve);
    try {
      const text = JSON.stringify({ commands: [{ ...command, correlationData: id }] });
      await mqtt.publish(CONTROL_TOPIC, text, { qos: 1 });
      const { error, data } = await answer.promise;
      if (error !== undefined && !tolerate.includes(error)) {
        throw new BrinkError('E_BROKER', `the broker refused ${command.command}: ${error}`);
      }
      return data;
    } finally {
      d.clock.clearTimeout(timer);
      waiting.delete(id);
      answer.promise.catch(() => {});
    }
  }

  return {
    get problem() {
      return mqtt.problem;
    },
    run,
    onConnect: (fn) => mqtt.onConnect(fn),
    start: (signal) => mqtt.start(signal),
    stop: () => mqtt.stop(),
  };
}

/**
 * What one device may do, and no more (DESIGN §8): publish under its own `up/`, receive its own `down/`. A role of its own
 * for each device: the plugin of Mosquitto 2.0 knows no %u in roles.
 */
export function deviceRole(device: string, topics: Topics): { rolename: string; acls: object[] } {
  const send = (topic: string) => ({ acltype: 'publishClientSend', topic, priority: 0, allow: true });
  const own = `${topics.root}/${device}`;
  const receives = topics.filters.ofDevice(device);
  return {
    rolename: `device.${device}`,
    acls: [
      send(`${own}/up/frames/+`),
      send(`${own}/up/frames/+/+`),
      send(`${own}/up/retired/+`),
      send(`${own}/up/status`),
      send(`${own}/up/acks`),
      { acltype: 'subscribePattern', topic: receives, priority: 0, allow: true },
      { acltype: 'publishClientReceive', topic: receives, priority: 0, allow: true },
    ],
  };
}
