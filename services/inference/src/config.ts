import { availableParallelism } from 'node:os';
import { BrinkError } from '@brink/protocol';
import {
  isLoopback,
  logSettings,
  mqttSettings,
  opsSettings,
  portSetting,
  readSettings,
  secretFrom,
} from '@brink/runtime';
import { z } from 'zod';

/** Every setting of the inference service. Keys are the names of the environment variables. */
export const SettingsSchema = z.object({
  BRINK_INSTANCE: z.string().default('inference-1').describe('name of this process in status, metrics and links'),
  ...logSettings,
  ...mqttSettings,
  ...opsSettings,
  BRINK_OPS_PORT: portSetting(9102, 'port of /livez, /readyz, /metrics'),
  BRINK_DATA_DIR: z
    .string()
    .default('./data/inference')
    .describe('the last configuration that was applied, derived graphs, and the lock'),
  BRINK_MODELS_DIR: z.string().default('./models').describe('folder of <name>/<version>/model.onnx and model.json'),
  BRINK_LINK_LISTEN: z
    .string()
    .default('unix:data/run/inference.sock')
    .describe('where gateways dial in: unix:<path> or tcp://host:port'),
  BRINK_LINK_TOKEN_FILE: z.string().optional().describe('file with what gateways present; needed for tcp'),
  BRINK_LINK_FRAME_BYTES_MAX: z.coerce
    .number<string>()
    .int()
    .min(65_536)
    .default(64 * 1024 * 1024)
    .describe('longest request of a gateway; longer ones close its link'),
  BRINK_HTTP_HOST: z.string().default('127.0.0.1').describe('address of the Open Inference Protocol'),
  BRINK_HTTP_PORT: portSetting(8000, 'port of the Open Inference Protocol over HTTP'),
  BRINK_HTTP_TOKEN_FILE: z
    .string()
    .optional()
    .describe('file with the bearer token, over HTTP and over gRPC; needed where either listens beyond loopback'),
  BRINK_HTTP_BODY_BYTES_MAX: z.coerce
    .number<string>()
    .int()
    .min(1024)
    .default(16 * 1024 * 1024)
    .describe('longest body; a 1×3×224×224 tensor is 2.9 MB of JSON'),
  BRINK_GRPC_HOST: z.string().default('127.0.0.1').describe('address of the Open Inference Protocol over gRPC'),
  BRINK_GRPC_PORT: portSetting(8001, 'port of the Open Inference Protocol over gRPC'),
  BRINK_DERIVED_MB_MAX: z.coerce
    .number<string>()
    .int()
    .min(0)
    .default(1024)
    .describe('disk for graphs as they are made ready for units, under the data folder; 0 keeps none'),
  BRINK_RUN_SLOTS: z.coerce
    .number<string>()
    .int()
    .min(1)
    .max(256)
    .default(Math.max(1, availableParallelism() - 1))
    .describe('runs at once over all models; default max(1, cores − 1)'),
});

export type Settings = z.infer<typeof SettingsSchema>;

export interface Config {
  readonly settings: Readonly<Settings>;
  readonly mqttPassword: string | undefined;
  readonly linkToken: string | undefined;
  /** Of both faces of the Open Inference Protocol. */
  readonly httpToken: string | undefined;
}

/** @throws BrinkError E_SETTING */
export function readConfig(env: Record<string, string | undefined>): Config {
  const settings = readSettings(SettingsSchema, env);
  const config = {
    settings,
    mqttPassword: secretFrom(settings.BRINK_MQTT_PASSWORD_FILE),
    linkToken: secretFrom(settings.BRINK_LINK_TOKEN_FILE),
    httpToken: secretFrom(settings.BRINK_HTTP_TOKEN_FILE),
  };
  for (const name of ['BRINK_HTTP_HOST', 'BRINK_GRPC_HOST'] as const) {
    if (config.httpToken !== undefined || isLoopback(settings[name])) continue;
    throw new BrinkError(
      'E_SETTING',
      `${name} is "${settings[name]}": beyond loopback BRINK_HTTP_TOKEN_FILE must name a file with a token`,
    );
  }
  return config;
}
