import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { BrinkError, NameSchema } from '@brink/protocol';
import { type Clock, type Logger, logSettings, mqttSettings, type Part, startAll, stopAll } from '@brink/runtime';
import { z } from 'zod';
import { createCamera } from './camera.ts';
import { createDevice } from './device.ts';
import { createFeeder } from './feeder.ts';

const ms = (value: number, describe: string) =>
  z.coerce.number<string>().int().min(1).max(3_600_000).default(value).describe(describe);

export const SimulationSettingsSchema = z.object({
  ...logSettings,
  BRINK_MQTT_URL: mqttSettings.BRINK_MQTT_URL,
  BRINK_TOPIC_ROOT: mqttSettings.BRINK_TOPIC_ROOT,
  BRINK_SIMULATE_PASSWORDS_FILE: z
    .string()
    .optional()
    .describe('JSON {"cam-1":"…","feeder-1":"…"}; absent: without credentials, over loopback'),
  BRINK_SIMULATE_CAMERA: NameSchema.default('cam-1').describe('name of the camera'),
  BRINK_SIMULATE_STREAMS: z
    .string()
    .transform((names) => names.split(','))
    .pipe(z.array(NameSchema).min(1))
    .default(['front', 'lesson'])
    .describe('streams on which the camera sends each picture, comma-separated'),
  BRINK_SIMULATE_FEEDER: NameSchema.default('feeder-1').describe('name of the feeder'),
  BRINK_SIMULATE_PICTURES: z
    .string()
    .default(join(import.meta.dirname, '..', 'pictures'))
    .describe('folder whose .jpg files the camera sends, by name'),
  BRINK_SIMULATE_EVERY_MS: ms(1000, 'ms from one picture to the next'),
  BRINK_SIMULATE_TIMES: z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(1000)
    .default(2)
    .describe('how often each picture is sent before the next'),
  BRINK_SIMULATE_MOTOR_MS: ms(300, 'ms that the motor of the feeder takes'),
});
export type SimulationSettings = z.infer<typeof SimulationSettingsSchema>;

/** A camera and a feeder, as two devices in one process. */
export function createSimulation(
  settings: SimulationSettings,
  d: { logger: Logger; clock: Clock; random: () => number },
): Part {
  const passwords = readPasswords(settings.BRINK_SIMULATE_PASSWORDS_FILE);
  const deviceOf = (name: string) => {
    const password = passwords[name];
    return createDevice(
      {
        url: settings.BRINK_MQTT_URL,
        name,
        root: settings.BRINK_TOPIC_ROOT,
        ...(password === undefined ? {} : { password }),
      },
      d,
    );
  };
  const feederDevice = deviceOf(settings.BRINK_SIMULATE_FEEDER);
  const cameraDevice = deviceOf(settings.BRINK_SIMULATE_CAMERA);
  createFeeder({ device: feederDevice, motorMs: settings.BRINK_SIMULATE_MOTOR_MS }, d);
  const camera = createCamera(
    {
      device: cameraDevice,
      streams: settings.BRINK_SIMULATE_STREAMS,
      pictures: readPictures(settings.BRINK_SIMULATE_PICTURES),
      everyMs: settings.BRINK_SIMULATE_EVERY_MS,
      times: settings.BRINK_SIMULATE_TIMES,
    },
    d,
  );
  const parts = [feederDevice, cameraDevice, camera];
  return {
    async start(signal) {
      await startAll(parts, signal);
      d.logger.info({ camera: cameraDevice.name, feeder: feederDevice.name }, 'simulated devices are online');
    },
    stop: () => stopAll(parts),
  };
}

function readPictures(folder: string): Uint8Array[] {
  let names: string[];
  try {
    names = readdirSync(folder).filter((name) => /\.jpe?g$/.test(name));
  } catch (error) {
    throw new BrinkError('E_SETTING', `BRINK_SIMULATE_PICTURES: ${BrinkError.from(error).detail}`, { cause: error });
  }
  if (names.length === 0) throw new BrinkError('E_SETTING', `BRINK_SIMULATE_PICTURES: no .jpg in ${folder}`);
  return names.sort().map((name) => readFileSync(join(folder, name)));
}

function readPasswords(file: string | undefined): Record<string, string> {
  if (file === undefined) return {};
  try {
    return z.record(z.string(), z.string().min(1)).parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    // Not the parser's words: they may quote what is in the file.
    throw new BrinkError(
      'E_SETTING',
      `BRINK_SIMULATE_PASSWORDS_FILE: ${file} cannot be read; expected {"<device>":"<password>"}`,
    );
  }
}
